/** A unix socket for frames, at which a QEMU without a machine plugs in, or the cable of a VLAN. */
import * as Net from "node:net"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { headerSize, Joiner, withHeader } from "./frames.ts"

/** Bytes that wait for a process that does not read; then frames are lost, which TCP sends again. */
const mostQueued = 1024 * 1024

/** A unix socket at which one peer at a time sends and receives frames. */
export const listen = (
  path: string,
  onFrame: (frame: Buffer) => void
): Effect.Effect<{ readonly send: (frame: Buffer) => void; readonly connected: () => boolean }, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: Net.Server; peer: Net.Socket | undefined }>((resume) => {
        const server = Net.createServer((peer) => {
          all.peer?.destroy()
          all.peer = peer
          const joiner = new Joiner()
          peer.on("error", () => {})
          peer.on("close", () => {
            if (all.peer === peer) all.peer = undefined
          })
          peer.on("data", (chunk) => {
            const frames = joiner.push(chunk)
            if (typeof frames === "string") return peer.destroy()
            for (let at = 0; at < frames.length; ) {
              const end = at + headerSize + frames.readUInt32BE(at)
              onFrame(frames.subarray(at + headerSize, end))
              at = end
            }
            return undefined
          })
        })
        const all: { readonly server: Net.Server; peer: Net.Socket | undefined } = { server, peer: undefined }
        server.on("error", (error) => resume(Effect.die(error)))
        server.listen(path, () => resume(Effect.succeed(all)))
      }),
      (all) =>
        Effect.sync(() => {
          all.server.close()
          all.peer?.destroy()
        })
    ),
    (all) => ({
      connected: () => all.peer !== undefined,
      send: (frame) => {
        if (all.peer !== undefined && all.peer.writableLength <= mostQueued) all.peer.write(withHeader(frame))
      }
    })
  )
