/**
 * The user's terminal, for as long as something on it wants every key.
 *
 * **Example** (until a key is pressed)
 *
 * ```ts
 * const terminal = yield* yield* Terminal.UserTerminal
 * yield* terminal.write("press a key")
 * yield* Stream.runHead(terminal.events)
 * ```
 *
 * @since 0.1.0
 */
import type { Readable, Writable } from "node:stream"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/** There is no terminal, or it is in use already. */
export class TerminalUnavailable extends Schema.TaggedError<TerminalUnavailable>()("TerminalUnavailable", {
  reason: Schema.String
}) {
  override get message() {
    return this.reason
  }
}

/** Characters across and down. */
export interface Size {
  readonly columns: number
  readonly rows: number
}

/** What happens at the terminal. */
export type TerminalEvent =
  | { readonly _tag: "Input"; readonly bytes: Uint8Array }
  | { readonly _tag: "Resized"; readonly size: Size }

/** A terminal in raw mode: each key arrives at once and as it is, Ctrl-C included, and nothing is echoed. */
export interface Terminal {
  /** What `TERM` calls it. */
  readonly kind: string
  readonly size: Size
  /** Keys and changes of size, until nobody is at the terminal any more. To be read once. */
  readonly events: Stream.Stream<TerminalEvent>
  /** Shows bytes; a line end also returns to the first column. */
  readonly write: (bytes: Uint8Array | string) => Effect.Effect<void>
}

/** Opens a terminal; it is what it was before once the scope closes, whatever happened. */
export type Open = Effect.Effect<Terminal, TerminalUnavailable, Scope.Scope>

/** Where keys come from: `tty.ReadStream` is one. */
export interface Input extends Readable {
  readonly isTTY: boolean
  readonly isRaw: boolean
  readonly setRawMode: (mode: boolean) => unknown
}

/** Where things are shown: `tty.WriteStream` is one. */
export interface Output extends Writable {
  readonly isTTY: boolean
  readonly columns: number
  readonly rows: number
}

const inUse = new WeakSet<Input>()

const unavailable = (reason: string) => Effect.fail(new TerminalUnavailable({ reason }))

const dataListeners = (input: Input) =>
  input.rawListeners("data").map((listener) => listener as (bytes: Buffer) => void)

/** Takes a terminal's keys. `input` must be a terminal; `output` is where it shows things. `kind` is what `TERM` calls it. */
export const of = (input: Input, output: Output, kind = process.env.TERM ?? "dumb"): Open =>
  Effect.gen(function* () {
    if (!input.isTTY) return yield* unavailable("standard input is not a terminal")
    if (!output.isTTY) return yield* unavailable("standard output is not a terminal")
    if (inUse.has(input)) return yield* unavailable("the terminal is already in use")
    const queue = yield* Queue.unbounded<TerminalEvent, Cause.Done>()
    const size = (): Size => ({ columns: output.columns, rows: output.rows })
    const onData = (bytes: Buffer) => void Queue.offerUnsafe(queue, { _tag: "Input", bytes })
    const onResize = () => void Queue.offerUnsafe(queue, { _tag: "Resized", size: size() })
    const onEnd = () => void Queue.endUnsafe(queue)
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        inUse.add(input)
        const before = { raw: input.isRaw, flowing: input.readableFlowing === true, listeners: dataListeners(input) }
        // A prompt that waits for its next line must not hear what is meant for somebody else.
        for (const listener of before.listeners) input.off("data", listener)
        input.setRawMode(true)
        input.on("data", onData)
        input.once("end", onEnd)
        input.resume()
        output.on("resize", onResize)
        return before
      }),
      ({ flowing, listeners, raw }) =>
        Effect.sync(() => {
          inUse.delete(input)
          input.off("data", onData)
          input.off("end", onEnd)
          output.off("resize", onResize)
          input.pause()
          for (const listener of listeners) input.on("data", listener)
          // A terminal that is gone has no mode.
          if (!input.destroyed) input.setRawMode(raw)
          if (flowing) input.resume()
          else input.pause()
        })
    )
    return {
      kind,
      size: size(),
      events: Stream.fromQueue(queue),
      write: (bytes) => Effect.callback<void>((resume) => void output.write(bytes, () => resume(Effect.void)))
    } satisfies Terminal
  })

/** The terminal that is used; this process's own unless provided. */
export const UserTerminal = Context.Reference<Open>("vmtest/host/Terminal/UserTerminal", {
  defaultValue: () => Effect.suspend(() => of(process.stdin, process.stdout))
})
