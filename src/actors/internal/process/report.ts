/**
 * Telling reports: done in the turn of the one who reports, by whatever its References say.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as ExitReason from "../../ExitReason.ts"
import { CrashReport, log, type Report, Reports } from "../../Report.ts"
import type { ProcessImpl } from "./process.ts"

/** Makes and tells a report, unless nobody wants it. */
export const tell = (context: Context.Context<never>, make: () => Report): void => {
  const reporting = Context.get(context, Reports)
  if (reporting === "quiet") return
  const telling = reporting === "log" ? log : reporting
  Effect.runForkWith(context)(Effect.suspend((): Effect.Effect<unknown> => telling(make())))
}

/** Tells that a process has ended itself: not of one whose fiber was interrupted, or whose failure is somebody's result. */
export const reportCrash = (process: ProcessImpl, reason: ExitReason.ExitReason): void => {
  if (reason._tag === "Killed") return
  for (let watcher = process.watchers; watcher !== undefined; watcher = watcher.nextWatcher) {
    if (watcher.takesFailure) return
  }
  tell(process.context, () => {
    const { kind, label, letters, links, name, trapExit } = process
    const ancestors: Array<ProcessImpl> = []
    for (let each = process.parent; each !== undefined; each = each.parent) ancestors.push(each)
    return new CrashReport({
      pid: process,
      name,
      label,
      kind,
      reason,
      ancestors,
      mailbox: letters,
      links: [...links],
      trapExit
    })
  })
}
