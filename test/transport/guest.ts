/** A guest played by a script: a bootstrap shell and workers on unix sockets, which say what a test wants. */
import type * as Net from "node:net"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type { VirtioPorts } from "../../src/transport/GuestChannel.ts"
import { virtioPorts } from "../../src/transport/GuestChannel.ts"
import { folder, lines, serve } from "./peer.ts"

/** What a worker says on an output when its command ended. */
export const mark = (nonce: string, status: number): string => `\x1e${nonce} ${status} ${255 - status}\n`

/** One lane as its worker sees it. */
export interface Worker {
  readonly out: Net.Socket
  readonly err: Net.Socket
  /** says the end of a command on both outputs */
  readonly end: (nonce: string, status: number) => void
  readonly ready: (nonce: string) => void
}

/** What the guest does; what is left out, it does as a sound guest would. */
export interface Script {
  /** a line typed at the bootstrap shell; true when it has been dealt with */
  readonly typed?: (line: string, socket: Net.Socket) => boolean
  /** a command that a worker was given */
  readonly command?: (worker: Worker, nonce: string, command: string) => void
  /** whether something else than its worker holds the output of a lane that settles; yes unless told */
  readonly held?: (lane: number) => boolean
}

/** A guest whose commands run until they are killed. */
export const endless = (): Script => {
  const running = new Map<string, () => void>()
  return {
    typed: (line) => {
      running.get(/^_vt_kill \d+ (\w+)/.exec(line)?.[1] ?? "")?.()
      return false
    },
    command: (worker, nonce) => {
      running.set(nonce, () => {
        worker.end(nonce, 143)
        worker.ready(nonce)
      })
    }
  }
}

/** Plays a guest with this many lanes until the scope is left. */
export const play = Effect.fnUntraced(function* (script: Script, laneCount = 2) {
  const path = yield* folder
  const ports = Array.from({ length: 1 + laneCount * 3 }, (_, i) => join(path, `p${i}`))
  const sockets = new Map<number, Net.Socket>()
  const workerOf = (lane: number): Worker => {
    const out = sockets.get(lane * 3 - 1) as Net.Socket
    const err = sockets.get(lane * 3) as Net.Socket
    const both = (text: string) => {
      out.write(text)
      err.write(text)
    }
    return {
      out,
      err,
      end: (nonce, status) => both(mark(nonce, status)),
      ready: (nonce) => both(`\x1e${nonce} R\n`)
    }
  }
  yield* serve(ports[0] as string, (socket) => {
    sockets.set(0, socket)
    socket.write("vmtest: shell ready\n")
    let held: string | undefined
    lines(socket, (line) => {
      if (script.typed?.(line, socket) === true) return
      const [, asked] = /^_vt_answer=; _vt_held ((?:\d+ \w+ )+)/.exec(line) ?? []
      if (asked !== undefined) {
        const settling = [...asked.matchAll(/(\d+) \w+ /g)].map((lane) => Number(lane[1]))
        held = settling.filter((lane) => script.held?.(lane) ?? true).join(" ")
      }
      const [, token] = /^echo _vt_([0-9a-f]{32})/.exec(line) ?? []
      if (token !== undefined && held !== undefined) {
        socket.write(`_vt_${token} ${held}\n`)
        held = undefined
      } else if (token !== undefined) socket.write(`_vt_${token} /run/vmtest sh pipefail = /run/vmtest sh pipefail\n`)
      const [, lane, nonce] = /^_vt_start (\d+) (\w+)/.exec(line) ?? []
      if (lane !== undefined && nonce !== undefined) workerOf(Number(lane)).ready(nonce)
    })
  })
  for (let i = 1; i < ports.length; i++) {
    yield* serve(ports[i] as string, (socket) => {
      sockets.set(i, socket)
      if (i % 3 !== 1) return
      let nonce = ""
      let left = 0
      let command: Array<string> = []
      lines(socket, (line) => {
        if (left === 0) {
          const [first = "", , count = "0"] = line.split(" ")
          nonce = first
          left = Number(count)
          command = []
          return
        }
        command.push(line)
        left--
        if (left > 0) return
        const worker = workerOf((i + 2) / 3)
        if (script.command !== undefined) {
          script.command(worker, nonce, command.join("\n"))
          return
        }
        worker.out.write(`ran ${command.join("\n")}\n`)
        worker.end(nonce, 0)
        worker.ready(nonce)
      })
    })
  }
  const [bootstrap = "", ...rest] = ports
  return {
    channel: virtioPorts({ bootstrap, ports: rest }) satisfies VirtioPorts,
    /** the socket of a port, as the guest has it */
    socket: (port: number) => sockets.get(port)
  }
})
