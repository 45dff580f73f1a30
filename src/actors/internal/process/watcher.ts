/**
 * Those who are told of a process's end. A process keeps them in a list of its own links, so that leaving it costs nothing.
 */
import type * as ExitReason from "../../ExitReason.ts"
import type { ProcessImpl } from "./process.ts"
import { Timer } from "./timers.ts"

/** A monitor or a waiting caller: it learns of the end of a process. May have a deadline. */
export abstract class Watcher extends Timer {
  target: ProcessImpl | undefined = undefined
  previousWatcher: Watcher | undefined = undefined
  nextWatcher: Watcher | undefined = undefined
  abstract down(reason: ExitReason.ExitReason): void
  /** Whether a failure of the process is its result, which nobody needs a report of. */
  get takesFailure(): boolean {
    return false
  }

  unwatch(): void {
    const target = this.target
    if (target === undefined) return
    this.target = undefined
    if (this.previousWatcher === undefined) target.watchers = this.nextWatcher
    else this.previousWatcher.nextWatcher = this.nextWatcher
    if (this.nextWatcher === undefined) target.lastWatcher = this.previousWatcher
    else this.nextWatcher.previousWatcher = this.previousWatcher
    this.previousWatcher = undefined
    this.nextWatcher = undefined
  }
}
