/** What can be done to a running QEMU over one connection to its control socket, which takes one client at a time. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { panicIn } from "../../host/Evidence.ts"
import { Qmp, type QmpOptions, type QmpService, layer as qmpLayer } from "../../transport/qmp/Qmp.ts"
import * as QmpCommands from "../../transport/qmp/QmpCommands.ts"
import { Control, type ControlService, type EndCause, type MachineShape, type SavedMachine } from "../Backend.ts"
import { type ControlError, type SaveError, SaveFailed } from "../BackendError.ts"
import type { ConsoleLog } from "../internal/consoleLog.ts"
import { evidenceLines } from "../internal/hosted.ts"
import { resetsOf } from "../internal/resets.ts"
import * as runState from "../internal/runState.ts"
import type { Sockets } from "./command.ts"
import * as Hotplug from "./hotplug.ts"
import type { Saving } from "./save.ts"

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
  "guest-panic": "panic",
  "host-qmp-system-reset": "host",
  "host-qmp-quit": "host",
  "host-signal": "host"
}

const Panicked = Schema.Struct({ event: Schema.Literal("GUEST_PANICKED") })
const isPanicked = Schema.is(Panicked)

const Stopped = Schema.Struct({ event: Schema.Literal("STOP") })

/** The run states that a guest does not leave again, though QEMU lives, and why it came there. Source: `RunState` of QEMU's `qapi/run-state.json`. */
const deadEnds: Readonly<Record<string, string>> = {
  "internal-error": "KVM could not run the guest further (qemu.log says where); --accel tcg runs it without KVM",
  "io-error": "the host could not write the machine's disk; is its file system full?"
}

/** What the console printed before an event comes through another pipe. */
const consoleGrace = "20 millis"

/** How long a kernel that has panicked may print its trace before its machine is ended: one with `panic=0` halts for ever. */
const traceGrace = "2 seconds"

/** Hears why the machine ends: QEMU says it before it does. A panic ends it, even where the guest would reboot. Gives the resets of others. */
const watchEnd = Effect.fnUntraced(function* (qmp: QmpService, { console, note }: ControlOptions) {
  const decode = Schema.decodeUnknownOption(Shutdown)
  const listen = <E>(events: Stream.Stream<unknown, E>) =>
    Effect.forkScoped(Stream.runDrain(events), { startImmediately: true })
  let reported = false
  const end = Effect.suspend(() => {
    note("panic")
    return Effect.ignore(qmp.execute("quit"))
  })
  const panicked = Effect.delay(console.tail(evidenceLines), consoleGrace).pipe(
    Effect.map((tail) => reported || panicIn(tail) !== undefined)
  )
  yield* listen(
    Stream.map(qmp.events, (event) => {
      const shutdown = decode(event)
      if (Option.isSome(shutdown)) note(causes[shutdown.value.data.reason])
    })
  )
  yield* listen(
    Stream.mapEffect(Stream.filter(qmp.events, isPanicked), () => {
      reported = true
      note("panic")
      return Effect.delay(end, traceGrace)
    })
  )
  yield* listen(Stream.mapEffect(resetsOf(qmp), () => Effect.when(end, panicked)))
  return Stream.filterEffect(resetsOf(qmp), () => Effect.map(panicked, (yes) => !yes))
})

/** Ends a machine whose guest QEMU stopped for good: from outside it would look like one that is slow. */
const watchDeadEnds = Effect.fnUntraced(function* (qmp: QmpService, end: ControlOptions["end"]) {
  const look = QmpCommands.queryStatus(qmp).pipe(
    Effect.flatMap(({ status }) => {
      const because = deadEnds[status]
      return because === undefined ? Effect.void : end(because)
    }),
    // A control channel that is lost is watched by the next one.
    Effect.ignore
  )
  yield* qmp.events.pipe(
    Stream.filter(Schema.is(Stopped)),
    Stream.runForEach(() => look),
    Effect.forkScoped({ startImmediately: true })
  )
  // It may have come there before anyone listened.
  yield* Effect.forkScoped(look)
})

/** What the control channel of one QEMU needs. */
export interface ControlOptions {
  readonly shape: MachineShape
  readonly sockets: Sockets
  readonly connectTimeout: Duration.Duration
  readonly console: Pick<ConsoleLog, "log" | "tail">
  readonly timeScale: number
  /** What all connections to this QEMU share. */
  readonly turn: runState.Turn
  /** Told why the machine ends, before it does; a panic is not taken back by what follows it. */
  readonly note: (cause: EndCause | undefined) => void
  /** Ends QEMU at once, for a reason that the machine's errors give. */
  readonly end: (because: string) => Effect.Effect<void>
  /** Pulls or plugs the cable of a card. */
  readonly setLink: (control: QmpService, device: string, up: boolean) => Effect.Effect<void, ControlError>
  /** Saves a paused guest. */
  readonly save: (saving: Saving, directory: string) => Effect.Effect<SavedMachine, SaveError>
}

const service = (
  { console, save, setLink, shape, sockets, timeScale, turn }: ControlOptions,
  qmp: QmpService,
  resets: Stream.Stream<void>
): ControlService => {
  const run = (name: string, args?: Readonly<Record<string, unknown>>) => Effect.asVoid(qmp.execute(name, args))
  return {
    qmp,
    closed: qmp.closed,
    resets,
    powerdown: run("system_powerdown"),
    reset: run("system_reset"),
    plug: (device) => Hotplug.plug(qmp, shape.name, device),
    unplug: (name) => Hotplug.unplug(qmp, shape.name, name),
    setLink: (device, up) => setLink(qmp, device, up),
    ...runState.make(
      {
        isRunning: Effect.map(QmpCommands.queryStatus(qmp), ({ running }) => running),
        stop: QmpCommands.stop(qmp),
        resume: QmpCommands.cont(qmp),
        save: (directory) => save({ shape, sockets, control: qmp, console: console.log, timeScale }, directory),
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
      const resets = yield* watchEnd(qmp, options)
      yield* watchDeadEnds(qmp, options.end)
      yield* runState.recover(options.turn, QmpCommands.cont(qmp))
      return service(options, qmp, resets)
    })
  ).pipe(Layer.provide(qmpLayer(qmpOptions(options.shape.name, options.sockets, options.connectTimeout))))
