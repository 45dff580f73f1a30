/**
 * Monitors: watches whose news is a message in the mailbox of the one who asked.
 */
import * as Data from "effect/Data"
import * as ExitReason from "../../ExitReason.ts"
import type * as Pid from "../../Pid.ts"
import { Message } from "./mailbox.ts"
import type { ProcessImpl } from "./process.ts"
import { Watcher } from "./watcher.ts"

/** One monitor; two of the same process give two `Down` messages. */
export interface Monitor {
  readonly _tag: "Monitor"
  readonly pid: Pid.Any
}

/** The news, exactly once, that a monitored process ended. */
export class Down extends Data.TaggedClass("Down")<{
  readonly monitor: Monitor
  readonly pid: Pid.Any
  readonly reason: ExitReason.ExitReason
}> {}

class MonitorImpl extends Watcher implements Monitor {
  readonly _tag = "Monitor"
  readonly pid: ProcessImpl
  private readonly owner: ProcessImpl
  constructor(owner: ProcessImpl, pid: ProcessImpl) {
    super()
    this.owner = owner
    this.pid = pid
  }
  fire() {}
  down(reason: ExitReason.ExitReason) {
    this.owner.watching?.delete(this)
    this.owner.deliver(new Message(new Down({ monitor: this, pid: this.pid, reason })))
  }
}

/** Sends `owner` one message when `target` ends; at once, with `NoProcess`, if it is dead already. */
export const monitor = (owner: ProcessImpl, target: ProcessImpl): Monitor => {
  const ref = new MonitorImpl(owner, target)
  if (target.reason !== undefined) ref.down(ExitReason.noProcess)
  else {
    target.watch(ref)
    if (owner.watching === undefined) owner.watching = new Set()
    owner.watching.add(ref)
  }
  return ref
}

export const demonitor = (owner: ProcessImpl, ref: Monitor): void => {
  if (!(ref instanceof MonitorImpl)) return
  ref.unwatch()
  owner.watching?.delete(ref)
}

/** Whether the monitor was not taken back and has not told its news yet. */
export const isActive = (ref: Monitor): boolean => ref instanceof MonitorImpl && ref.target !== undefined
