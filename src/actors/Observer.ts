/**
 * Looking at a running actor system: its processes as data, their changes as a Stream, and Effect metrics.
 *
 * **Details**
 *
 * Nothing is recorded for an observer that is not there: a snapshot reads what every process keeps anyway, and changes are
 * only told while somebody listens.
 *
 * **Example** (A tree for people)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Observer, Supervisor } from "vmtest/actors"
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     yield* Supervisor.scoped({ children: [Supervisor.child("job", Effect.never)] }, { label: "top" })
 *     const snapshot = yield* Observer.snapshot
 *     yield* Effect.log(Observer.format(snapshot))
 *     // 2 processes
 *     // └─ <1 top>     Supervisor  waiting  up 2 ms
 *     //    └─ <2 job>  process     running  up 1 ms
 *     return snapshot.roots.map(({ children, label }) => [label, children.length])
 *   })
 * )
 * // gives [["top", 1]]
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as ExitReason from "./ExitReason.ts"
import { currentSystem } from "./internal/process/current.ts"
import { MessageLoop } from "./internal/process/loop.ts"
import { currentFiber } from "./internal/process/park.ts"
import type { ProcessImpl } from "./internal/process/process.ts"
import type { SystemImpl, SystemObserver } from "./internal/process/system.ts"
import type * as Pid from "./Pid.ts"

// ----------------------------------------------------------------------------
// Snapshots
// ----------------------------------------------------------------------------

/**
 * What a process is doing. `waiting`: it waits for a message. `running`: it has something to do, or waits for something
 * other than a message. `suspended`: told to leave its messages alone. `exiting`: it has been told to end, or is cleaning up.
 */
export type Status = "waiting" | "running" | "suspended" | "exiting"

/** Who a process is; does not change. */
export interface Identity {
  readonly pid: Pid.Any
  /** Its local name. */
  readonly name: string | undefined
  readonly label: string | undefined
  /** `process`, or the behaviour: `GenServer`, `Supervisor`, … */
  readonly kind: string
  /** The process that started it with a link. */
  readonly parent: Pid.Any | undefined
}

/** One process at the time of a snapshot. */
export interface ProcessInfo extends Identity {
  readonly status: Status
  /** Messages that wait. */
  readonly mailbox: number
  /** Messages that have ever arrived. */
  readonly received: number
  /** For a supervisor, how often it has restarted children, or tried to; else 0. */
  readonly restarts: number
  /** Milliseconds since its start. */
  readonly uptime: number
  /** What its behaviour has to say: a supervisor's strategy, the size of a registry. */
  readonly details: Readonly<Record<string, unknown>>
}

/** A process and those that it started. */
export interface Node extends ProcessInfo {
  readonly children: ReadonlyArray<Node>
}

/** An actor system at one moment. */
export interface Snapshot {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Every process, in the order of their starts. */
  readonly processes: ReadonlyArray<ProcessInfo>
  /** The processes without a living parent, with all that they started. */
  readonly roots: ReadonlyArray<Node>
}

const identityOf = (process: ProcessImpl): Identity => ({
  pid: process,
  name: process.name,
  label: process.label,
  kind: process.kind,
  parent: process.parent
})

const statusOf = (process: ProcessImpl): Status => {
  if (!process.alive) return "exiting"
  const condition = process.behaviour instanceof MessageLoop ? process.behaviour.condition : undefined
  return condition ?? (process.waiter !== undefined && !process.queued ? "waiting" : "running")
}

const infoOf = (process: ProcessImpl, now: number): ProcessInfo => {
  const details = process.details?.() ?? {}
  return {
    ...identityOf(process),
    status: statusOf(process),
    mailbox: process.letters,
    received: process.received,
    restarts: typeof details.restarts === "number" ? details.restarts : 0,
    uptime: now - process.startedAt,
    details
  }
}

const take = (system: SystemImpl, at: number): Snapshot => {
  const nodes = new Map<Pid.Any, ProcessInfo & { readonly children: Array<Node> }>()
  for (const process of system.processes) nodes.set(process, { ...infoOf(process, at), children: [] })
  const roots: Array<Node> = []
  for (const node of nodes.values()) {
    const parent = node.parent === undefined ? undefined : nodes.get(node.parent)
    if (parent === undefined) roots.push(node)
    else parent.children.push(node)
  }
  return { at, processes: [...nodes.values()], roots }
}

/** All processes of this actor system, as they are now. */
export const snapshot: Effect.Effect<Snapshot> = Effect.map(Clock.currentTimeMillis, (at) =>
  take(currentSystem(currentFiber()), at)
)

// ----------------------------------------------------------------------------
// Changes
// ----------------------------------------------------------------------------

/** A process was started. */
export class Started extends Data.TaggedClass("Started")<Identity & { readonly at: number }> {}

/** A process has ended. */
export class Exited extends Data.TaggedClass("Exited")<
  Identity & { readonly at: number; readonly reason: ExitReason.ExitReason; readonly uptime: number }
> {}

/** A supervisor has started a child again, as another process; comes after the `Started` of that one. */
export class Restarted extends Data.TaggedClass("Restarted")<
  Identity & { readonly at: number; readonly previous: Pid.Any; readonly supervisor: Pid.Any }
> {}

/** What can happen to a process. Times are in milliseconds, since the epoch for `at`. */
export type Change = Started | Exited | Restarted

/** Watches an actor system until the scope closes. */
const observe = (system: SystemImpl, observer: SystemObserver): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.sync(() => system.observers.add(observer)),
      () => Effect.sync(() => system.observers.delete(observer))
    )
  )

/**
 * Every start, end and restart from now on.
 *
 * **Gotchas**
 *
 * Nobody waits for the consumer. What it has not taken yet is kept, all of it by default; with a `capacity`, only the latest
 * so many changes.
 */
export const changes = (options?: { readonly capacity?: number }): Stream.Stream<Change> =>
  Stream.callback<() => Change>(
    (queue) =>
      Effect.flatMap(Clock.clockWith(Effect.succeed), (clock) => {
        // A process gets its name just after the event of its start, so the consumer reads who it is.
        const tell = (change: (at: number) => Change) => {
          const at = clock.currentTimeMillisUnsafe()
          Queue.offerUnsafe(queue, () => change(at))
        }
        return observe(currentSystem(currentFiber()), {
          onStart: (process) => tell((at) => new Started({ ...identityOf(process), at })),
          onExit: (process, reason) =>
            tell((at) => new Exited({ ...identityOf(process), at, reason, uptime: at - process.startedAt })),
          onRestart: (supervisor, previous, process) =>
            tell((at) => new Restarted({ ...identityOf(process), at, previous, supervisor }))
        })
      }),
    options?.capacity === undefined ? undefined : { bufferSize: options.capacity, strategy: "sliding" }
  ).pipe(Stream.map((change) => change()))

// ----------------------------------------------------------------------------
// Metrics
// ----------------------------------------------------------------------------

/** Processes started, by `kind`. */
export const started = Metric.counter("actors_started", {
  description: "Processes started",
  incremental: true
})

/** Processes ended, by `kind` and by the tag of their `reason`. */
export const exited = Metric.counter("actors_exited", { description: "Processes ended", incremental: true })

/** Children started again by their supervisor, by the supervisor's `supervisor` label. */
export const restarted = Metric.counter("actors_restarted", {
  description: "Children started again by their supervisor",
  incremental: true
})

/** Processes that live. */
export const alive = Metric.gauge("actors_alive", { description: "Processes that live" })

/** Messages that wait in all mailboxes. */
export const mailboxes = Metric.gauge("actors_mailboxes", { description: "Messages that wait in all mailboxes" })

/** Messages that wait in the fullest mailbox. */
export const fullestMailbox = Metric.gauge("actors_fullest_mailbox", {
  description: "Messages that wait in the fullest mailbox"
})

export interface MetricsOptions {
  /** How often the gauges are set; 5 seconds by default. */
  readonly every?: Duration.Input
}

/**
 * Keeps the metrics of this module up to date until the scope closes: the counters at every change, the gauges every so
 * often. They count from now on.
 */
export const metrics = (options?: MetricsOptions): Effect.Effect<void, never, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<Scope.Scope>) =>
    Effect.suspend(() => {
      const system = currentSystem(currentFiber())
      const count = (counter: Metric.Counter<number>, attributes: Record<string, string>) =>
        Metric.withAttributes(counter, attributes).updateUnsafe(1, context)
      const sample = Effect.sync(() => {
        let all = 0
        let fullest = 0
        for (const process of system.processes) {
          all += process.letters
          fullest = Math.max(fullest, process.letters)
        }
        alive.updateUnsafe(system.processes.size, context)
        mailboxes.updateUnsafe(all, context)
        fullestMailbox.updateUnsafe(fullest, context)
      })
      const counting = observe(system, {
        onStart: (process) => count(started, { kind: process.kind }),
        onExit: (process, reason) => count(exited, { kind: process.kind, reason: reason._tag }),
        onRestart: (supervisor) => count(restarted, { supervisor: supervisor.label ?? supervisor.kind })
      })
      const sampling = Effect.forkScoped(Effect.repeat(sample, Schedule.spaced(options?.every ?? "5 seconds")))
      return Effect.andThen(counting, Effect.asVoid(sampling))
    })
  )

/** {@link metrics} for as long as the Layer lives. */
export const metricsLayer = (options?: MetricsOptions): Layer.Layer<never> => Layer.effectDiscard(metrics(options))

// ----------------------------------------------------------------------------
// For people
// ----------------------------------------------------------------------------

interface Line {
  readonly tree: string
  readonly kind: string
  readonly status: string
  readonly rest: string
}

const ago = (millis: number): string => {
  if (millis < 1000) return `${Math.round(millis)} ms`
  const seconds = millis / 1000
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  const minutes = Math.floor(seconds / 60)
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

const restOf = (node: Node): string => {
  const facts = [`up ${ago(node.uptime)}`]
  if (node.received > 0) facts.push(`received ${node.received}`)
  if (node.mailbox > 0) facts.push(`mailbox ${node.mailbox}`)
  if (node.restarts > 0) facts.push(`restarts ${node.restarts}`)
  return facts.join(", ")
}

const linesOf = (nodes: ReadonlyArray<Node>, indent: string): ReadonlyArray<Line> =>
  nodes.flatMap((node, i) => {
    const isLast = i === nodes.length - 1
    const name = node.name === undefined || node.name === node.label ? "" : ` "${node.name}"`
    const line: Line = {
      tree: `${indent}${isLast ? "└─" : "├─"} ${node.pid}${name}`,
      kind: node.kind,
      status: node.status,
      rest: restOf(node)
    }
    return [line, ...linesOf(node.children, `${indent}${isLast ? "   " : "│  "}`)]
  })

/** A snapshot as a tree of lines, one a process, in columns; without a line break at its end. */
export const format = (snapshot: Snapshot): string => {
  const lines = linesOf(snapshot.roots, "")
  const width = (column: "tree" | "kind" | "status") =>
    lines.reduce((widest, line) => Math.max(widest, line[column].length), 0)
  const [tree, kind, status] = [width("tree"), width("kind"), width("status")]
  const count = snapshot.processes.length
  return [
    `${count} ${count === 1 ? "process" : "processes"}`,
    ...lines.map((line) =>
      [line.tree.padEnd(tree), line.kind.padEnd(kind), line.status.padEnd(status), line.rest].join("  ")
    )
  ].join("\n")
}
