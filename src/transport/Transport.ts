/**
 * The ways to a guest: where its bootstrap shell is, and the lanes that carry commands.
 *
 * A lane is three byte streams: one for commands and their input, one for output, one for errors. `VirtioPort`, `Vsock`
 * and `VirtConsole` are the transports there are.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Connection } from "./Connection.ts"
import type { TransportError } from "./ShellError.ts"

/** The host's ends of one lane, and how the guest opens its own. */
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
  readonly bootstrap: Effect.Effect<Connection, TransportError, Scope.Scope>
  /** How many lanes there can be, so how many commands can run at once. */
  readonly lanes: number
  /** Opens the host's ends of the lane with this number, from 1 on. */
  readonly lane: (lane: number) => Effect.Effect<Lane, TransportError, Scope.Scope>
  /** The shell text that starts a lane in the guest, its nonce given; the agent is there already. */
  readonly start: (lane: number, nonce: string) => string
}

/** The way to a guest, as a service. */
export class Transport extends Context.Service<Transport, TransportService>()("vmtest/transport/Transport") {}
