import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Journal from "../../src/machine/Journal.ts"
import { guestOn, hostShell } from "./support.ts"

describe("a journal that is followed", () => {
  it.live("fails with the machine's death, as every stream of a machine does, and says what was read", () =>
    Effect.gen(function* () {
      const shell = { ...hostShell("bash"), executeStream: () => Stream.never }
      const { die, guest } = yield* guestOn(shell)
      const reading = yield* Effect.forkChild(Effect.flip(Stream.runDrain(Journal.make(guest).journal())), {
        startImmediately: true
      })
      yield* die
      const error = yield* Effect.timeout(Fiber.join(reading), "5 seconds")
      assert(error._tag === "MachineDied", error._tag)
      assert.strictEqual(error.doing, "reading the journal")
    })
  )
})
