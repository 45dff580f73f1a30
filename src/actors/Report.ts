/**
 * Reports of crashes and of what supervisors do about them, logged as OTP logs them.
 *
 * **Details**
 *
 * A process that ends itself abnormally makes a {@link CrashReport}; a {@link SupervisorReport} says that a child has ended or did not start,
 * that it was stopped with another reason than it should, or that a supervisor gives up. They are made when OTP 25 makes
 * them and have its fields. An orderly end, and a process that another one ends by a signal, make none.
 *
 * By default they are logged at level `Error`, with the fields as annotations. The Reference {@link Reports} turns that off, or gives the reports to a
 * function. A process has the setting of the one who starts it, as it has all References.
 *
 * **Example** (Counting crashes instead of logging them)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Process, Report, Supervisor } from "vmtest/actors"
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const told: Array<string> = []
 *     const worker = Supervisor.child("worker", Effect.die("a bug"), { restart: "temporary" })
 *     const supervisor = yield* Supervisor.scoped({ children: [worker] }).pipe(
 *       Effect.provideService(Report.Reports, (report) => Effect.sync(() => told.push(report._tag)))
 *     )
 *     yield* Effect.sleep("10 millis")
 *     return [yield* Process.isAlive(supervisor), ...told]
 *   })
 * )
 * // gives [true, "CrashReport", "SupervisorReport"]
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as ExitReason from "./ExitReason.ts"
import type * as Pid from "./Pid.ts"

/** The child that a {@link SupervisorReport} is about. */
export interface Offender {
  /** As in its spec; under `simpleOneForOne` the template's. */
  readonly id: unknown
  /** Its process, which has mostly ended; `undefined` for one that did not start. */
  readonly pid: Pid.Any | undefined
  /** How many children the report is about, in the place of `pid`: those of a `simpleOneForOne` that were stopped with the same reason. */
  readonly count?: number
  readonly restart: "permanent" | "transient" | "temporary"
  /** Milliseconds, or a word. */
  readonly shutdown: number | "brutalKill" | "infinity"
  readonly type: "worker" | "supervisor"
  readonly significant: boolean
}

/**
 * What a supervisor met. `startError`: a child did not start, when the supervisor started or when it restarted the child.
 * `childTerminated`: a child ended, and is restarted or did not end in order. `shutdown`: there were too many restarts, so the supervisor ends.
 * `shutdownError`: a child that was told to stop ended with another reason.
 */
export type ErrorContext = "startError" | "childTerminated" | "shutdown" | "shutdownError"

/** A supervisor has something to say about a child; OTP's `supervisor_report`. */
export class SupervisorReport extends Data.TaggedClass("SupervisorReport")<{
  readonly supervisor: Pid.Any
  readonly errorContext: ErrorContext
  /** For `shutdown` the custom reason `"reachedMaxRestartIntensity"`. */
  readonly reason: ExitReason.ExitReason
  readonly offender: Offender
}> {}

/** A process has ended itself abnormally; OTP's `crash_report`. */
export class CrashReport extends Data.TaggedClass("CrashReport")<{
  readonly pid: Pid.Any
  /** Its local name. */
  readonly name: string | undefined
  readonly label: string | undefined
  /** `process`, or the behaviour: `GenServer`, `Supervisor`, … */
  readonly kind: string
  readonly reason: ExitReason.ExitReason
  /** Who started it, and who started that one, and so on. */
  readonly ancestors: ReadonlyArray<Pid.Any>
  /** Messages that it has not read. */
  readonly mailbox: number
  readonly links: ReadonlyArray<Pid.Any>
  readonly trapExit: boolean
}> {}

/** Every report. */
export type Report = SupervisorReport | CrashReport

/** What happens to reports: they are logged, or dropped, or given to a function, whose Effect runs in the process that reports. */
export type Reporting = "log" | "quiet" | ((report: Report) => Effect.Effect<unknown>)

/** What happens to reports; `log` by default. */
export const Reports: Context.Reference<Reporting> = Context.Reference("vmtest/actors/Report/Reports", {
  defaultValue: (): Reporting => "log"
})

const offenderOf = ({ count, id, pid }: Offender): string => {
  const child = `child "${id}"`
  if (count !== undefined) return `${child} (${count} processes)`
  return pid === undefined ? child : `${child} ${pid}`
}

/** One line for people: `supervisor <1 top>: child "cache" <2 cache> ended: crashed: Error: boom`. */
export const format = (report: Report): string => {
  const reason = ExitReason.format(report.reason)
  if (report._tag === "CrashReport") return `${report.kind} ${report.pid} ended: ${reason}`
  const { errorContext, offender, supervisor } = report
  const child = offenderOf(offender)
  switch (errorContext) {
    case "startError":
      return `supervisor ${supervisor}: ${child} did not start: ${reason}`
    case "childTerminated":
      return `supervisor ${supervisor}: ${child} ended: ${reason}`
    case "shutdown":
      return `supervisor ${supervisor}: ${child} ended too often, so the supervisor gives up`
    case "shutdownError":
      return `supervisor ${supervisor}: ${child} was stopped, and ended with another reason: ${reason}`
  }
}

/** The fields of a report as data for a logger: pids and reasons as text. */
const annotationsOf = (report: Report): Record<string, unknown> => {
  const reason = ExitReason.format(report.reason)
  if (report._tag === "CrashReport") {
    const { ancestors, kind, label, links, mailbox, name, pid, trapExit } = report
    return {
      process: {
        pid: String(pid),
        ...(name === undefined ? {} : { name }),
        ...(label === undefined ? {} : { label }),
        kind,
        ancestors: ancestors.map(String),
        mailbox,
        links: links.map(String),
        trapExit
      },
      reason
    }
  }
  const { errorContext, offender, supervisor } = report
  const { pid, ...rest } = offender
  return {
    supervisor: String(supervisor),
    errorContext,
    reason,
    offender: { ...(pid === undefined ? {} : { pid: String(pid) }), ...rest }
  }
}

/** Logs a report at level `Error`, as `log` does; for a function that wants to log some reports. A crash has its cause beside it. */
export const log = (report: Report): Effect.Effect<void> =>
  (report._tag === "CrashReport" && report.reason._tag === "Crashed"
    ? Effect.logError(format(report), report.reason.cause)
    : Effect.logError(format(report))
  ).pipe(Effect.annotateLogs(annotationsOf(report)))
