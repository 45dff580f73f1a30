/**
 * The application controller, and the master process that each running application has.
 *
 * A master starts the application's tree, linked to itself, and outlives it for the callbacks around its end; the
 * controller, to which all masters are linked, knows who runs and decides what an end means.
 */
import type * as Config from "effect/Config"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as ExitReason from "../../ExitReason.ts"
import * as GenServer from "../../GenServer.ts"
import type * as Pid from "../../Pid.ts"
import * as Process from "../../Process.ts"
import { implOf, link } from "../process/process.ts"
import { awaitDown } from "../process/stop.ts"

/** What the end of an application by itself does to the others. */
export type StartType = "permanent" | "transient" | "temporary"

/** An application without its types. */
export interface AnyApplication {
  readonly name: string
  readonly dependencies: ReadonlyArray<AnyApplication>
  readonly env: Config.Config<unknown>
  readonly callbacks: {
    readonly start: (env: unknown) => Effect.Effect<Pid.Any, unknown>
    readonly prepStop: (env: unknown) => Effect.Effect<unknown, unknown>
    readonly stop: (env: unknown) => Effect.Effect<unknown, unknown>
  }
}

/** The application runs already. */
export class ApplicationAlreadyStarted extends Data.TaggedError("ApplicationAlreadyStarted")<{
  readonly application: string
}> {
  override get message() {
    return `the application ${this.application} is already running`
  }
}

/** The application, or one that it needs, does not run. */
export class ApplicationNotStarted extends Data.TaggedError("ApplicationNotStarted")<{
  readonly application: string
}> {
  override get message() {
    return `the application ${this.application} is not running`
  }
}

/** The application's start failed. */
export class ApplicationStartFailed extends Data.TaggedError("ApplicationStartFailed")<{
  readonly application: string
  readonly reason: ExitReason.ExitReason
}> {
  override get message() {
    return `the application ${this.application} did not start: ${ExitReason.format(this.reason)}`
  }
}

/** Everything was stopped, because of the end of one application. */
export class ApplicationTerminated extends Data.TaggedError("ApplicationTerminated")<{
  readonly application: string
  readonly type: StartType
  readonly reason: ExitReason.ExitReason
}> {
  override get message() {
    return `the ${this.type} application ${this.application} ended: ${ExitReason.format(this.reason)}`
  }
}

/** Why an application was not started, as the controller says it. */
export type StartFailure = ApplicationAlreadyStarted | ApplicationNotStarted | ApplicationStartFailed

export interface StartRequest {
  readonly application: AnyApplication
  readonly type: StartType
  readonly env: unknown
  readonly context: Context.Context<never>
}

/** A running application. */
export interface Running {
  readonly name: string
  readonly type: StartType
  readonly env: unknown
  readonly master: Pid.Any
}

export const controllerProtocol = GenServer.protocol({
  start: GenServer.Call<StartRequest, void, StartFailure>(),
  stop: GenServer.Call<string, void, ApplicationNotStarted>(),
  which: GenServer.Call<void, ReadonlyArray<Running>>(),
  setEnv: GenServer.Call<{ readonly name: string; readonly env: unknown }, void, ApplicationNotStarted>()
})
export type Controller = typeof controllerProtocol

// ----------------------------------------------------------------------------
// Masters
// ----------------------------------------------------------------------------

/** To the controller: the tree of this master is up. */
class Up {
  readonly master: Pid.Any
  constructor(master: Pid.Any) {
    this.master = master
  }
}
/** To a master: end the application. */
class Stop {}

const endOf = (top: Pid.Any, from: Pid.Any) => (message: unknown) => {
  if (message instanceof Stop) return { reason: ExitReason.normal, signal: ExitReason.shutdown }
  if (!Process.isExit(message)) return undefined
  if (message.from === top) return { reason: message.reason, signal: undefined }
  return message.from === from ? { reason: message.reason, signal: message.reason } : undefined
}

const master = ({ application, env }: StartRequest, controller: Pid.Any): Effect.Effect<void, unknown, Process.Self> =>
  Effect.gen(function* () {
    const { callbacks } = application
    const me = yield* Process.self
    yield* Process.trapExit(true)
    const top = yield* callbacks.start(env)
    link(implOf(me), implOf(top))
    yield* Process.send(controller, new Up(me))
    const end = yield* Process.receive(endOf(top, controller))
    yield* Effect.exit(callbacks.prepStop(env))
    if (end.signal !== undefined) {
      yield* Process.exit(top, end.signal)
      yield* Process.awaitExit(top)
    }
    yield* Effect.exit(callbacks.stop(env))
    yield* Process.exit(end.reason)
  })

// ----------------------------------------------------------------------------
// The controller
// ----------------------------------------------------------------------------

type From = GenServer.From<void, StartFailure>

interface Starting extends Running {
  readonly waiting: Array<From>
}

interface State {
  /** In the order of their starts. */
  readonly running: ReadonlyArray<Running>
  readonly starting: ReadonlyArray<Starting>
}

const byName = (name: string) => (each: Running) => each.name === name
const notBy = (master: Pid.Any | undefined) => (each: Running) => each.master !== master

const fatal = (state: State, { name, type }: Running, reason: ExitReason.ExitReason) =>
  type === "temporary" || (type === "transient" && reason._tag === "Normal")
    ? GenServer.noReply(state)
    : GenServer.stopWith(ExitReason.custom(new ApplicationTerminated({ application: name, type, reason })), state)

const begin = (request: StartRequest, state: State, from: From) =>
  Effect.gen(function* () {
    const { name, dependencies } = request.application
    if (state.running.some(byName(name))) return yield* new ApplicationAlreadyStarted({ application: name })
    const already = state.starting.find(byName(name))
    if (already !== undefined) {
      already.waiting.push(from)
      return GenServer.noReply(state)
    }
    const missing = dependencies.find((each) => !state.running.some(byName(each.name)))
    if (missing !== undefined) return yield* new ApplicationNotStarted({ application: missing.name })
    const controller = yield* Process.self
    const spawning = Process.spawnLink(master(request, controller), { label: name })
    const pid = yield* Effect.provideContext(spawning, request.context)
    const starting = { name, type: request.type, env: request.env, master: pid, waiting: [from] }
    return GenServer.noReply<State>({ ...state, starting: [...state.starting, starting] })
  })

const up = (pid: Pid.Any, state: State) =>
  Effect.gen(function* () {
    const found = state.starting.find(({ master }) => master === pid)
    if (found === undefined) return GenServer.noReply(state)
    const { waiting, ...running } = found
    for (const from of waiting) yield* GenServer.replyTo(from, undefined)
    return GenServer.noReply<State>({
      running: [...state.running, running],
      starting: state.starting.filter(notBy(pid))
    })
  })

const ended = ({ from: pid, reason }: Process.ExitMessage, state: State) =>
  Effect.gen(function* () {
    const rest: State = {
      running: state.running.filter(notBy(pid)),
      starting: state.starting.filter(notBy(pid))
    }
    const failed = state.starting.find(({ master }) => master === pid)
    if (failed !== undefined) {
      const error = new ApplicationStartFailed({ application: failed.name, reason })
      for (const from of failed.waiting) yield* GenServer.failTo(from, error)
      return fatal(rest, failed, reason)
    }
    const running = state.running.find(({ master }) => master === pid)
    return running === undefined ? GenServer.noReply(state) : fatal(rest, running, reason)
  })

const awaitEnd = (pid: Pid.Any) => awaitDown(implOf(pid), Number.POSITIVE_INFINITY)

/** Knows the applications that run; when it ends, it ends them, the last started first, and takes its time. */
export const controller = GenServer.make(controllerProtocol, {
  label: "applications",
  init: () => Effect.as(Process.trapExit(true), GenServer.ok<State>({ running: [], starting: [] })),
  handlers: {
    start: begin,
    stop: (name, state) =>
      Effect.gen(function* () {
        const found = state.running.find(byName(name))
        if (found === undefined) return yield* new ApplicationNotStarted({ application: name })
        yield* Process.send(found.master, new Stop())
        yield* awaitEnd(found.master)
        return GenServer.reply(undefined, { ...state, running: state.running.filter(notBy(found.master)) })
      }),
    which: (_, state) => GenServer.reply([...state.running].reverse(), state),
    setEnv: ({ name, env }, state) =>
      state.running.some(byName(name))
        ? GenServer.reply(undefined, {
            ...state,
            running: state.running.map((each) => (each.name === name ? { ...each, env } : each))
          })
        : Effect.fail(new ApplicationNotStarted({ application: name }))
  },
  info: (message, state) => {
    if (message instanceof Up) return up(message.master, state)
    return Process.isExit(message) ? ended(message, state) : GenServer.noReply(state)
  },
  terminate: (_, { running, starting }) =>
    Effect.forEach(
      [...running, ...starting].reverse(),
      ({ master }) => Effect.andThen(Process.exit(master, ExitReason.shutdown), awaitEnd(master)),
      { discard: true }
    )
})
