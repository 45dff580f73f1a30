/**
 * What supervisors report, and when: OTP's rules.
 */
import * as ExitReason from "../../ExitReason.ts"
import { type ErrorContext, SupervisorReport } from "../../Report.ts"
import type { ProcessImpl } from "../process/process.ts"
import { tell } from "../process/report.ts"
import type { CheckedSpec } from "./childSpec.ts"

/** The reason of a supervisor that gives up. */
export const reachedMaxRestartIntensity = ExitReason.custom("reachedMaxRestartIntensity")

/** The process that a report is about, or how many there are. */
export type Whom = ProcessImpl | number | undefined

/** Tells a report about a child. */
export const reportChild = (
  supervisor: ProcessImpl,
  errorContext: ErrorContext,
  reason: ExitReason.ExitReason,
  spec: CheckedSpec,
  whom: Whom
): void =>
  tell(supervisor.context, () => {
    const { id, restart, shutdown, significant, type } = spec
    const who = typeof whom === "number" ? { pid: undefined, count: whom } : { pid: whom }
    const offender = { id, ...who, restart, shutdown, type, significant }
    return new SupervisorReport({ supervisor, errorContext, reason, offender })
  })

/** Whether a child that was told to stop has ended as it should. */
const isExpected = ({ restart, shutdown }: CheckedSpec, reason: ExitReason.ExitReason): boolean =>
  reason._tag === (shutdown === "brutalKill" ? "Killed" : "Shutdown") ||
  (restart !== "permanent" && ExitReason.isNormal(reason))

/** Tells of a child that was stopped, if it ended with another reason. */
export const reportStop = (
  supervisor: ProcessImpl,
  spec: CheckedSpec,
  child: ProcessImpl,
  reason: ExitReason.ExitReason
): void => {
  if (!isExpected(spec, reason)) reportChild(supervisor, "shutdownError", reason, spec, child)
}

/** Two crashes of one kind have causes of their own, so their text decides. */
const isSame = (a: ExitReason.ExitReason, b: ExitReason.ExitReason): boolean =>
  ExitReason.equals(a, b) || (a._tag === b._tag && ExitReason.format(a) === ExitReason.format(b))

/** Tells of children of one spec that were stopped all at once: one report for each other reason. */
export const reportStops = (supervisor: ProcessImpl, spec: CheckedSpec, children: ReadonlyArray<ProcessImpl>): void => {
  const counts: Array<{ readonly reason: ExitReason.ExitReason; count: number }> = []
  for (const { reason } of children) {
    if (reason === undefined || isExpected(spec, reason)) continue
    const known = counts.find((each) => isSame(each.reason, reason))
    if (known === undefined) counts.push({ reason, count: 1 })
    else known.count++
  }
  for (const { count, reason } of counts) reportChild(supervisor, "shutdownError", reason, spec, count)
}
