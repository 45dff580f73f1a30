/**
 * How the process ends when a script, not vmtest, brings the end about.
 *
 * A script runs inside the command's own process, so it could end it with `process.exit`, or with an error in a callback
 * that nothing catches. Neither may pass for a result, leave anything behind, or keep other tests from running.
 *
 * **Example** (Run scripts as the command does)
 *
 * ```ts
 * Ending.guardExit()
 * Ending.refuseExit()
 * const program = Ending.orUncaught(Run.run(invocation))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as UncaughtErrors from "../driver/UncaughtError.ts"
import * as CommandName from "./CommandName.ts"
import * as ExitCode from "./ExitCode.ts"
import { describeThrown, isOfScript } from "./internal/frames.ts"

/** What scripts are doing in this process. */
export type Phase = "none" | "loading" | "running"

let phase: Phase = "none"
let decided = false
const folders = new Set<string>()

const say = (text: string) => process.stderr.write(`${CommandName.before(text)}\n`)

/** Says what scripts do from now on; an unforeseen end counts as 2 while they are loaded, and as 1 once they run. */
export const enter = (next: Phase): Effect.Effect<void> =>
  Effect.sync(() => {
    phase = next
  })

/** Has the folder removed if the process ends before the scope closes. */
export const removeOnExit = (folder: string): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => void folders.add(folder)),
    () => Effect.sync(() => void folders.delete(folder))
  )

/** Why the output could not be written; undefined if it could. A reader that leaves early (`head`) is not an error. */
let unwritten: string | undefined

/** Has the first error in writing the output noted, and `then` called with it. */
const watchOutput = (then: (reason: string) => void): void => {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE" || unwritten !== undefined) return
      unwritten = error.message
      say(`could not write the output: ${unwritten}`)
      then(unwritten)
    })
  }
}

/** Calls back when the reader of a stream has taken everything that was written to it, or will take nothing more. */
const whenTaken = (stream: NodeJS.WriteStream, then: () => void): void => {
  // In a later turn: a file is written at once, but its error event comes later.
  if (stream.destroyed || stream.writableEnded) setImmediate(then)
  else stream.write("", () => setImmediate(then))
}

const endProcess = process.exit.bind(process)

/** Ends the process at once with a code that vmtest itself chose; what its readers have not taken yet is lost. */
export const exitNow = (code: number): never => {
  decided = true
  return endProcess(code)
}

/** Ends the process with a code that vmtest itself chose, when its readers have taken what it said; with 1 for a 0 if they could not take it. */
export const exit = (code: number): void => {
  decided = true
  // Node ends a process with what the pipe had no room for unsaid.
  whenTaken(process.stdout, () =>
    whenTaken(process.stderr, () =>
      exitNow(unwritten !== undefined && code === ExitCode.passed ? ExitCode.failed : code)
    )
  )
}

const codeOfPhase = (): ExitCode.ExitCode => (phase === "loading" ? ExitCode.unusable : ExitCode.failed)

/** From now on, no exit but {@link exit} can be a success, and the folders of {@link removeOnExit} go with the process. */
export const guardExit = (): void => {
  process.on("exit", () => {
    if (!decided && phase !== "none") {
      say(`the script ended the process ${phase === "loading" ? "while it was imported" : "before its test had ended"}`)
      process.exitCode = codeOfPhase()
    }
    for (const folder of folders) {
      // What cannot be removed now, the next run's sweep removes.
      Result.try(() => Fs.rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
    }
  })
}

/** A script asked for the end of the process. */
class ProcessExit extends Error {
  override readonly name = "ProcessExit"
  constructor(call: string) {
    super(`the script called ${call}`)
  }
}

/**
 * Makes `process.exit` throw, so that a script that calls it fails its own test, and the other tests go on. vmtest itself ends the process with
 * {@link exit}.
 */
export const refuseExit = (): void => {
  process.exit = (code) => {
    throw new ProcessExit(`process.exit(${code ?? ""})`)
  }
}

/**
 * The work, or the exit code of the first error that nothing caught while scripts are loaded, or that is vmtest's own: it is printed, and the work
 * is interrupted and cleans up. Errors that follow from it are not printed.
 *
 * While tests run, an error fails the test that it belongs to. When that test has ended, or is not known, the error is printed, and the work
 * continues but does not end with success.
 */
export const orUncaught = <E, R>(
  work: Effect.Effect<ExitCode.ExitCode, E, R>
): Effect.Effect<ExitCode.ExitCode, E, R> => {
  let late = false
  // Listened for at once: work can end before the other side of the race has begun.
  const unwritable = Deferred.makeUnsafe<ExitCode.ExitCode>()
  watchOutput(() => Deferred.doneUnsafe(unwritable, Exit.succeed(ExitCode.failed)))
  return Effect.raceAllFirst([
    Effect.map(work, (code) => (late && code === ExitCode.passed ? ExitCode.failed : code)),
    Effect.callback<ExitCode.ExitCode>((resume) => {
      let first = true
      const onUncaught = (thrown: unknown) => {
        if (!first || decided) return
        const claimed = UncaughtErrors.claim(thrown)
        if (claimed?.fails === true) return
        if (claimed !== undefined || (phase === "running" && isOfScript(thrown))) {
          late = true
          const whose = claimed === undefined ? "" : `, after the test ${JSON.stringify(claimed.test)} ended`
          return say(`uncaught error in a callback or a promise${whose}\n${describeThrown(thrown)}`)
        }
        first = false
        const whose =
          phase === "none" ? "" : ` of the script ${phase === "loading" ? "while it was imported" : "in a test"}`
        say(`uncaught error${whose}, in a callback or a promise\n${describeThrown(thrown)}`)
        resume(Effect.succeed(codeOfPhase()))
      }
      // Never taken away: one that comes during the clean-up must not cut it short.
      process.on("uncaughtException", onUncaught)
      process.on("unhandledRejection", onUncaught)
    }),
    Deferred.await(unwritable)
  ])
}
