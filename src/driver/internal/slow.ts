/** Naming a test that takes long while it runs, with what it is doing. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { report } from "../RunEvent.ts"
import type * as UnderWay from "./underWay.ts"

/** How long a test takes before it is named. */
const slow = "1 minute"

/** Then each time that it has taken twice as long. */
export const slowSchedule = Schedule.exponential(slow)

/** Reports again and again that the test is still running, until the scope closes. */
export const watch = Effect.fnUntraced(function* (test: string, underWay: UnderWay.UnderWay) {
  const began = yield* Clock.currentTimeMillis
  const tell = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const quietMillis = now - Math.max(began, underWay.heardAt())
    yield* report({ _tag: "TestSlow", test, millis: now - began, quietMillis, doing: yield* underWay.lines })
  })
  yield* Effect.forkScoped(Effect.delay(Effect.repeat(tell, slowSchedule), slow))
})
