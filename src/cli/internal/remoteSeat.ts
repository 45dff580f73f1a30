/** The seat of somebody who is attached from another process: keys, the size of a terminal, and the end come as frames. */
import { Duplex, PassThrough, Writable } from "node:stream"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Terminal from "../../host/Terminal.ts"
import * as Seat from "../Seat.ts"
import type { Channel } from "./channel.ts"

const Size = { columns: Schema.Int, rows: Schema.Int }

/** What a client says of its terminal. */
export const TerminalFacts = Schema.Struct({
  ...Size,
  /** The variables that tell what it can show. */
  env: Schema.Record(Schema.String, Schema.String)
})

/** What a client says later. */
export const Later = Schema.Union([
  Schema.Struct({ say: Schema.Literal("resized"), ...Size }),
  /** No more input comes. */
  Schema.Struct({ say: Schema.Literal("end") })
])

/** The variables that a client passes on. */
export const variables = ["TERM", "TERM_PROGRAM", "LC_TERMINAL", "TMUX", "NO_COLOR"]

const decode = Schema.decodeUnknownOption(Later)

class Output extends Writable {
  readonly isTTY = true
  columns: number
  rows: number
  constructor(channel: Channel, { columns, rows }: typeof TerminalFacts.Type) {
    super({ write: (bytes, _, done) => channel.write(bytes, () => done()) })
    this.columns = columns
    this.rows = rows
  }
  resize(columns: number, rows: number) {
    this.columns = columns
    this.rows = rows
    this.emit("resize")
  }
}

class Input extends PassThrough {
  readonly isTTY = true
  isRaw = true
  setRawMode(mode: boolean) {
    // The client's terminal is raw as long as it is attached.
    this.isRaw = mode
    return this
  }
}

/** Hands the frames of a channel over until it ends. */
const pump = (
  channel: Channel,
  on: { readonly bytes: (bytes: Uint8Array) => void; readonly resized: Output["resize"]; readonly end: () => void }
) =>
  Effect.gen(function* () {
    for (;;) {
      const frame = yield* channel.next
      if (frame === undefined) break
      if (frame._tag === "Bytes") {
        on.bytes(frame.bytes)
        continue
      }
      const later = decode(frame.message)
      if (later._tag === "None" || later.value.say === "end") break
      on.resized(later.value.columns, later.value.rows)
    }
    on.end()
  })

/** The seat of a client, until the scope closes. */
export const make: (
  channel: Channel,
  facts: typeof TerminalFacts.Type | undefined
) => Effect.Effect<Seat.Seat, never, Scope.Scope> = Effect.fnUntraced(function* (channel, facts) {
  if (facts === undefined) {
    const lines = new Duplex({
      read: () => undefined,
      write: (bytes, _, done) => channel.write(bytes, () => done())
    })
    const events = {
      bytes: (bytes: Uint8Array) => void lines.push(bytes),
      resized: () => undefined,
      end: () => void lines.push(null)
    }
    yield* Effect.forkScoped(pump(channel, events))
    return Seat.lines(lines, { shows: false })
  }
  const output = new Output(channel, facts)
  const input = new Input()
  const events = {
    bytes: (bytes: Uint8Array) => void input.write(bytes),
    resized: (columns: number, rows: number) => output.resize(columns, rows),
    end: () => void input.end()
  }
  yield* Effect.forkScoped(pump(channel, events))
  const { env } = facts
  return {
    ...{ input, output, env, isTerminal: true, isOwn: false, shows: true },
    colors: env.NO_COLOR === undefined && env.TERM !== "dumb",
    open: Terminal.of(input, output, env.TERM ?? "dumb")
  }
})
