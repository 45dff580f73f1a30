/** What can be done to a running QEMU over one connection to its control socket, which takes one client at a time. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Qmp, type QmpOptions, type QmpService, layer as qmpLayer } from "../../transport/qmp/Qmp.ts"
import * as QmpCommands from "../../transport/qmp/QmpCommands.ts"
import { Control, type ControlService, type EndCause, type MachineShape } from "../Backend.ts"
import { SaveFailed } from "../BackendError.ts"
import { resetsOf } from "../internal/resets.ts"
import * as runState from "../internal/runState.ts"
import { cardId, type Sockets } from "./command.ts"
import { save } from "./save.ts"

/** How a QEMU that starts, or whose last client has just gone, is connected to: it listens within a tenth of a second. */
export const connectSchedule = Schedule.spaced("5 millis")

/** How to connect to the control socket of a machine. */
export const qmpOptions = (machine: string, sockets: Sockets, connectTimeout: Duration.Duration): QmpOptions => ({
  machine,
  socket: sockets.qmp,
  retry: connectSchedule,
  connectTimeout
})

/** QEMU's SHUTDOWN event, and how its reasons map to ours. */
const Shutdown = Schema.Struct({ event: Schema.Literal("SHUTDOWN"), data: Schema.Struct({ reason: Schema.String }) })
const causes: Readonly<Record<string, EndCause>> = {
  "guest-shutdown": "power-off",
  "guest-reset": "reset",
  "guest-panic": "reset",
  "host-qmp-system-reset": "host",
  "host-qmp-quit": "host",
  "host-signal": "host"
}

/** Hears why the machine ends: QEMU says it before it does. */
const noteCause = (qmp: QmpService, note: (cause: EndCause | undefined) => void) => {
  const decode = Schema.decodeUnknownOption(Shutdown)
  return qmp.events.pipe(
    Stream.runForEach((event) =>
      Effect.sync(() => {
        const shutdown = decode(event)
        if (Option.isSome(shutdown)) note(causes[shutdown.value.data.reason])
      })
    ),
    Effect.forkScoped({ startImmediately: true })
  )
}

/** What the control channel of one QEMU needs. */
export interface ControlOptions {
  readonly shape: MachineShape
  readonly sockets: Sockets
  readonly connectTimeout: Duration.Duration
  /** The console's log so far. */
  readonly console: Effect.Effect<string>
  readonly timeScale: number
  /** What all connections to this QEMU share. */
  readonly turn: runState.Turn
  /** Told why the machine ends, before it does. */
  readonly note: (cause: EndCause | undefined) => void
}

const service = ({ console, shape, sockets, timeScale, turn }: ControlOptions, qmp: QmpService): ControlService => {
  const run = (name: string, args?: Readonly<Record<string, unknown>>) => Effect.asVoid(qmp.execute(name, args))
  return {
    qmp,
    closed: qmp.closed,
    resets: resetsOf(qmp),
    powerdown: run("system_powerdown"),
    reset: run("system_reset"),
    setLink: (vlan, up) => run("set_link", { name: cardId(vlan), up }),
    ...runState.make(
      {
        isRunning: Effect.map(QmpCommands.queryStatus(qmp), ({ running }) => running),
        stop: QmpCommands.stop(qmp),
        resume: QmpCommands.cont(qmp),
        save: (directory) => save({ shape, sockets, control: qmp, console, timeScale }, directory),
        notSaved: ({ message }, directory) => new SaveFailed({ machine: shape.name, directory, reason: message })
      },
      turn
    )
  }
}

/** Connects; the guest does not notice that a client comes or goes. */
export const layer = (options: ControlOptions) =>
  Layer.effect(
    Control,
    Effect.gen(function* () {
      const qmp = yield* Qmp
      yield* noteCause(qmp, options.note)
      yield* runState.recover(options.turn, QmpCommands.cont(qmp))
      return service(options, qmp)
    })
  ).pipe(Layer.provide(qmpLayer(qmpOptions(options.shape.name, options.sockets, options.connectTimeout))))
