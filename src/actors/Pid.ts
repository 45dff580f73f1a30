/**
 * The identity of a process.
 *
 * A pid is a live reference: it is compared by identity, it may be kept after the process has ended (everything done to it
 * then behaves as OTP says for a dead process), and it never leaves the JavaScript program it was made in.
 *
 * **Example** (A pid outlives its process)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Process } from "vmtest/actors"
 *
 * export const program = Effect.gen(function* () {
 *   const pid = yield* Process.spawn(Effect.void, { label: "short" })
 *   const before = yield* Process.isAlive(pid)
 *   yield* Process.awaitExit(pid)
 *   // Nothing happens, as in Erlang.
 *   yield* Process.send(pid, "hello")
 *   return [before, yield* Process.isAlive(pid)]
 * })
 * // gives [true, false]
 * ```
 *
 * @since 0.1.0
 */
import type * as Types from "effect/Types"

export const TypeId = "~vmtest/actors/Pid"

/**
 * A process. `Protocol` is what a server behind the pid understands; `unknown` for a plain process.
 *
 * @see GenServer.call which only accepts the requests of the protocol
 */
export interface Pid<in out Protocol = unknown> {
  readonly [TypeId]: { readonly _Protocol: Types.Invariant<Protocol> }
  /** Unique within its actor system, counting from 1. */
  readonly id: number
}

/** A pid of any protocol. */
// biome-ignore lint/suspicious/noExplicitAny: the only way to write "some protocol" for an invariant parameter
export type Any = Pid<any>

export const isPid = (value: unknown): value is Any =>
  typeof value === "object" && value !== null && Object.hasOwn(Object.getPrototypeOf(value) ?? {}, TypeId)
