/**
 * The ways to a guest: where its bootstrap shell is, and the lanes that carry commands.
 *
 * A lane is three byte streams: one for commands and their input, one for output, one for errors. `VirtioPort`, `Vsock`
 * and `VirtConsole` are the transports there are.
 *
 * **Example** (A shell over a transport)
 *
 * ```ts
 * const ShellLive = Shell.layerFromTransport({ bootTimeout: "2 minutes" }).pipe(
 *   Layer.provide(VirtioPort.layer({ machine: "web", channel }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Connection } from "./Connection.ts"
import type { TransportError } from "./ShellError.ts"

/** The host's ends of one lane. */
export interface Lane {
  readonly input: Connection
  readonly output: Connection
  readonly errors: Connection
}

/** A way to one guest. */
export interface TransportService {
  readonly machine: string
  readonly name: "virtio-port" | "vsock" | "virtconsole"
  /** Whether the bootstrap shell may be connected to again and again, each time saying its ready line. */
  readonly reconnects: boolean
  /** Whether an open connection to the bootstrap shell is one that the guest itself has accepted, so that silence is slowness. Default false. */
  readonly accepted?: boolean
  /** How many times longer than over virtio ports the guest's words may be under way. */
  readonly slowness: number
  /** Opens a connection to the bootstrap shell. */
  readonly bootstrap: Effect.Effect<Connection, TransportError, Scope.Scope>
  /** How many lanes there can be, so how many commands can run at once. */
  readonly lanes: number
  /**
   * Opens the lane with this number, from 1 on, with the help of the bootstrap shell, which has the agent. The worker
   * that starts there says that it is ready with the nonce. `waiting` says that it is one of `attached` that waits for a
   * command: it only has to say so.
   */
  readonly lane: (
    lane: number,
    nonce: string,
    bootstrap: Bootstrap,
    waiting?: boolean
  ) => Effect.Effect<Lane, TransportError, Scope.Scope>
  /** The lanes whose connections are open already, since the guest continues from a saved one; none once they were opened. */
  readonly attached?: (() => ReadonlyArray<number>) | undefined
}

/** What a lane needs of the bootstrap shell. */
export interface Bootstrap {
  /** Types shell text that nobody waits for. */
  readonly tell: (text: string) => Effect.Effect<void, TransportError>
  /** Hears every line of this token, and with its `end` the base64 since its `begin`; until the scope is left. */
  readonly listen: (
    token: string,
    heard: (said: string, text: string) => void
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Types shell text; gives what it left in the variable `_vt_answer`, or nothing when that did not come in time. */
  readonly ask: (text: string, timeout: Duration.Input) => Effect.Effect<string | undefined, TransportError>
}

/** The way to a guest, as a service. */
export class Transport extends Context.Service<Transport, TransportService>()("vmtest/transport/Transport") {}
