/**
 * One session with a guest: from the moment its bootstrap shell has the agent until the guest reboots, freezes or goes.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as DynamicSupervisor from "../../actors/DynamicSupervisor.ts"
import * as Process from "../../actors/Process.ts"
import * as Report from "../../actors/Report.ts"
import type { TransportService } from "../Transport.ts"
import type { Admin } from "./admin.ts"
import { below } from "./below.ts"
import type { LaneEnd } from "./lane.ts"

/** One session with the bootstrap shell, and the lanes that it has started. */
export interface Session {
  readonly admin: Admin
  /** What belongs to the session and ends with it. */
  readonly scope: Scope.Scope
  /** The supervisor of the lanes' processes. */
  readonly supervisor: DynamicSupervisor.DynamicSupervisorPid
  /** The highest number of a lane so far. */
  started: number
  /** Lanes below that which were not opened yet. */
  readonly spare: Array<{ readonly number: number; readonly waiting: boolean }>
  /** Lanes that have had a process, so that something of them may still be in the guest. */
  readonly used: Set<number>
  /** Lanes that have failed to start since they last did. */
  readonly failed: Set<number>
  /** Lanes that are being started for the first time, or again after they worked. */
  readonly hopeful: Set<number>
}

/**
 * Restarts of lanes that a session accepts: a lane that worked is started again at once, so only lanes that say they are ready and break,
 * over and over, come near this. Then the supervisor gives up, and so does the session.
 */
const intensity = 200
const period = "5 seconds"

/** A session without lanes. It, its lanes and their processes end with the scope. */
export const make = Effect.fnUntraced(function* (admin: Admin) {
  const outer = yield* Report.Reports
  // A lane that ended has said why to its command, or was idle in a guest that went; the rest is reported as whoever opened the shell wants it.
  const reporting = (report: Report.Report): Effect.Effect<unknown> => {
    const expected = report._tag === "SupervisorReport" && report.reason._tag === "Normal"
    if (expected || outer === "quiet") return Effect.void
    return outer === "log" ? Report.log(report) : outer(report)
  }
  const supervisor = yield* below(
    DynamicSupervisor.startLink({ intensity, period }, { label: "Lanes" }),
    DynamicSupervisor.scoped({ intensity, period }, { label: "Lanes" })
  ).pipe(Effect.provideService(Report.Reports, reporting))
  const session: Session = {
    admin,
    scope: yield* Effect.scope,
    supervisor,
    started: 0,
    spare: [],
    used: new Set(),
    failed: new Set(),
    hopeful: new Set()
  }
  return session
})

/** Lets the lanes of a guest that continues from a saved one be opened as they are wanted: first those that wait for a command. */
export const resume = (current: Session, waiting: ReadonlyArray<number>) => {
  current.started = Math.max(0, ...waiting)
  const stopped = Array.from({ length: current.started }, (_, index) => index + 1).filter(
    (number) => !waiting.includes(number)
  )
  current.spare.push(...waiting.map((number) => ({ number, waiting: true })))
  current.spare.push(...stopped.map((number) => ({ number, waiting: false })))
}

/** Whether every lane that there can be has been opened. */
export const isFull = (current: Session, transport: TransportService): boolean =>
  current.started >= transport.lanes && current.spare.length === 0

/** What is known of the lanes of one guest: who has one is the business of the lane server alone, the rest may be read by all. */
export class LaneTable {
  /** the lanes that are open */
  readonly lanes = new Set<LaneEnd>()
  session: Session | undefined
  /** how many commands wait for a lane */
  waiting = 0
  /** since when, in milliseconds, a session is sought, or was */
  since = 0
  /** why no session can be had any more */
  gone: string | undefined
  /** completes with the reason when the session ends that is on, or the next one */
  nextLoss = Deferred.makeUnsafe<string>()
  /** completes when the bootstrap shell is to be asked whether it is still the one that it was */
  restart = Deferred.makeUnsafe<string>()

  /** How many lanes are idle soon: those that start, and those that prepare for their next command. */
  get preparing(): number {
    let count = 0
    for (const { state } of this.lanes) if (state === "starting" || state === "settling") count++
    return count
  }

  /** How many lanes start. */
  get starting(): number {
    let count = 0
    for (const { state } of this.lanes) if (state === "starting") count++
    return count
  }
}

/** Waits for the end of the supervisor of the lanes. */
export const awaitSupervisor = (current: Session): Effect.Effect<unknown> => Process.awaitExit(current.supervisor)
