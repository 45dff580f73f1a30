/** Network cards of nobody, for tests of a fabric: each listens at a socket, as that of a QEMU does, and sends what a test says. */
import * as Net from "node:net"
import * as Effect from "effect/Effect"
import { Joiner, withHeader } from "../src/network/internal/frames.ts"

export const everybody = [255, 255, 255, 255, 255, 255]

/** The address of the card with a number. */
export const macOf = (card: number) => [0x52, 0x54, 0, 0x12, 1, card]

/** A frame of an experimental type, which no system answers. */
const frameOf = (from: number, to: ReadonlyArray<number>, text: string, size: number) => {
  const frame = Buffer.alloc(size)
  frame.set(to, 0)
  frame.set(macOf(from), 6)
  frame.writeUInt16BE(0x88b5, 12)
  frame.write(text, 14)
  return withHeader(frame)
}

const textOf = (frame: Buffer) => frame.subarray(14).toString("latin1").replace(/\0+$/, "")

/** A card that listens until the scope closes; `hear` gets the text of each frame. */
export const cardAt = (path: string, number: number, hear: (text: string) => void = () => {}) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const got: Array<string> = []
        const sockets: Array<Net.Socket> = []
        const server = Net.createServer((socket) => {
          const joiner = new Joiner()
          sockets.push(socket)
          socket.on("data", (chunk) => {
            const frames = joiner.push(Buffer.from(chunk))
            if (typeof frames === "string") return
            for (let at = 0; at < frames.length; at += 4 + frames.readUInt32BE(at)) {
              const frame = frames.subarray(at + 4, at + 4 + frames.readUInt32BE(at))
              got.push(`${textOf(frame)} ${frame.length}`)
              hear(textOf(frame))
            }
          })
        })
        server.listen(path)
        return { got, server, sockets }
      }),
      ({ server, sockets }) =>
        Effect.sync(() => {
          for (const socket of sockets) socket.destroy()
          server.close()
        })
    ),
    ({ got, sockets }) => ({
      /** The text and the length of each frame that it got. */
      got,
      isPlugged: () => sockets.length > 0,
      leave: () => {
        for (const socket of sockets) socket.destroy()
      },
      send: (to: ReadonlyArray<number>, text: string, size = 60) =>
        Effect.sync(() => sockets.at(-1)?.write(frameOf(number, to, text, size)))
    })
  )
