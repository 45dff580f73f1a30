/**
 * `vmtest eval 'EXPRESSION'` and `vmtest eval-file FILE`: runs a program with a driver, and prints its value.
 *
 * **Example** (Print the kernel of a machine)
 *
 * ```sh
 * vmtest eval '(yield* driver.machine("m", { image: Image.tiny() })).succeed("uname -r")'
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import { inspect } from "node:util"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Failure from "../driver/Failure.ts"
import { Reporter, type RunEvent } from "../driver/RunEvent.ts"
import type { TestCase } from "../driver/TestCase.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import type { Invocation, RunOptions } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Host from "./Host.ts"
import type { ScriptError } from "./ScriptError.ts"
import * as ScriptLoader from "./ScriptLoader.ts"
import { complain, logToStderr, type Work } from "./Subcommand.ts"

/** Text as it is, with a line end; nothing for undefined; other values as Node shows them. */
const show = (value: unknown): Effect.Effect<void> => {
  if (value === undefined) return Effect.void
  const text = typeof value === "string" ? value : inspect(value, { depth: 6 })
  return Effect.sync(() => void process.stdout.write(text === "" || text.endsWith("\n") ? text : `${text}\n`))
}

/** A program that passes prints its value, and no report. */
const isSuccess = (event: RunEvent): boolean =>
  event._tag === "TestStarted" || (event._tag === "TestEnded" && event.result.status === "passed")

/** Errors that `vmtest run` finds before it starts anything; a program meets them only while it runs. */
const wrongUsage = ["InvalidMachine", "ImageUnavailable"]

/** Gives a program without a file places in its own text. */
const inText =
  (text: string) =>
  (event: RunEvent): RunEvent => {
    const failure = event._tag === "TestEnded" ? event.result.failure : undefined
    const file = ScriptLoader.expressionName
    if (event._tag !== "TestEnded" || failure?.place?.file !== NodePath.resolve(file)) return event
    const inIt = (place: Failure.Place) =>
      place.file === NodePath.resolve(file) ? Failure.placeIn({ ...place, file }, text) : place
    const placed = { ...failure, place: inIt(failure.place), callers: failure.callers.map(inIt) }
    return { ...event, result: { ...event.result, failure: placed } }
  }

const evaluate = (
  load: Effect.Effect<TestCase, ScriptError, FileSystem.FileSystem | Path.Path>,
  options: RunOptions,
  placed: (event: RunEvent) => RunEvent = (event) => event
): Work =>
  Effect.gen(function* () {
    let started = false
    const [result] = yield* Host.runTests([yield* load], { jobs: 1, options }).pipe(
      Effect.updateService(Reporter, (report) => (event) => {
        if (event._tag === "MachineEvent") started = true
        return isSuccess(event) ? Effect.void : report(placed(event))
      })
    )
    if (result?.status !== "passed") {
      return !started && wrongUsage.includes(result?.failure?.kind ?? "") ? ExitCode.unusable : ExitCode.failed
    }
    yield* show(result.value)
    return ExitCode.passed
  }).pipe(
    Effect.provide(TerminalReport.layer(options)),
    Effect.provide(logToStderr),
    Effect.catch((error) => Effect.as(complain(error.message), ExitCode.unusable))
  )

/** Runs the expression. */
export const expression = ({ expression, options }: Extract<Invocation, { readonly _tag: "Eval" }>): Work =>
  evaluate(ScriptLoader.loadExpression(expression), options, inText(expression))

/** Runs the file's program. */
export const file = ({ file, options }: Extract<Invocation, { readonly _tag: "EvalFile" }>): Work =>
  evaluate(ScriptLoader.loadProgramFile(file), options)
