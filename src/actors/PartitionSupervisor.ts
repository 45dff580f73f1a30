/**
 * One child, many times over: work is spread over the copies by a key.
 *
 * **Details**
 *
 * The rules are those of Elixir's `PartitionSupervisor`: the partitions are numbered from 0, by default there are as many
 * as the machine runs threads, and three restarts in 5 seconds are accepted. The name {@link via} with a key finds the
 * partition that the key belongs to, always the same one for equal keys: the remainder of an integer's magnitude, the hash
 * of anything else. A partition that is just being restarted has no process.
 *
 * **Example** (Counters that do not wait for each other)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { GenServer, PartitionSupervisor, Supervisor } from "vmtest/actors"
 *
 * const Counter = GenServer.make(GenServer.protocol({ add: GenServer.Call<number, number>() }), {
 *   init: (start: number) => GenServer.ok(start),
 *   handlers: { add: (by, n) => GenServer.reply(n + by, n + by) }
 * })
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     yield* PartitionSupervisor.scoped({
 *       name: "counters",
 *       partitions: 4,
 *       child: (partition) => Supervisor.server(`counter ${partition}`, Counter, [0])
 *     })
 *     const counterOf = (key: string) => GenServer.name(Counter, PartitionSupervisor.via("counters", key))
 *     yield* GenServer.call(counterOf("Ada"), "add", 1)
 *     return yield* GenServer.call(counterOf("Ada"), "add", 1)
 *   })
 * )
 * // gives 2
 * ```
 *
 * @since 0.1.0
 */
import { availableParallelism } from "node:os"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Hash from "effect/Hash"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { NoProcess } from "./CallError.ts"
import * as ExitReason from "./ExitReason.ts"
import type * as GenServer from "./GenServer.ts"
import { call } from "./internal/gen/call.ts"
import { currentSystem } from "./internal/process/current.ts"
import { type Name, type Via, whereis } from "./internal/process/names.ts"
import { currentFiber } from "./internal/process/park.ts"
import { implOf, type ProcessImpl, type Self } from "./internal/process/process.ts"
import { type Init, start as startProcess } from "./internal/process/start.ts"
import { shutdownAndWait } from "./internal/process/stop.ts"
import type { SystemImpl } from "./internal/process/system.ts"
import { type RawOptions, supervise } from "./internal/supervise/supervise.ts"
import { SupervisorLoop } from "./internal/supervise/supervisor.ts"
import type * as Pid from "./Pid.ts"
import type * as Supervisor from "./Supervisor.ts"
import { type FailedToStartChild, InvalidSpec } from "./SupervisorError.ts"

export { FailedToStartChild, InvalidSpec } from "./SupervisorError.ts"

// ----------------------------------------------------------------------------
// Starting
// ----------------------------------------------------------------------------

export interface Options<R, Services = never> {
  /** Keys are looked up by it. */
  readonly name: Name
  /** Every partition's child, or what makes it of the partition's number. Its id is not used. */
  readonly child: Supervisor.ChildSpec<R, Services> | ((partition: number) => Supervisor.ChildSpec<R, Services>)
  /** At least one; as many as the machine runs threads by default. */
  readonly partitions?: number
  /** `oneForOne` by default. */
  readonly strategy?: Exclude<Supervisor.Strategy, "simpleOneForOne">
  /** How many restarts within `period` are accepted; 3 by default. */
  readonly intensity?: number
  /** Whole seconds, at least one; 5 by default. */
  readonly period?: Supervisor.Flags["period"]
}

/** How many partitions a supervisor uses now, and how many it was started with. */
interface Table {
  current: number
  readonly most: number
  readonly resizing: Semaphore.Semaphore
}

const tables = new WeakMap<ProcessImpl, Table>()

const isCount = (value: unknown, least: number, most: number): value is number =>
  Number.isInteger(value) && (value as number) >= least && (value as number) <= most

/** The options of the supervisor that does the work, or what is wrong with the ones given. */
const check = (
  raw: Readonly<Record<string, unknown>>
): (RawOptions & { readonly partitions: number }) | InvalidSpec => {
  const { child, name, partitions = availableParallelism(), ...flags } = raw
  const bad = (problem: InvalidSpec["problem"], value: unknown) => new InvalidSpec({ of: "supervisor", problem, value })
  if (name === undefined) return bad("missingName", raw)
  if (child === undefined) return bad("missingChild", raw)
  if (!isCount(partitions, 1, Number.POSITIVE_INFINITY)) return bad("invalidPartitions", partitions)
  if (flags.strategy === "simpleOneForOne") return bad("invalidStrategy", flags.strategy)
  if ((flags.autoShutdown ?? "never") !== "never") return bad("invalidAutoShutdown", flags.autoShutdown)
  const specOf = (partition: number): unknown => (typeof child === "function" ? child(partition) : child)
  const children = Array.from({ length: partitions }, (_, partition) => {
    const spec = specOf(partition)
    return typeof spec === "object" && spec !== null ? { ...spec, id: partition } : spec
  })
  return { ...flags, intensity: flags.intensity ?? 3, children, partitions }
}

const body =
  (raw: Readonly<Record<string, unknown>>) =>
  (process: ProcessImpl, init: Init): Effect.Effect<unknown, unknown> => {
    const checked = check(raw)
    if (checked instanceof InvalidSpec) return Exit.die(new ExitReason.ExitDefect(ExitReason.custom(checked)))
    const { partitions } = checked
    tables.set(process, { current: partitions, most: partitions, resizing: Semaphore.makeUnsafe(1) })
    return supervise(Effect.succeed(checked))(process, init)
  }

const startAs = <R, Services>(
  linked: boolean,
  options: Options<R, Services>
): Effect.Effect<Pid.Any, GenServer.StartError> => {
  const label = typeof options.name === "string" ? options.name : "partitions"
  const { name } = options
  return startProcess(
    { kind: "PartitionSupervisor", label, name, linked, timeout: undefined, body: body({ ...options }) },
    label
  )
}

/** Starts a partition supervisor, with its partitions, linked to this process. Bad options are an `InitFailed` with an {@link InvalidSpec}. */
export const startLink = <R, Services = never>(
  options: Options<R, Services>
): Effect.Effect<Pid.Any, GenServer.StartError, Exclude<R, Self | Scope.Scope> | Self> => startAs(true, options)

/** Starts a partition supervisor that belongs to a Scope: it is shut down, partitions first, when the scope closes. */
export const scoped = <R, Services = never>(
  options: Options<R, Services>
): Effect.Effect<Pid.Any, GenServer.StartError, Exclude<R, Self | Scope.Scope> | Scope.Scope> =>
  Effect.acquireRelease(startAs(false, options), (pid) => shutdownAndWait(implOf(pid), Number.POSITIVE_INFINITY))

/** A partition supervisor for as long as the Layer lives. */
export const layer = <R, Services = never>(
  options: Options<R, Services>
): Layer.Layer<never, GenServer.StartError, Exclude<R, Self | Scope.Scope>> => Layer.effectDiscard(scoped(options))

/** A partition supervisor as a child of another supervisor. */
export const childSpec = <R, Services = never>(
  id: string,
  options: Options<R, Services>,
  childOptions?: Supervisor.ChildOptions
): Supervisor.ChildSpec<Exclude<R, Self | Scope.Scope> | Self> => ({
  type: "supervisor",
  ...childOptions,
  id,
  start: startLink(options)
})

// ----------------------------------------------------------------------------
// Partitions
// ----------------------------------------------------------------------------

interface Found {
  readonly process: ProcessImpl
  readonly loop: SupervisorLoop
  readonly table: Table
}

const find = (system: SystemImpl, name: Name): Found | undefined => {
  const process = whereis(system, name)
  const table = process === undefined ? undefined : tables.get(process)
  if (process === undefined || table === undefined || !(process.behaviour instanceof SupervisorLoop)) return undefined
  return { process, loop: process.behaviour, table }
}

/** The number of the partition that a key belongs to. */
const partitionOf = (key: unknown, partitions: number): number =>
  (typeof key === "number" && Number.isInteger(key) ? Math.abs(key) : Hash.hash(key) >>> 0) % partitions

/**
 * The name of the partition that a key belongs to, for calls, casts and sends. Nobody can be started under it. There is no
 * such process while the supervisor does not run or has been resized to no partitions.
 */
export const via = (name: Name, key: unknown): Via => ({
  _tag: "Via",
  whereis: (system) => {
    const found = find(system, name)
    if (found === undefined || found.table.current === 0) return undefined
    return found.loop.children.named.get(partitionOf(key, found.table.current))?.pid
  },
  register: () => undefined
})

const using = <A, E>(
  name: Name,
  request: string,
  use: (found: Found) => Effect.Effect<A, E>
): Effect.Effect<A, E | NoProcess> =>
  Effect.suspend((): Effect.Effect<A, E | NoProcess> => {
    const found = find(currentSystem(currentFiber()), name)
    const server = typeof name === "string" ? `"${name}"` : "partition supervisor"
    return found === undefined ? Exit.fail(new NoProcess({ server, request })) : use(found)
  })

/** How many partitions there are. */
export const partitions = (name: Name): Effect.Effect<number, NoProcess> =>
  using(name, "partitions", ({ table }) => Exit.succeed(table.current))

/** One partition. */
export interface PartitionInfo {
  readonly partition: number
  /** `undefined` when it was resized away, or its start said ignore. */
  readonly child: Pid.Any | "restarting" | undefined
  readonly type: "worker" | "supervisor"
  readonly modules: ReadonlyArray<string> | "dynamic"
}

const request = <A, E = Supervisor.RequestError>(
  process: ProcessImpl,
  tag: string,
  payload?: unknown
): Effect.Effect<A, E> => call(process, tag, payload, Number.POSITIVE_INFINITY) as Effect.Effect<A, E>

/** All partitions, those resized away included, the last one first. */
export const whichChildren = (name: Name): Effect.Effect<ReadonlyArray<PartitionInfo>, Supervisor.RequestError> =>
  using(name, "whichChildren", ({ process }) =>
    Effect.map(request<ReadonlyArray<PartitionInfo & { readonly id: number }>>(process, "whichChildren"), (children) =>
      children.map(({ id, child, type, modules }) => ({ partition: id, child, type, modules }))
    )
  )

/** How many partitions there can be, how many run, and how many there are of each type. */
export const countChildren = (name: Name): Effect.Effect<Supervisor.ChildCounts, Supervisor.RequestError> =>
  using(name, "countChildren", ({ process }) => request(process, "countChildren"))

/** Why a partition supervisor could not be resized. */
export type ResizeError = InvalidSpec | FailedToStartChild | Supervisor.RequestError

/**
 * Uses fewer partitions, whose others are stopped, or more again, up to as many as there were at the start. The answer is
 * how many there were before. Keys belong to other partitions from then on.
 */
export const resize = (name: Name, partitions: number): Effect.Effect<number, ResizeError> =>
  using(name, "resize", ({ process, table }) =>
    table.resizing.withPermit(
      Effect.gen(function* () {
        const before = table.current
        if (!isCount(partitions, 0, table.most)) {
          return yield* new InvalidSpec({ of: "supervisor", problem: "invalidPartitions", value: partitions })
        }
        for (let id = before; id < partitions; id++) {
          yield* request<unknown, FailedToStartChild | Supervisor.RequestError>(process, "restartChild", id)
        }
        table.current = partitions
        for (let id = partitions; id < before; id++) yield* request<void>(process, "terminateChild", id)
        return before
      })
    )
  )
