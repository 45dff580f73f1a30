/** The reports of a run of the command. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ExitCode from "../../src/cli/ExitCode.ts"
import * as RunReports from "../../src/cli/RunReports.ts"

describe("the exit code of a run with reports", () => {
  it.effect("is 1 if the run passed and a report could not be written", () =>
    Effect.gen(function* () {
      for (const files of [{ html: "/dev/full" }, { json: "/dev/full" }]) {
        assert.strictEqual(yield* RunReports.written(files, [])(Effect.succeed(ExitCode.passed)), ExitCode.failed)
      }
    })
  )

  it.effect("is that of the run otherwise", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* RunReports.written({ html: "/dev/full" }, [])(Effect.succeed(ExitCode.interrupted)),
        ExitCode.interrupted
      )
      assert.strictEqual(
        yield* RunReports.written({ html: "/dev/null" }, [])(Effect.succeed(ExitCode.passed)),
        ExitCode.passed
      )
    })
  )
})
