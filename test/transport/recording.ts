/**
 * Recorded sessions: what host and guest (or QEMU) said to each other, and a peer that says the guest's part again.
 *
 * Nonces differ from session to session. A recording has `{n}` for the n-th one that the host named, and a replay puts in
 * those that the host names this time.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type { Connection } from "../../src/transport/Connection.ts"
import type { Lane, TransportService } from "../../src/transport/Transport.ts"
import { memory, type Peer } from "./memory.ts"

/** One write or one read: which connection, who, and what, each character a byte. */
export interface Said {
  readonly on: string
  readonly by: "host" | "guest"
  readonly text: string
}

/** A session, and what came of each step of the program that the host ran. */
export interface Recording {
  readonly peer: string
  readonly said: ReadonlyArray<Said>
  readonly outcomes: ReadonlyArray<unknown>
}

/** The recordings there are; `recorded/record.ts` makes them. */
export const recordings = (): ReadonlyArray<Recording> =>
  ["shell-busybox", "shell-bash", "qmp"].map((name) =>
    JSON.parse(readFileSync(join(import.meta.dirname, "recorded", `${name}.json`), "utf8"))
  )

const token = /[0-9a-f]{32}/g

/** Text of the host that only fills a recording is cut down to this. */
const longest = 400

/** Collects what goes over connections. */
export const recorder = () => {
  const said: Array<Said> = []
  const names: Array<string> = []
  const note = (on: string, by: Said["by"], bytes: string) => {
    const text = bytes.replaceAll(token, (name) => {
      if (by === "host" && !names.includes(name)) names.push(name)
      return names.includes(name) ? `{${names.indexOf(name)}}` : name
    })
    // A bootstrap shell is asked again until it answers: once is enough to know.
    if (by === "host" && said.findLast((one) => one.by === "host" && one.on === on)?.text === text) return
    const previous = said.at(-1)
    if (by === "guest" && previous?.by === "guest" && previous.on === on) {
      said[said.length - 1] = { on, by, text: previous.text + text }
    } else said.push({ on, by, text })
  }
  const tap = (on: string, connection: Connection): Connection => ({
    ...connection,
    write: (data) =>
      Effect.suspend(() => {
        note(on, "host", Buffer.from(data).toString("latin1"))
        return connection.write(data)
      }),
    onData: (receive) =>
      connection.onData((chunk) => {
        note(on, "guest", chunk.toString("latin1"))
        receive(chunk)
      })
  })
  return {
    tap,
    /** A transport whose every connection is recorded. */
    transport: (inner: TransportService): TransportService => ({
      ...inner,
      bootstrap: Effect.map(inner.bootstrap, (connection) => tap("bootstrap", connection)),
      lane: (lane, nonce, bootstrap) =>
        Effect.map(
          inner.lane(lane, nonce, bootstrap),
          ({ errors, input, output }): Lane => ({
            input: tap("input", input),
            output: tap("output", output),
            errors: tap("errors", errors)
          })
        )
    }),
    said: (): ReadonlyArray<Said> =>
      said.map((one) => {
        if (one.by === "guest" || one.text.length <= longest) return one
        const kept = one.text.slice(0, longest / 2)
        const rest = one.text.slice(longest / 2)
        return { ...one, text: `${kept}[…${(rest.match(/\{\d+\}/g) ?? []).join("")}…]` }
      })
  }
}

/** Where in what the guest says of a recording an entry begins, as it is with nonces filled in. */
export const layout = (recording: Recording) => {
  let total = 0
  const entries = recording.said.flatMap(({ by, on, text }, index) => {
    if (by === "host") return []
    const base = total
    total += text.replaceAll(/\{\d+\}/g, "0".repeat(32)).length
    return [{ index, on, base, end: total }]
  })
  return { total, entries }
}

/** What a peer does with a part of the recording. */
export interface Change {
  /** what it says, in pieces of their own */
  readonly pieces: ReadonlyArray<Buffer>
  /** whether it says nothing more after it, and which connections close then */
  readonly end?: { readonly close: "all" | "none" | ReadonlyArray<string> } | undefined
  /** connections that close after it, while all goes on */
  readonly close?: ReadonlyArray<string> | undefined
}

/** Says what a peer does instead of an entry of the recording. */
export type Fault = (bytes: Buffer, index: number) => Change

/** A guest that says what was recorded, as soon as the host has said what it had said before. */
export const replay = (recording: Recording, fault: Fault = (bytes) => ({ pieces: [bytes] })) => {
  const { said } = recording
  const peers = new Map<string, Peer>()
  const names: Array<string> = []
  /** what the guest did say on each connection, with the number of each in the recording */
  const sent: Array<{ readonly on: string; readonly index: number; readonly bytes: Buffer }> = []
  let at = 0
  let over = false
  const fill = (text: string) => text.replaceAll(/\{(\d+)\}/g, (_, n) => names[Number(n)] ?? "0".repeat(32))

  /** Writes of the host that the recording has not come to yet. */
  const heard = new Map<string, Array<string>>()
  const go = () => {
    while (!over && at < said.length) {
      const one = said[at] as Said
      if (one.by === "host") {
        const fresh = [...one.text.matchAll(/\{(\d+)\}/g)].map(([, n]) => Number(n))
        const expected = [...new Set(fresh)].filter((n) => n >= names.length)
        const writes = heard.get(one.on) ?? []
        const text = writes.shift()
        if (text === undefined) return
        const found = [...new Set(text.match(token))].filter((name) => !names.includes(name))
        // A write that the recording does not have is passed over.
        if (found.length !== expected.length) continue
        names.push(...found)
        at++
        continue
      }
      const peer = peers.get(one.on)
      if (peer === undefined) return
      const index = at++
      const { close, end, pieces } = fault(Buffer.from(fill(one.text), "latin1"), index)
      for (const piece of pieces) {
        sent.push({ on: one.on, index, bytes: piece })
        if (piece.length > 0) peer.say(piece)
      }
      const closing =
        end?.close === "all" ? [...peers.keys()] : end?.close === "none" ? [] : (end?.close ?? close ?? [])
      for (const name of closing) peers.get(name)?.close("the peer closed the connection")
      over = end !== undefined
    }
  }
  let scheduled = false
  /** Never within a write of the host, which must not be answered before it returns. */
  const soon = () => {
    if (scheduled) return
    scheduled = true
    setImmediate(() => {
      scheduled = false
      go()
    })
  }
  const open = (name: string) => {
    const peer = memory(name)
    heard.set(name, [])
    peers.set(name, peer)
    peer.onWrite = (text) => {
      heard.get(name)?.push(text)
      soon()
    }
    soon()
    return peer.connection
  }
  const opening = (name: string) =>
    Effect.acquireRelease(
      Effect.sync(() => open(name)),
      () => Effect.sync(() => peers.get(name)?.close("closed by the host"))
    )
  const transport: TransportService = {
    machine: "vm",
    name: "virtio-port",
    reconnects: true,
    slowness: 1,
    bootstrap: opening("bootstrap"),
    lanes: 1,
    lane: Effect.fnUntraced(function* (number, nonce, { tell }) {
      const input = yield* opening("input")
      const output = yield* opening("output")
      const errors = yield* opening("errors")
      yield* tell(`_vt_start ${number} ${nonce}`)
      return { input, output, errors }
    })
  }
  return {
    transport,
    /** a single connection, for a peer that has only one */
    opening,
    sent,
    /** how far the recording got */
    reached: () => at,
    name: (n: number) => names[n]
  }
}
