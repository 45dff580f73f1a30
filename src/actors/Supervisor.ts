/**
 * Supervisors: they start children in order, restart them by a strategy, and stop them in reverse order.
 *
 * **Details**
 *
 * The rules are those of OTP's `supervisor`, version 25, to the letter; `docs/otp-conformance.md` says how that is proven.
 * The defaults are OTP's as well: one restart in 5 seconds, children that are permanent, 5 seconds to shut a worker down.
 *
 * A child is described by a {@link ChildSpec}, whose `start` gives a pid; by an Effect that runs as a process
 * ({@link child}); or by a Layer ({@link childLayer}), which is built in its own process and built again when it is restarted.
 * The children after it can use its services.
 *
 * **Example** (A worker that is restarted)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Process, Supervisor } from "vmtest/actors"
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     let starts = 0
 *     const worker = Supervisor.child(
 *       "worker",
 *       Effect.suspend(() => (++starts === 1 ? Effect.die("a bug") : Effect.never))
 *     )
 *     const supervisor = yield* Supervisor.scoped({ strategy: "oneForOne", intensity: 3, children: [worker] })
 *     yield* Effect.sleep("10 millis")
 *     return [starts, (yield* Supervisor.countChildren(supervisor)).active, yield* Process.isAlive(supervisor)]
 *   })
 * )
 * // gives [2, 1, true]
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type CallError, NoProcess } from "./CallError.ts"
import type { AnyChild, ChildOptions, ChildSpec, Required, ServicesOf } from "./ChildSpec.ts"
import type * as GenServer from "./GenServer.ts"
import { call } from "./internal/gen/call.ts"
import { resolve } from "./internal/process/current.ts"
import type { Address, Name } from "./internal/process/names.ts"
import { currentFiber } from "./internal/process/park.ts"
import { implOf, type Self } from "./internal/process/process.ts"
import { start as startProcess } from "./internal/process/start.ts"
import { shutdownAndWait } from "./internal/process/stop.ts"
import type { Child } from "./internal/supervise/children.ts"
import type { CheckedSpec } from "./internal/supervise/childSpec.ts"
import { type RawOptions, supervise } from "./internal/supervise/supervise.ts"
import { SupervisorLoop } from "./internal/supervise/supervisor.ts"
import type * as Pid from "./Pid.ts"
import type {
  AlreadyPresent,
  ChildNotFound,
  ChildRestarting,
  ChildRunning,
  FailedToStartChild,
  InvalidSpec,
  SimpleOneForOne
} from "./SupervisorError.ts"

export {
  type AnyChild,
  type ChildOptions,
  type ChildSpec,
  child,
  childLayer,
  type LayerOptions,
  type Required,
  type Restart,
  type ServicesOf,
  type Shutdown,
  type Started,
  server,
  started,
  type Template
} from "./ChildSpec.ts"
export {
  AlreadyPresent,
  ChildNotFound,
  ChildRestarting,
  ChildRunning,
  FailedToStartChild,
  InvalidSpec,
  SimpleOneForOne,
  StartCrash
} from "./SupervisorError.ts"

/**
 * What happens to the other children when one is restarted: nothing, all are restarted, or those started after it.
 * Under `simpleOneForOne` all children are alike and are started later by `startChild`.
 */
export type Strategy = "oneForOne" | "oneForAll" | "restForOne" | "simpleOneForOne"

/** The supervisor itself ends with `Shutdown` when any, or the last, significant child ended by itself. */
export type AutoShutdown = "never" | "anySignificant" | "allSignificant"

export interface Flags {
  /** `oneForOne` by default. */
  readonly strategy?: Strategy
  /** How many restarts within `period` are accepted; 1 by default, 0 means that the first one is too many. */
  readonly intensity?: number
  /** Whole seconds, at least one; 5 by default. */
  readonly period?: Duration.Input
  /** `never` by default. */
  readonly autoShutdown?: AutoShutdown
}

/**
 * What a supervisor is and supervises.
 *
 * The types know the order of children that are written as a list in place, or `as const`: what one needs and a sibling before it builds
 * is not needed from outside.
 */
export interface Options<Children extends ReadonlyArray<unknown>> extends Flags {
  readonly children: Children
}

/** The pid of a supervisor. */
export type SupervisorPid = Pid.Pid<Supervisor>

/** The protocol of supervisors, spoken by the functions of this module. */
export interface Supervisor {
  readonly "~vmtest/actors/Supervisor": true
}

/** A supervisor as a child. It gives its siblings nothing of what its own Layer children build. */
export const supervisor = <C extends AnyChild = AnyChild, const Children extends ReadonlyArray<C> = readonly []>(
  id: string,
  options: Options<Children>,
  childOptions?: ChildOptions & { readonly name?: Name }
): ChildSpec<Required<Children> | Self> => ({
  ...childOptions,
  type: childOptions?.type ?? "supervisor",
  id,
  start: startLink(options, { label: id, ...childOptions })
})

// ----------------------------------------------------------------------------
// Starting
// ----------------------------------------------------------------------------

export interface StartOptions {
  readonly name?: Name
  readonly label?: string
}

/** What the Effect of {@link startLink} may give instead of options: there is nothing to supervise. */
export const ignore = undefined

const startAs = <Children extends ReadonlyArray<unknown>>(
  linked: boolean,
  options: Options<Children> | Effect.Effect<Options<Children> | undefined, unknown, unknown>,
  start: StartOptions | undefined
): Effect.Effect<SupervisorPid, GenServer.StartError> => {
  const label = start?.label ?? (typeof start?.name === "string" ? start.name : undefined)
  const raw = (Effect.isEffect(options) ? options : Effect.succeed(options)) as Effect.Effect<RawOptions | undefined>
  return startProcess(
    { kind: "Supervisor", label, name: start?.name, linked, timeout: undefined, body: supervise(raw) },
    label ?? "supervisor"
  )
}

/**
 * Starts a supervisor linked to this process, with its children. When a child fails to start, those started before it are
 * stopped again and the start fails with `InitFailed`, whose reason is `ShutdownWith` a {@link FailedToStartChild}.
 */
export const startLink = <
  C extends AnyChild = AnyChild,
  const Children extends ReadonlyArray<C> = readonly [],
  R2 = never
>(
  options: Options<Children> | Effect.Effect<Options<Children> | undefined, unknown, R2>,
  start?: StartOptions
): Effect.Effect<SupervisorPid, GenServer.StartError, Required<Children> | Exclude<R2, Self | Scope.Scope> | Self> =>
  startAs(true, options, start)

/** Starts a supervisor that belongs to a Scope: it is shut down, children first, when the scope closes. */
export const scoped = <
  C extends AnyChild = AnyChild,
  const Children extends ReadonlyArray<C> = readonly [],
  R2 = never
>(
  options: Options<Children> | Effect.Effect<Options<Children> | undefined, unknown, R2>,
  start?: StartOptions
): Effect.Effect<
  SupervisorPid,
  GenServer.StartError,
  Required<Children> | Exclude<R2, Self | Scope.Scope> | Scope.Scope
> =>
  Effect.acquireRelease(startAs(false, options, start), (pid) => shutdownAndWait(implOf(pid), Number.POSITIVE_INFINITY))

/**
 * A supervision tree as a Layer, which provides what its Layer children built.
 *
 * **Gotchas**
 *
 * It provides the services that were built at the start. After a restart, {@link service} gives those of the child that runs now.
 */
export const layer = <C extends AnyChild = AnyChild, const Children extends ReadonlyArray<C> = readonly []>(
  options: Options<Children>,
  start?: StartOptions
): Layer.Layer<ServicesOf<Children>, GenServer.StartError, Required<Children>> =>
  Layer.effectContext(
    Effect.map(
      scoped(options, start),
      (pid) => servicesOf(pid, (child) => child.provided?.promised === true) as Context.Context<ServicesOf<Children>>
    )
  ) as Layer.Layer<ServicesOf<Children>, GenServer.StartError, Required<Children>>

const runs = ({ pid }: Child): boolean => pid?.alive === true

const servicesOf = (pid: Pid.Any, counts: (child: Child) => boolean): Context.Context<never> => {
  const { behaviour } = implOf(pid)
  let services = Context.empty()
  if (behaviour instanceof SupervisorLoop) {
    for (const child of behaviour.children.named.values()) {
      const built = child.provided?.services
      if (built !== undefined && counts(child)) services = Context.merge(services, built)
    }
  }
  return services
}

// ----------------------------------------------------------------------------
// Requests
// ----------------------------------------------------------------------------

/** A supervisor, by its pid or name. */
export type Ref = SupervisorPid | Name

/** How a request to a supervisor can end without an answer; it has no deadline. */
export type RequestError = Exclude<CallError, { readonly _tag: "CallTimeout" }>

const request = <A, E>(supervisor: Address, tag: string, payload: unknown): Effect.Effect<A, E> =>
  call(supervisor, tag, payload, Number.POSITIVE_INFINITY) as Effect.Effect<A, E>

/**
 * The service that a running Layer child built, as it is now. Fails with `NoProcess` while no such child runs, and while one
 * that continues after its start (`build: "continue"`) is still being built.
 */
export const service = <I, S>(supervisor: Ref, key: Context.Key<I, S>): Effect.Effect<S, NoProcess> =>
  Effect.suspend(() => {
    const process = resolve(supervisor, currentFiber())
    const found = process === undefined ? undefined : servicesOf(process, runs).mapUnsafe.get(key.key)
    return found === undefined
      ? Exit.fail(new NoProcess({ server: String(supervisor), request: key.key }))
      : Exit.succeed(found as S)
  })

/** A child that was started: no pid when its start said ignore. */
export interface StartedChild {
  readonly pid: Pid.Any | undefined
  readonly info: unknown
}

/** Why a child was not started. */
export type StartChildError = ChildRunning | AlreadyPresent | FailedToStartChild | InvalidSpec | RequestError

/** Adds a child, the last in the start order. Its start runs in the supervisor's context. */
export const startChild = (
  supervisor: Ref,
  spec: ChildSpec<Self | Scope.Scope, never>
): Effect.Effect<StartedChild, StartChildError> => request(supervisor, "startChild", spec)

/** Starts another child of a `simpleOneForOne` supervisor, with the arguments that its template takes. */
export const startDynamic = (
  supervisor: Ref,
  ...args: ReadonlyArray<unknown>
): Effect.Effect<StartedChild, FailedToStartChild | InvalidSpec | RequestError> =>
  request(supervisor, "startChild", args)

/** Stops a child; its spec is kept, unless it is temporary. Succeeds also when it does not run. By pid under `simpleOneForOne`. */
export const terminateChild = (
  supervisor: Ref,
  id: string | Pid.Any
): Effect.Effect<void, ChildNotFound | SimpleOneForOne | RequestError> => request(supervisor, "terminateChild", id)

/** Starts a child that does not run. If that fails the spec is kept, and nothing is tried again. */
export const restartChild = (
  supervisor: Ref,
  id: string
): Effect.Effect<
  StartedChild,
  ChildRunning | ChildRestarting | ChildNotFound | FailedToStartChild | SimpleOneForOne | RequestError
> => request(supervisor, "restartChild", id)

/** Forgets a child that does not run. */
export const deleteChild = (
  supervisor: Ref,
  id: string
): Effect.Effect<void, ChildRunning | ChildRestarting | ChildNotFound | SimpleOneForOne | RequestError> =>
  request(supervisor, "deleteChild", id)

/** One line of {@link whichChildren}. */
export interface ChildInfo {
  /** `undefined` under `simpleOneForOne`. */
  readonly id: string | undefined
  /** `undefined` for a child that does not run. */
  readonly child: Pid.Any | "restarting" | undefined
  readonly type: "worker" | "supervisor"
  readonly modules: ReadonlyArray<string> | "dynamic"
}

/** The children, the last started first. */
export const whichChildren = (supervisor: Ref): Effect.Effect<ReadonlyArray<ChildInfo>, RequestError> =>
  request(supervisor, "whichChildren", undefined)

/** How many child specs there are, how many children run, and how many there are of each type, running or not. */
export interface ChildCounts {
  readonly specs: number
  readonly active: number
  readonly supervisors: number
  readonly workers: number
}

export const countChildren = (supervisor: Ref): Effect.Effect<ChildCounts, RequestError> =>
  request(supervisor, "countChildren", undefined)

/** A child's spec with nothing left out; its shutdown is in milliseconds. */
export const getChildSpec = (
  supervisor: Ref,
  id: string | Pid.Any
): Effect.Effect<CheckedSpec, ChildNotFound | RequestError> => request(supervisor, "getChildSpec", id)

export type { CheckedSpec }
