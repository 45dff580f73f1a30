/**
 * Supervisors whose children are started later, by the hundred thousand, each from a spec of its own.
 *
 * **Details**
 *
 * The rules are those of Elixir's `DynamicSupervisor`, and so are its defaults: three restarts in 5 seconds are accepted.
 * Children have no order: when one ends only that one is restarted, and they are stopped all at once. They are known by
 * their pids alone. Starting one costs the same whatever their number.
 *
 * A child is described by a `Supervisor.ChildSpec`, also one made of an Effect (`Supervisor.child`) or of a Layer
 * (`Supervisor.childLayer`), or by a {@link Template}, whose start takes arguments. What its start needs is taken from the
 * caller of {@link startChild}.
 *
 * **Example** (A worker for every job)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { DynamicSupervisor, Supervisor } from "vmtest/actors"
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const workers = yield* DynamicSupervisor.scoped({ maxChildren: 2 })
 *     const start = (job: Effect.Effect<unknown>) =>
 *       DynamicSupervisor.startChild(workers, Supervisor.child("job", job, { restart: "transient" }))
 *     yield* start(Effect.never)
 *     yield* start(Effect.never)
 *     const third = yield* Effect.flip(start(Effect.never))
 *     return [(yield* DynamicSupervisor.countChildren(workers)).active, third._tag]
 *   })
 * )
 * // gives [2, "MaxChildren"]
 * ```
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as GenServer from "./GenServer.ts"
import { call } from "./internal/gen/call.ts"
import type { Name } from "./internal/process/names.ts"
import { implOf, type Self } from "./internal/process/process.ts"
import { start as startProcess } from "./internal/process/start.ts"
import { shutdownAndWait } from "./internal/process/stop.ts"
import { checkSpec } from "./internal/supervise/childSpec.ts"
import { type RawDynamicOptions, superviseDynamically } from "./internal/supervise/dynamicSupervisor.ts"
import type * as Pid from "./Pid.ts"
import type * as Supervisor from "./Supervisor.ts"
import type { ChildNotFound, FailedToStartChild, InvalidSpec, MaxChildren } from "./SupervisorError.ts"

export { ChildNotFound, FailedToStartChild, InvalidSpec, MaxChildren } from "./SupervisorError.ts"

// ----------------------------------------------------------------------------
// Starting
// ----------------------------------------------------------------------------

/** The protocol of dynamic supervisors, spoken by the functions of this module. */
export interface DynamicSupervisor<in out Extra extends ReadonlyArray<unknown> = []> {
  readonly "~vmtest/actors/DynamicSupervisor": (_: Extra) => Extra
}

/** The pid of a dynamic supervisor. */
export type DynamicSupervisorPid<Extra extends ReadonlyArray<unknown> = []> = Pid.Pid<DynamicSupervisor<Extra>>

export interface Options<Extra extends ReadonlyArray<unknown> = []> {
  /** The only strategy of dynamic supervisors. */
  readonly strategy?: "oneForOne"
  /** How many restarts within `period` are accepted; 3 by default, 0 means that the first one is too many. */
  readonly intensity?: number
  /** Whole seconds, at least one; 5 by default. */
  readonly period?: Duration.Input
  /** How many children there may be, those that are being restarted included; any number by default. */
  readonly maxChildren?: number
  /** What every {@link Template}'s start gets before the arguments of its own; nothing by default. */
  readonly extraArguments?: Extra
}

/** Options, or an Effect of them that runs in the new process; `undefined` means that there is nothing to supervise. */
export type Init<Extra extends ReadonlyArray<unknown>, R> =
  | Options<Extra>
  | Effect.Effect<Options<Extra> | undefined, unknown, R>

const startAs = <Extra extends ReadonlyArray<unknown>, R>(
  linked: boolean,
  options: Init<Extra, R>,
  start: Supervisor.StartOptions | undefined
): Effect.Effect<DynamicSupervisorPid<Extra>, GenServer.StartError> => {
  const label = start?.label ?? (typeof start?.name === "string" ? start.name : undefined)
  const raw = (Effect.isEffect(options) ? options : Effect.succeed(options)) as Effect.Effect<
    RawDynamicOptions | undefined
  >
  return startProcess(
    {
      kind: "DynamicSupervisor",
      label,
      name: start?.name,
      linked,
      timeout: undefined,
      body: superviseDynamically(raw)
    },
    label ?? "dynamic supervisor"
  )
}

/** Starts a dynamic supervisor linked to this process. Bad options are an `InitFailed` with an {@link InvalidSpec}. */
export const startLink = <const Extra extends ReadonlyArray<unknown> = [], R = never>(
  options: Init<Extra, R> = {},
  start?: Supervisor.StartOptions
): Effect.Effect<DynamicSupervisorPid<Extra>, GenServer.StartError, Exclude<R, Self | Scope.Scope> | Self> =>
  startAs(true, options, start)

/** Starts a dynamic supervisor that belongs to a Scope: it is shut down, children first, when the scope closes. */
export const scoped = <const Extra extends ReadonlyArray<unknown> = [], R = never>(
  options: Init<Extra, R> = {},
  start?: Supervisor.StartOptions
): Effect.Effect<DynamicSupervisorPid<Extra>, GenServer.StartError, Exclude<R, Self | Scope.Scope> | Scope.Scope> =>
  Effect.acquireRelease(startAs(false, options, start), (pid) => shutdownAndWait(implOf(pid), Number.POSITIVE_INFINITY))

/** A dynamic supervisor for as long as the Layer lives, found by its name. */
export const layer = <const Extra extends ReadonlyArray<unknown> = [], R = never>(
  name: Name,
  options: Init<Extra, R> = {}
): Layer.Layer<never, GenServer.StartError, Exclude<R, Self | Scope.Scope>> =>
  Layer.effectDiscard(scoped(options, { name }))

/** A dynamic supervisor as a child of another supervisor. */
export const childSpec = <const Extra extends ReadonlyArray<unknown> = [], R = never>(
  id: string,
  options: Init<Extra, R> = {},
  childOptions?: Supervisor.ChildOptions & { readonly name?: Name }
): Supervisor.ChildSpec<Exclude<R, Self | Scope.Scope> | Self> => ({
  type: "supervisor",
  ...childOptions,
  id,
  start: startLink<Extra, R>(options, { label: id, ...childOptions })
})

// ----------------------------------------------------------------------------
// Children
// ----------------------------------------------------------------------------

/** A dynamic supervisor, by its pid or name. */
export type Ref<Extra extends ReadonlyArray<unknown> = []> = DynamicSupervisorPid<Extra> | Name

/** A child whose start takes arguments: the supervisor's extra ones, then those given to {@link startChild}. */
export interface Template<in Args extends ReadonlyArray<unknown>, out R = never> extends Supervisor.ChildOptions {
  readonly id: string
  readonly start: (...args: Args) => Effect.Effect<Pid.Any | ReturnType<typeof Supervisor.started>, unknown, R>
}

/** Why a child was not started. Nothing is kept of it. */
export type StartChildError = MaxChildren | FailedToStartChild | InvalidSpec | Supervisor.RequestError

const request = <A, E>(supervisor: Pid.Any | Name, tag: string, payload: unknown): Effect.Effect<A, E> =>
  call(supervisor, tag, payload, Number.POSITIVE_INFINITY) as Effect.Effect<A, E>

/**
 * Starts a child. Its pid is `undefined` when its start said ignore. The spec is checked before the supervisor is asked;
 * significant children are refused.
 */
export const startChild: {
  <R, Services = never>(
    supervisor: Pid.Any | Name,
    spec: Supervisor.ChildSpec<R, Services>
  ): Effect.Effect<Supervisor.StartedChild, StartChildError, Exclude<R, Self | Scope.Scope>>
  <Extra extends ReadonlyArray<unknown>, Args extends ReadonlyArray<unknown>, R>(
    supervisor: Ref<Extra>,
    spec: Template<readonly [...Extra, ...Args], R>,
    ...args: Args
  ): Effect.Effect<Supervisor.StartedChild, StartChildError, Exclude<R, Self | Scope.Scope>>
} = (supervisor: Pid.Any | Name, raw: object, ...args: ReadonlyArray<unknown>) => {
  const checked = checkSpec(raw, "never")
  return Result.isFailure(checked)
    ? Exit.fail(checked.failure)
    : Effect.contextWith((context: Context.Context<never>) =>
        request<Supervisor.StartedChild, StartChildError>(supervisor, "startChild", {
          spec: checked.success,
          args,
          context
        })
      )
}

/** Stops a child and forgets it. */
export const terminateChild = (
  supervisor: Pid.Any | Name,
  pid: Pid.Any
): Effect.Effect<void, ChildNotFound | Supervisor.RequestError> => request(supervisor, "terminateChild", pid)

/** The children, in no particular order; they have no ids. */
export const whichChildren = (
  supervisor: Pid.Any | Name
): Effect.Effect<ReadonlyArray<Supervisor.ChildInfo>, Supervisor.RequestError> =>
  request(supervisor, "whichChildren", undefined)

/** How many children there are; those that are being restarted are not active. */
export const countChildren = (
  supervisor: Pid.Any | Name
): Effect.Effect<Supervisor.ChildCounts, Supervisor.RequestError> => request(supervisor, "countChildren", undefined)
