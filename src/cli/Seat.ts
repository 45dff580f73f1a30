/**
 * Who is at a prompt: a person at a terminal, or lines that come from elsewhere; of this process, or of one that is attached to it.
 *
 * **Example** (The place of lines that come over a connection)
 *
 * ```ts
 * const seat = Seat.lines(socket)
 * ```
 *
 * @since 0.1.0
 */
import type { Duplex } from "node:stream"
import * as Effect from "effect/Effect"
import * as Terminal from "../host/Terminal.ts"

/** A place at a prompt. */
export interface Seat {
  readonly input: NodeJS.ReadableStream
  readonly output: NodeJS.WritableStream
  /** Whether keys arrive one by one, and texts can be placed. */
  readonly isTerminal: boolean
  /** Whether it is that of this process, whose Ctrl-C is a signal while JavaScript runs. */
  readonly isOwn: boolean
  /** Whether the prompt itself is shown. */
  readonly shows: boolean
  readonly colors: boolean
  /** What the environment says of the terminal: `TERM`, `TERM_PROGRAM`, `TMUX`, … */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Takes all keys, for a shell in a guest. */
  readonly open: Terminal.Open
}

/** Standard input and output. */
export const own = (): Seat => {
  const { env, stdin, stdout } = process
  const isTerminal = stdin.isTTY === true && stdout.isTTY === true
  return {
    ...{ input: stdin, output: stdout, isTerminal, isOwn: true, shows: isTerminal, env },
    colors: isTerminal && env.NO_COLOR === undefined,
    open: Effect.suspend(() => Terminal.of(stdin, stdout))
  }
}

/** A connection that sends whole lines. */
export const lines = (connection: Duplex, { shows = true }: { readonly shows?: boolean } = {}): Seat => ({
  ...{ input: connection, output: connection, isTerminal: false, isOwn: false, shows, colors: false, env: {} },
  open: Effect.fail(new Terminal.TerminalUnavailable({ reason: "standard input is not a terminal" }))
})
