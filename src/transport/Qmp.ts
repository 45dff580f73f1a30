/**
 * The QEMU Machine Protocol: commands to a running QEMU, and its events.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { TransportError } from "./ShellError.ts"

/** QEMU refused a command, did not answer it in time, or answered something of another shape. */
export class QmpError extends Schema.TaggedError<QmpError>()("QmpError", {
  machine: Schema.String,
  command: Schema.String,
  /** QEMU's error class (`GenericError`, `CommandNotFound`, …), or ours: `Timeout`, `BadReply`, `HumanMonitor` */
  class: Schema.String,
  desc: Schema.String
}) {
  override get message() {
    return `${this.machine}: QMP ${this.command}: ${this.desc} (${this.class})`
  }
}

/** An event of QEMU. */
export interface QmpEvent {
  readonly event: string
  readonly data: unknown
  /** milliseconds since the epoch, on QEMU's clock */
  readonly timestamp: number
}

/** A control channel to one QEMU. */
export interface QmpService {
  readonly machine: string
  /** Runs a command by name; with a schema, decodes the reply. */
  readonly execute: {
    (command: string, args?: Readonly<Record<string, unknown>>): Effect.Effect<unknown, QmpError | TransportError>
    <A>(
      command: string,
      args: Readonly<Record<string, unknown>> | undefined,
      schema: Schema.Decoder<A>
    ): Effect.Effect<A, QmpError | TransportError>
  }
  /** Every event from now on. */
  readonly events: Stream.Stream<QmpEvent>
  /** The first event that the schema decodes (of `{ event, data, timestamp }`), from the call on. */
  readonly waitForEvent: <A>(
    schema: Schema.Decoder<A>,
    options?: { readonly timeout?: Duration.Input }
  ) => Effect.Effect<A, QmpError | TransportError>
  /** Runs a line of the human monitor and gives what it printed. */
  readonly hmp: (line: string) => Effect.Effect<string, QmpError | TransportError>
}

/** The control channel, as a service. */
export class Qmp extends Context.Service<Qmp, QmpService>()("vmtest/transport/Qmp") {}
