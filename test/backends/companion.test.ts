import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as Companion from "../../src/backends/internal/companion.ts"
import type { ExitStatus } from "../../src/host/HostProcess.ts"

/** A machine beside a program: how each ends, and what happened to the machine. */
const watched = Effect.gen(function* () {
  const companion = Deferred.makeUnsafe<ExitStatus>()
  const machine = Deferred.makeUnsafe<ExitStatus>()
  const happened: Array<string> = []
  yield* Companion.watch(
    { name: "its TPM's swtpm", exited: Deferred.await(companion), said: Effect.succeed("one\nlast words\n") },
    { exited: Deferred.await(machine), kill: (signal) => Effect.sync(() => void happened.push(`${signal}`)) },
    (reason) => happened.push(reason)
  )
  return { companion, machine, happened }
})

const killed: ExitStatus = { exitCode: undefined, signal: "SIGKILL" }
const peaceful: ExitStatus = { exitCode: 0, signal: undefined }

describe("a program that a machine cannot do without", () => {
  it.effect("ends the machine when it is killed, with the reason first", () =>
    Effect.gen(function* () {
      const { companion, happened } = yield* watched
      yield* Deferred.succeed(companion, killed)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(happened, ["its TPM's swtpm ended with signal SIGKILL: last words", "SIGKILL"])
    })
  )

  it.effect("may end with the machine, which is not ended then", () =>
    Effect.gen(function* () {
      const { companion, happened, machine } = yield* watched
      yield* Deferred.succeed(companion, peaceful)
      yield* TestClock.adjust("4 seconds")
      yield* Deferred.succeed(machine, peaceful)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(happened, [])
    })
  )

  it.effect("ends the machine when it ended in peace and the machine runs on", () =>
    Effect.gen(function* () {
      const { companion, happened } = yield* watched
      yield* Deferred.succeed(companion, peaceful)
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(happened, ["its TPM's swtpm ended with exit code 0: last words", "SIGKILL"])
    })
  )
})
