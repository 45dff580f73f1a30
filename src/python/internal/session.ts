/** One script and its interpreter: the calls that it makes are run beside one another, and its end is the test's. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Supervisor from "../../actors/Supervisor.ts"
import type { DriverService } from "../../driver/Driver.ts"
import * as Places from "../../driver/Places.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import * as Thrown from "../../host/Thrown.ts"
import { ProtocolBroken } from "../PythonError.ts"
import { Setting } from "../Setting.ts"
import { none, StartScripts } from "../StartScripts.ts"
import * as Surface from "../Surface.ts"
import { type Conversation, driverMethods, infoOf } from "./driverMethods.ts"
import * as DriverScripts from "./driverScripts.ts"
import { Interpreter, type InterpreterService, layer } from "./interpreter.ts"
import { machineMethods } from "./machineMethods.ts"
import type { Begin, Call, FromScript, Reply } from "./protocol.ts"
import * as Raised from "./raised.ts"
import * as Seats from "./seat.ts"
import * as Subtests from "./subtests.ts"
import { translate } from "./translate.ts"

/** A script, ready to be run. */
export interface Script {
  readonly text: string
  /** The file that its lines are in. */
  readonly file: string
  /** What it imports is looked for here first. */
  readonly folder: string
  /** How many columns were taken from the begin of its lines. */
  readonly columns: number
}

export interface SessionOptions {
  readonly script: Script
  /** Seconds. */
  readonly timeout: number
  /** The machines whose declaration says what a reboot does. */
  readonly rebootIsDeclared: ReadonlySet<string>
}

/** How many errors of calls are remembered, for exceptions that fail the script with them. */
const remembered = 1000

/** The interpreter as a process of a supervisor's: when its layer ends, it ends with all its children. */
export const supervised = Effect.fnUntraced(function* (interpreter: ReturnType<typeof layer>) {
  const failed = Deferred.makeUnsafe<never, HostProcess.HostProcessError>()
  const child = Supervisor.childLayer(
    "Interpreter",
    Layer.tapError(interpreter, (error) => Deferred.fail(failed, error)),
    { restart: "temporary", shutdown: "15 seconds" }
  )
  const supervisor = yield* Supervisor.scoped({ children: [child] }, { label: "Python" }).pipe(
    // The error of the layer itself, which the supervisor's is only about. A crash has none.
    Effect.catch(
      Effect.fnUntraced(function* (error) {
        if (yield* Deferred.isDone(failed)) return yield* Deferred.await(failed)
        return yield* Effect.fail(error)
      })
    )
  )
  return yield* Effect.orDie(Supervisor.service(supervisor, Interpreter))
})

interface Running {
  readonly conversation: Conversation
  readonly interpreter: InterpreterService
  readonly seats: Map<string, Seats.Seat>
  readonly failures: Map<number, unknown>
  readonly calls: Map<number, Fiber.Fiber<unknown>>
  readonly scope: Scope.Scope
}

const work = ({ conversation, interpreter, seats }: Running, { args, method, target, within }: Call) => {
  const seat = seats.get(target)
  const run =
    seat === undefined
      ? driverMethods[method]?.({ conversation, interpreter, within }, args)
      : machineMethods[method]?.(seat, args)
  return (
    run ?? Effect.die(new Error(`${target === "" ? "the driver" : target} has no method ${JSON.stringify(method)}`))
  )
}

const remember = (failures: Map<number, unknown>, id: number, error: unknown): void => {
  failures.set(id, error)
  const oldest = failures.keys().next()
  if (failures.size > remembered && oldest.done !== true) failures.delete(oldest.value)
}

/** What to reply; nothing to a call that was interrupted, since nobody waits for it. */
const replyTo = ({ failures }: Running, { args, id }: Call, exit: Exit.Exit<unknown, unknown>): Reply | undefined => {
  if (Exit.isSuccess(exit)) return { id, value: exit.value ?? null }
  if (Cause.hasInterruptsOnly(exit.cause)) return undefined
  const error = Cause.squash(exit.cause)
  remember(failures, id, error)
  return { id, error: { ...translate(error, args), told: Thrown.messageOf(error) } }
}

/** Runs a call beside the others. No generator: each of its steps would cost more than the rest. */
const begin = (running: Running, call: Call): Effect.Effect<boolean> => {
  const { calls, conversation, interpreter, scope } = running
  const run = Effect.onExit(conversation.subtests.within(call.within)(work(running, call)), (exit) => {
    calls.delete(call.id)
    const reply = replyTo(running, call, exit)
    if (reply !== undefined) interpreter.say(reply)
    return Effect.void
  })
  return Effect.map(Effect.forkIn(Effect.exit(run), scope, { startImmediately: true }), (fiber) => {
    if (fiber.pollUnsafe() === undefined) calls.set(call.id, fiber)
    return false
  })
}

/** Does what the script says; true once it is over. */
const hear = (running: Running, driver: DriverService, frame: FromScript): Effect.Effect<boolean, Error> => {
  switch (frame.t) {
    case "call":
      return begin(running, frame)
    case "cancel":
      running.calls.get(frame.id)?.interruptUnsafe()
      return Effect.succeed(false)
    case "log":
      return Effect.as(driver.log(frame.line), false)
    case "done":
      return Effect.succeed(true)
    case "failed":
      return Effect.fail(running.conversation.errorOf(frame.raised))
  }
}

const prepare = Effect.fnUntraced(function* (driver: DriverService, options: SessionOptions) {
  const places = Places.of(driver)
  if (places === undefined) return yield* Effect.die(new Error("a script needs a driver that vmtest has made"))
  const scope = yield* Effect.scope
  const given = yield* StartScripts
  const setting = yield* Setting
  const scripts = given === none ? DriverScripts.make(driver, places, setting.vlans) : given
  const seats = new Map<string, Seats.Seat>()
  const addMachine = Effect.fnUntraced(function* (name: string) {
    const machine = driver.machines[name]
    if (machine === undefined) return
    const rebootIsDeclared = options.rebootIsDeclared.has(name)
    seats.set(name, yield* Seats.make({ machine, places, scripts, scope, rebootIsDeclared }))
  })
  yield* Effect.forEach(Object.keys(driver.machines), addMachine, { discard: true })
  const failures = new Map<number, unknown>()
  const conversation: Conversation = {
    ...{ places, scripts, setting, addMachine },
    subtests: Subtests.make(driver, scope),
    errorOf: Raised.make(failures, options.script, () => Object.keys(driver.machines))
  }
  const { debugHook = null, globalTimeout = options.timeout, prompt, vlans, vsocks = null } = setting
  const { columns: _, ...script } = options.script
  const first: Begin = {
    script,
    machines: yield* Effect.forEach(seats.keys(), (name) => infoOf(places, name)),
    vlans: [...new Set([...vlans, ...places.vlans()])].map((nr) => ({ nr })),
    outDir: places.output,
    timeout: Number.isFinite(globalTimeout) ? globalTimeout : null,
    ...{ debugHook, vsocks, history: prompt?.history ?? null },
    hints: Surface.hints
  }
  return { conversation, failures, first, scope, seats }
})

/** Runs a script to its end on the machines of a driver, and fails with what it failed with. */
export const run = Effect.fnUntraced(function* (driver: DriverService, options: SessionOptions) {
  const { first, ...prepared } = yield* prepare(driver, options)
  const talks = first.history !== null
  // First, so that its error is that of the test; below it would be the reason of a supervisor.
  yield* HostProcess.locate("python3")
  const interpreter = yield* supervised(layer(driver.log, { talks }))
  const running: Running = { ...prepared, interpreter, calls: new Map() }
  interpreter.say(first)
  const next = Effect.flatMap(Queue.take(interpreter.heard), (frame) => hear(running, driver, frame))
  const exit = yield* Effect.repeat(next, { until: (over) => over }).pipe(
    Effect.tapError((error) => running.conversation.subtests.abort(error)),
    Effect.exit
  )
  // What it printed last is reported before the test ends. An interpreter that talks nonsense may run on.
  if (Exit.isSuccess(exit) || !(Cause.squash(exit.cause) instanceof ProtocolBroken)) yield* interpreter.ended
  return yield* exit
}, Effect.scoped)
