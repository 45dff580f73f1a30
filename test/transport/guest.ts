/** A guest played by a script: a bootstrap shell and workers on unix sockets, which say what a test wants. */
import type * as Net from "node:net"
import { connect as dial } from "node:net"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type { VirtioPorts } from "../../src/transport/GuestChannel.ts"
import { virtioPorts, vsock } from "../../src/transport/GuestChannel.ts"
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
  /** whether something else than its worker holds the output of a lane that settles; by default yes */
  readonly held?: (lane: number) => boolean
  /** whether an idle lane has made the process that becomes its next command; by default yes */
  readonly waiting?: (lane: number) => boolean
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

/** What a guest is asked about lanes: which of them, and what it answers. */
const questions = [
  { asked: /^_vt_answer=; _vt_held ((?:\d+ \w+ )+)/, lane: /(\d+) \w+ /g, about: "held" },
  { asked: /^_vt_waiting ([\d ]*)/, lane: /(\d+)/g, about: "waiting" }
] as const

/** The guest's side of a script, whatever its sockets are: what it does with a bootstrap shell's and with a worker's. */
const guestOf = (script: Script) => {
  /** by port: 0 is the bootstrap shell's, then three for each lane */
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
  return {
    sockets,
    workerOf,
    /** Answers what is typed; `other` is what only one way to a guest has. */
    bootstrap: (other: (line: string) => void) => {
      let answer: string | undefined
      return (line: string, socket: Net.Socket) => {
        if (script.typed?.(line, socket) === true) return
        for (const { about, asked, lane } of questions) {
          const [, lanes] = asked.exec(line) ?? []
          if (lanes === undefined) continue
          const numbers = [...lanes.matchAll(lane)].map((match) => Number(match[1]))
          answer = numbers.filter((number) => script[about]?.(number) ?? true).join(" ")
        }
        const [, token] = /^echo _vt_([0-9a-f]{32})/.exec(line) ?? []
        if (token !== undefined) {
          socket.write(`_vt_${token} ${answer ?? "/run/vmtest sh pipefail = /run/vmtest sh pipefail"}\n`)
          answer = undefined
        }
        other(line)
      }
    },
    /** Runs the commands that come on a worker's input. */
    worker: (lane: number, socket: Net.Socket) => {
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
        const worker = workerOf(lane)
        if (script.command !== undefined) {
          script.command(worker, nonce, command.join("\n"))
          return
        }
        worker.out.write(`ran ${command.join("\n")}\n`)
        worker.end(nonce, 0)
        worker.ready(nonce)
      })
    }
  }
}

/** Plays a guest with this many lanes, on virtio ports, until the scope is left. */
export const play = Effect.fnUntraced(function* (script: Script, laneCount = 2) {
  const path = yield* folder
  const ports = Array.from({ length: 1 + laneCount * 3 }, (_, i) => join(path, `p${i}`))
  const guest = guestOf(script)
  yield* serve(ports[0] as string, (socket) => {
    guest.sockets.set(0, socket)
    socket.write("vmtest: shell ready\n")
    const typed = guest.bootstrap((line) => {
      const [, lane, nonce] = /^_vt_start (\d+) (\w+)/.exec(line) ?? []
      if (lane !== undefined && nonce !== undefined) guest.workerOf(Number(lane)).ready(nonce)
    })
    lines(socket, (line) => typed(line, socket))
  })
  for (let i = 1; i < ports.length; i++) {
    yield* serve(ports[i] as string, (socket) => {
      guest.sockets.set(i, socket)
      if (i % 3 === 1) guest.worker((i + 2) / 3, socket)
    })
  }
  const [bootstrap = "", ...rest] = ports
  return {
    channel: virtioPorts({ bootstrap, ports: rest }) satisfies VirtioPorts,
    /** the socket of a port, as the guest has it */
    socket: (port: number) => guest.sockets.get(port)
  }
})

/** Plays a guest behind vsock until the scope is left: it is connected to, at this socket or a new one, and dials the host for each lane. */
export const playVsock = Effect.fnUntraced(function* (script: Script, socket?: string) {
  const path = socket ?? join(yield* folder, "vsock")
  const guest = guestOf(script)
  yield* serve(path, (socket) => {
    const typed = guest.bootstrap((line) => {
      const [, lane = "", nonce = "", first] = /^_vt_dial (\d+) (\w+) (\d+)/.exec(line) ?? []
      if (first === undefined) return
      const dialled = [0, 1, 2].map((end) => dial(`${path}_${Number(first) + end}`))
      for (const [end, one] of dialled.entries()) {
        one.on("error", () => {})
        guest.sockets.set(Number(lane) * 3 - 2 + end, one)
      }
      guest.worker(Number(lane), dialled[0] as Net.Socket)
      guest.workerOf(Number(lane)).ready(nonce)
    })
    let connected = false
    lines(socket, (line) => {
      if (connected) return typed(line, socket)
      connected = true
      socket.write("OK 1073741824\nvmtest: shell ready\n")
    })
  })
  return { channel: vsock({ socket: path, port: 5000 }) }
})
