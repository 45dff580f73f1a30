/**
 * The first steps of a command: reads the command line, and only then loads the library.
 *
 * The build bundles the modules that use this one with the parts of Effect that they need. The library has its own copy of Effect, the one that
 * scripts share, so only plain data crosses from here to there.
 *
 * **Example** (A command that needs no library)
 *
 * ```ts
 * const answered = Effect.as(Subcommand.print("hello"), ExitCode.passed)
 * launch<ExitCode.ExitCode>("hello", answered, () => Promise.resolve({ main: () => {} }))
 * ```
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ExitCode from "./ExitCode.ts"

/** For example an installation without `effect`: said, and not taken for success. */
const fault = (name: string) => (cause: Cause.Cause<never>) =>
  Effect.sync(() => {
    process.stderr.write(`${name}: could not start\n${Cause.pretty(cause)}\n`)
    process.exitCode = ExitCode.failed
  })

/** Reads the command line, which gives what was asked for, or the exit code if that is answered; then loads the module whose `main` does it. */
export const launch = <Invocation>(
  name: string,
  parse: Effect.Effect<Invocation | ExitCode.ExitCode, never, NodeServices.NodeServices>,
  load: (
    invocation: Exclude<Invocation, number>
  ) => Promise<{ readonly main: (invocation: Exclude<Invocation, number>) => void }>
): void => {
  // The reader of the output may leave early (head): that needs no stack trace. Any other error in writing help is a failure.
  let handedOver = false
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") return
      process.exitCode ||= ExitCode.failed
      // The library says it itself; and where it is stderr that fails, only the exit code is left.
      if (stream === process.stdout && !handedOver)
        process.stderr.write(`${name}: could not write the output: ${error.message}\n`)
    })
  }
  const program = Effect.gen(function* () {
    const parsed = yield* parse
    if (typeof parsed === "number") {
      process.exitCode ||= parsed
      return
    }
    const invocation = parsed as Exclude<Invocation, number>
    const { main } = yield* Effect.promise(() => load(invocation))
    handedOver = true
    main(invocation)
  })
  Effect.runFork(program.pipe(Effect.catchCause(fault(name)), Effect.provide(NodeServices.layer)))
}
