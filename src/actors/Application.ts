/**
 * Applications: supervision trees that are started in the order of their dependencies, stopped in reverse, and whose end
 * may end everything else.
 *
 * **Details**
 *
 * An application is a name, the applications that it needs, an environment, and a start that gives the pid of its top
 * supervisor. A controller, the service {@link Applications}, keeps them. The start type says what the end of an application
 * by itself means: of a `temporary` one nothing, of a `transient` one nothing if it ended with `Normal`, else, and always of
 * a `permanent` one, all others are stopped and the controller ends with {@link ApplicationTerminated}. A top supervisor
 * that gives up ends with `Shutdown`, so for supervisors transient is as good as permanent. A start that fails is such an
 * end as well.
 *
 * The environment is a `Config`, read when the application is started, under the application's name.
 *
 * Of OTP's applications, those that are included or optional, start phases, and what concerns other nodes are left out.
 *
 * **Example** (Two applications)
 *
 * ```ts
 * import { Config, Effect } from "effect"
 * import { Application, Process, Supervisor } from "vmtest/actors"
 *
 * const Store = Application.make({
 *   name: "store",
 *   env: Config.all({ size: Config.Int("size").pipe(Config.withDefault(10)) }),
 *   start: ({ size }) =>
 *     Supervisor.startLink({ children: [Supervisor.child(`cache of ${size}`, Effect.never)] }, { name: "store" })
 * })
 * // Started after the store, and stopped before it.
 * const Web = Application.make({
 *   name: "web",
 *   dependencies: [Store],
 *   start: () => Supervisor.startLink({ children: [] })
 * })
 *
 * export const program = Effect.gen(function* () {
 *   return (yield* Process.whereis("store")) !== undefined
 * }).pipe(Effect.provide(Application.layer(Web, { type: "permanent" })))
 * // gives true
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { CallError } from "./CallError.ts"
import * as GenServer from "./GenServer.ts"
import { CurrentSystem } from "./internal/process/current.ts"
import { implOf, Self } from "./internal/process/process.ts"
import { awaitDown, shutdownAndWait } from "./internal/process/stop.ts"
import {
  type AnyApplication,
  ApplicationNotStarted,
  ApplicationTerminated,
  type Controller,
  controller,
  type Running,
  type StartFailure,
  type StartType
} from "./internal/supervise/application.ts"
import type * as Pid from "./Pid.ts"
import type * as Process from "./Process.ts"

export {
  /** An application without its types. */
  type AnyApplication,
  /** The application runs already. */
  ApplicationAlreadyStarted,
  /** The application, or one that it needs, does not run. */
  ApplicationNotStarted,
  /** The application's start failed. */
  ApplicationStartFailed,
  /** Everything was stopped, because of the end of one application. */
  ApplicationTerminated,
  /** The protocol of the controller. */
  type Controller,
  /** A running application: its name, start type, environment, and the master process above its tree. */
  type Running,
  /** Why an application was not started, as the controller says it. */
  type StartFailure,
  /** What the end of an application by itself does to the others. */
  type StartType
} from "./internal/supervise/application.ts"

/** The environment of an application cannot be read. */
export class BadEnvironment extends Data.TaggedError("BadEnvironment")<{
  readonly application: string
  readonly cause: Config.ConfigError
}> {
  override get message() {
    return `the environment of the application ${this.application} is not valid: ${this.cause.message}`
  }
}

/** An application with the environment `Env` that needs the services `R`, its own and those of the applications it needs. */
export interface Application<out Env, out R> extends AnyApplication {
  readonly env: Config.Config<Env>
  readonly "~R"?: R
}

/** The controller of the applications. */
export class Applications extends Context.Service<Applications, { readonly controller: Pid.Pid<Controller> }>()(
  "vmtest/actors/Applications"
) {}

/** What is needed from outside: not what an application's own process provides. */
type Outside<R> = Exclude<R, Process.Provided>
type RequirementsOf<D> =
  D extends ReadonlyArray<infer A> ? (A extends Application<unknown, infer R> ? R : never) : never

/**
 * Describes an application. `start` runs in a process of the application's own, and its top supervisor is linked to that;
 * `prepStop` runs before the tree is stopped, or when it has ended, and `stop` after; what goes wrong in these two is ignored.
 */
export const make = <
  R,
  const D extends ReadonlyArray<Application<unknown, unknown>> = [],
  Env = Record<never, never>,
  RPrepStop = never,
  RStop = never
>(application: {
  readonly name: string
  readonly dependencies?: D
  readonly env?: Config.Config<Env>
  readonly start: (env: Env) => Effect.Effect<Pid.Any, unknown, R>
  readonly prepStop?: (env: Env) => Effect.Effect<unknown, unknown, RPrepStop>
  readonly stop?: (env: Env) => Effect.Effect<unknown, unknown, RStop>
}): Application<Env, Outside<R | RPrepStop | RStop> | RequirementsOf<D>> => {
  const { name, dependencies = [], env = Config.succeed({}), start, prepStop = nothing, stop = nothing } = application
  const callbacks: { readonly start: unknown; readonly prepStop: unknown; readonly stop: unknown } = {
    start,
    prepStop,
    stop
  }
  return { name, dependencies, env: env as Config.Config<Env>, callbacks: callbacks as AnyApplication["callbacks"] }
}

const nothing = () => Effect.void

// ----------------------------------------------------------------------------
// Starting and stopping
// ----------------------------------------------------------------------------

/** The controller has ended, or ended meanwhile. */
export type RequestError = Exclude<CallError, { readonly _tag: "CallTimeout" }>

/** Why an application was not started. */
export type StartError = StartFailure | BadEnvironment | RequestError

/** Asks the controller, for as long as it takes. */
const ask = <A, E>(
  request: (controller: Pid.Pid<Controller>, options: GenServer.CallOptions) => Effect.Effect<A, E | CallError>
): Effect.Effect<A, Exclude<E, { readonly _tag: "CallTimeout" }> | RequestError, Applications> =>
  Effect.flatMap(Applications, ({ controller }) =>
    Effect.catchIf(
      request(controller, { timeout: "Infinity" }),
      (error): error is Extract<E | CallError, { readonly _tag: "CallTimeout" }> =>
        error instanceof GenServer.CallTimeout,
      Effect.die
    )
  ) as Effect.Effect<A, Exclude<E, { readonly _tag: "CallTimeout" }> | RequestError, Applications>

const startWith = (
  application: AnyApplication,
  type: StartType,
  context: Context.Context<never>
): Effect.Effect<void, StartError, Applications> =>
  Effect.gen(function* () {
    const { name } = application
    const env = yield* Config.nested(application.env, name).pipe(
      Effect.mapError((cause) => new BadEnvironment({ application: name, cause }))
    )
    yield* ask((pid, options) => GenServer.call(pid, "start", { application, type, env, context }, options))
  })

/** The caller's services, without what belongs to the caller's own process. */
const withContext = <A, E, R>(
  f: (context: Context.Context<never>) => Effect.Effect<A, E, Applications>
): Effect.Effect<A, E, Applications | R> =>
  Effect.contextWith((context: Context.Context<Applications | R>) =>
    f(Context.omit(Self, Scope.Scope, CurrentSystem)(context as Context.Context<never>))
  )

/** Starts one application; those that it needs must run. Temporary by default. */
export const start = <Env, R>(
  application: Application<Env, R>,
  type: StartType = "temporary"
): Effect.Effect<void, StartError, Applications | R> =>
  withContext<void, StartError, R>((context) => startWith(application, type, context))

/** The applications that run, the last started first. */
export const whichApplications: Effect.Effect<ReadonlyArray<Running>, RequestError, Applications> = ask(
  (pid, options) => GenServer.call(pid, "which", undefined, options)
)

const runs = (application: AnyApplication): Effect.Effect<boolean, RequestError, Applications> =>
  Effect.map(whichApplications, (all) => all.some(({ name }) => name === application.name))

/**
 * Starts an application after all that it needs, as far as they do not run yet; all with the same type. The answer is the
 * names of those that were started, in that order. If one fails, those that were started before it are stopped again.
 */
export const ensureAllStarted = <Env, R>(
  application: Application<Env, R>,
  type: StartType = "temporary"
): Effect.Effect<ReadonlyArray<string>, StartError, Applications | R> =>
  withContext<ReadonlyArray<string>, StartError, R>((context) => {
    const started: Array<AnyApplication> = []
    const ensure = (each: AnyApplication): Effect.Effect<void, StartError, Applications> =>
      Effect.gen(function* () {
        if (yield* runs(each)) return
        for (const dependency of each.dependencies) yield* ensure(dependency)
        yield* startWith(each, type, context).pipe(
          Effect.andThen(Effect.sync(() => void started.push(each))),
          Effect.catchTag("ApplicationAlreadyStarted", () => Effect.void)
        )
      })
    const undo = Effect.suspend(() => Effect.forEach(started.reverse(), (each) => Effect.exit(stop(each))))
    return ensure(application).pipe(
      Effect.onError(() => undo),
      Effect.map(() => started.map(({ name }) => name))
    )
  })

/** Stops an application, and no other: not those that need it either. Waits for its end. */
export const stop = (
  application: AnyApplication
): Effect.Effect<void, ApplicationNotStarted | RequestError, Applications> =>
  ask((pid, options) => GenServer.call(pid, "stop", application.name, options))

// ----------------------------------------------------------------------------
// Environments
// ----------------------------------------------------------------------------

/** The environment of a running application. */
export const getEnv = <Env, R>(
  application: Application<Env, R>
): Effect.Effect<Env, RequestError | ApplicationNotStarted, Applications> =>
  Effect.flatMap(whichApplications, (all) => {
    const found = all.find(({ name }) => name === application.name)
    return found === undefined
      ? Effect.fail(new ApplicationNotStarted({ application: application.name }))
      : Effect.succeed(found.env as Env)
  })

/** Puts another environment in place, for those who ask from now on; it is gone when the application ends. */
export const setEnv = <Env, R>(
  application: Application<Env, R>,
  env: NoInfer<Env>
): Effect.Effect<void, RequestError | ApplicationNotStarted, Applications> =>
  ask((pid, options) => GenServer.call(pid, "setEnv", { name: application.name, env }, options))

// ----------------------------------------------------------------------------
// Layers
// ----------------------------------------------------------------------------

/** A controller with no applications yet. When the Layer is closed all that run are stopped, the last started first. */
export const layerController: Layer.Layer<Applications> = Layer.effect(
  Applications,
  Effect.map(
    Effect.acquireRelease(Effect.orDie(GenServer.start(controller)), (pid) =>
      shutdownAndWait(implOf(pid), Number.POSITIVE_INFINITY)
    ),
    (pid) => ({ controller: pid })
  )
)

/** An application and all that it needs, for as long as the Layer lives, with a controller of their own. */
export const layer = <Env, R>(
  application: Application<Env, R>,
  options?: { readonly type?: StartType }
): Layer.Layer<Applications, StartError, Exclude<R, Applications>> =>
  Layer.provideMerge(Layer.effectDiscard(ensureAllStarted(application, options?.type)), layerController) as Layer.Layer<
    Applications,
    StartError,
    Exclude<R, Applications>
  >

/** Never succeeds; fails as soon as the end of one application has stopped them all. */
export const terminated: Effect.Effect<never, ApplicationTerminated, Applications> = Effect.flatMap(
  Applications,
  ({ controller: pid }) =>
    Effect.flatMap(awaitDown(implOf(pid), Number.POSITIVE_INFINITY), (reason) =>
      reason?._tag === "Custom" && reason.term instanceof ApplicationTerminated
        ? Effect.fail(reason.term)
        : Effect.never
    )
)
