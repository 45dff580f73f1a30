/** The process of a switch: it makes a VLAN's state true, and delivers what is late. When it crashes, its successor takes the state up again. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Thrown from "../../host/Thrown.ts"
import { EthernetSwitch } from "./ethernetSwitch.ts"
import type { VlanState } from "./vlanState.ts"

const defectOf = (exit: Exit.Exit<unknown, unknown>): string => {
  const died = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isDieReason) : undefined
  return died === undefined ? "" : Thrown.messageOf(died.defect)
}

/** Runs a switch until it is stopped, or fails with the defect that broke it. */
export const run = (state: VlanState, hub: boolean): Effect.Effect<never> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const earlier = Latch.makeUnsafe(false)
    const now = () => Number(clock.monotonicTimeNanosUnsafe())
    const ethernet = new EthernetSwitch({ hub, now, onSchedule: () => earlier.openUnsafe() })
    const broken = Deferred.makeUnsafe<never>()
    /** Sleeps until a frame is due, or until one comes that is due earlier. */
    const deliver = Effect.suspend(() => {
      earlier.closeUnsafe()
      ethernet.tick()
      const { next } = ethernet.schedule
      const due = next === undefined ? Effect.never : Effect.sleep(Duration.nanos(BigInt(Math.ceil(next - now()))))
      return Effect.raceFirst(due, earlier.await)
    })
    yield* Effect.acquireRelease(
      Effect.sync(() => state.begin(ethernet, (defect) => Deferred.doneUnsafe(broken, Effect.die(defect)))),
      (_, exit) => Effect.sync(() => state.end(ethernet, defectOf(exit)))
    )
    return yield* Effect.raceFirst(Effect.forever(deliver), Deferred.await(broken))
  }).pipe(Effect.scoped)
