/**
 * The hypervisor's control channel, for everything without a method of its own.
 *
 * **Example** (The state of QEMU, and its next event)
 *
 * ```ts
 * const Status = Schema.Struct({ status: Schema.String })
 * const { status } = yield* web.qmp("query-status", {}, Status)
 * yield* web.waitForQmpEvent(Schema.Struct({ event: Schema.Literal("RESET") }))
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { isTagged } from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type ControlError, unsupported } from "../backends/BackendError.ts"
import { type Action, guard } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import type { Guest, Unavailable } from "../guest/Guest.ts"
import type { InvalidArgument, WaitTimeout } from "../guest/MachineError.ts"
import type { PollingConditionFailed } from "../guest/PollingCondition.ts"
import { WaitOptions } from "../guest/Timeout.ts"
import { wait } from "../guest/Wait.ts"
import * as Fields from "../host/Fields.ts"
import type { QmpEvent, QmpService } from "../transport/qmp/Qmp.ts"
import * as QmpEvents from "./internal/qmpEvents.ts"

type ControlFailure = Unavailable | ControlError | PollingConditionFailed

/** The control channel of a machine. */
export interface ControlMethods {
  /** Runs a QMP command and returns its reply, decoded by the schema if there is one. */
  readonly qmp: {
    (
      command: string,
      args?: Readonly<Record<string, unknown>>
    ): Effect.Effect<unknown, ControlFailure | InvalidArgument>
    <A>(
      command: string,
      args: Readonly<Record<string, unknown>> | undefined,
      schema: Schema.Decoder<A>
    ): Effect.Effect<A, ControlFailure | InvalidArgument>
  }
  /** Waits for the first QMP event (`{ event, data, timestamp }`) after the call that the schema decodes. */
  readonly waitForQmpEvent: <A>(
    schema: Schema.Decoder<A>,
    options?: WaitOptions
  ) => Effect.Effect<A, ControlFailure | WaitTimeout | InvalidArgument>
  /**
   * The QMP events of the machine from now on, also after its control channel was connected again, until the machine ends. An event that comes
   * while it is connected again is missed.
   */
  readonly qmpEvents: Stream.Stream<QmpEvent, ControlFailure>
  /** Runs a line in QEMU's human monitor and returns its output. */
  readonly sendMonitorCommand: (line: string) => Effect.Effect<string, ControlFailure | InvalidArgument>
}

/** Uses the control channel of a running machine; fails with `Unsupported` if the backend has none. */
export const onControl = <A, E>(
  guest: Guest,
  what: Action,
  use: (control: QmpService) => Effect.Effect<A, E>
): Effect.Effect<A, E | ControlFailure> =>
  Effect.gen(function* () {
    const { qmp } = yield* guest.control
    if (qmp === undefined) return yield* unsupported(guest.backend.name, "qmp")
    return yield* guard(guest, what, use(qmp))
  })

/** When a wait connects again after its connection broke. Without end: the wait has a deadline. */
export const reconnectSchedule = Schedule.spaced("20 millis")
const AnySchema = Schema.declare<Schema.Decoder<unknown>>(
  (value): value is Schema.Decoder<unknown> => Schema.isSchema(value),
  { expected: 'a schema, such as Schema.Struct({ event: Schema.Literal("STOP") })' }
)

/** What its methods take. */
export const parameters = Arguments.of<ControlMethods>({
  qmp: Arguments.takes({
    command: Fields.filled('a QMP command, such as "query-status"'),
    args: Schema.optional(Fields.AnyObject),
    schema: Schema.optional(AnySchema)
  }),
  waitForQmpEvent: Arguments.takes({ schema: AnySchema, options: Schema.optional(WaitOptions) }),
  sendMonitorCommand: Arguments.takes({ line: Schema.String })
})

/** The events of one connection after the other. */
const eventsOf = (guest: Guest): Stream.Stream<QmpEvent, ControlFailure> =>
  Stream.unwrap(
    Effect.map(guest.control, ({ qmp }) =>
      qmp === undefined ? Stream.fromEffect(unsupported(guest.backend.name, "qmp")) : qmp.events
    )
  ).pipe(Stream.repeat(reconnectSchedule), Stream.interruptWhen(guest.conditions.guard(Effect.never)))

/** The control methods of a guest. */
export const make = (guest: Guest): ControlMethods => {
  function qmp(command: string, args?: Readonly<Record<string, unknown>>): Effect.Effect<unknown, ControlFailure>
  function qmp<A>(
    command: string,
    args: Readonly<Record<string, unknown>> | undefined,
    schema: Schema.Decoder<A>
  ): Effect.Effect<A, ControlFailure>
  function qmp<A>(
    command: string,
    args?: Readonly<Record<string, unknown>>,
    schema?: Schema.Decoder<A>
  ): Effect.Effect<unknown, ControlFailure> {
    return onControl(guest, { name: "qmp", doing: `running QMP ${command}`, attributes: { command } }, (control) =>
      schema === undefined ? control.execute(command, args) : control.execute(command, args, schema)
    )
  }
  return Arguments.checked<ControlMethods>(guest.name, parameters, {
    qmp,
    waitForQmpEvent: (schema, options) =>
      Effect.gen(function* () {
        const { qmp: first } = yield* guest.control
        if (first === undefined) return yield* unsupported(guest.backend.name, "qmp")
        const names = QmpEvents.namesIn(schema)
        const seen = QmpEvents.makeSeen(names)
        const next = Effect.gen(function* () {
          const { qmp = first } = yield* guest.control
          yield* Effect.forkScoped(Stream.runForEach(qmp.events, seen.note), { startImmediately: true })
          return yield* qmp.waitForEvent(schema, { timeout: Duration.infinity })
        }).pipe(Effect.scoped)
        return yield* wait(guest, {
          name: "waitForQmpEvent",
          awaited: names.length === 0 ? "a QMP event" : `the QMP event ${names.join(" or ")}`,
          options,
          until: Effect.retry(next, { schedule: reconnectSchedule, while: isTagged("TransportError") }),
          lastSeen: seen.described
        })
      }).pipe(Effect.scoped),
    qmpEvents: eventsOf(guest),
    sendMonitorCommand: (line) =>
      onControl(
        guest,
        { name: "sendMonitorCommand", doing: `running monitor command ${line}`, attributes: { command: line } },
        (control) => control.hmp(line)
      )
  })
}
