/**
 * `nixos-test-driver`: runs the test of a NixOS configuration in the place of the driver of nixpkgs.
 *
 * **Example** (The exit code of a test)
 *
 * ```ts
 * const code = TestDriver.run(invocation)
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as ExitCode from "../cli/ExitCode.ts"
import * as Host from "../cli/Host.ts"
import { complain, logToStderr, print, type Work } from "../cli/Subcommand.ts"
import { StatePlaces } from "../driver/StatePlaces.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import type { Invocation, LogLevel } from "./CommandLine.ts"
import * as Configuration from "./Configuration.ts"
import * as State from "./State.ts"
import * as TestScript from "./TestScript.ts"

/** What the terminal shows: consoles and commands by default, as there. */
const shownAt = (level: LogLevel) => ({ verbose: level === "info" || level === "debug", quiet: level === "error" })

const runTests = Effect.fnUntraced(function* (invocation: Invocation) {
  const configuration = yield* Configuration.of(invocation.source)
  const tests = yield* TestScript.load(configuration, invocation.language)
  const folders = yield* State.prepare(
    configuration.machines.map(({ name }) => name),
    invocation.keepState
  )
  const shown = shownAt(invocation.logLevel)
  const options = { keepState: false, output: invocation.output, snapshot: false, ...shown }
  const results = yield* Host.runTests(tests, { jobs: 1, options }).pipe(
    Effect.provideService(StatePlaces, folders),
    Effect.provide(TerminalReport.layer(shown))
  )
  yield* print(TerminalReport.summary(results.map(({ file: _, ...result }) => result)))
  return results.every(({ status }) => status === "passed") ? ExitCode.passed : ExitCode.failed
})

/** Runs the test. Whatever keeps it from running is told, and is exit code 1. */
export const run = (invocation: Invocation): Work =>
  runTests(invocation).pipe(
    Effect.catch((error) => Effect.as(complain(error.message), ExitCode.failed)),
    Effect.provide(logToStderr)
  )
