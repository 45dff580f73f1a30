/**
 * What `bin/vmtest.js` starts: reads the command line, and only then loads the library.
 *
 * The build bundles this module with the parts of Effect it needs into `dist/cli/vmtest.js`. The library has its own copy
 * of Effect, the one that scripts share, so only plain data crosses from here to there.
 *
 * **Example** (What `npx vmtest --help` runs)
 *
 * ```sh
 * node node_modules/vmtest/bin/vmtest.js --help
 * ```
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as CommandLine from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"

const launch = Effect.gen(function* () {
  const parsed = yield* CommandLine.parse(process.argv.slice(2))
  if (typeof parsed === "number") {
    process.exitCode ||= parsed
    return
  }
  const { main } = yield* Effect.promise(() => import("./Main.ts"))
  main(parsed)
})

/** For example an installation without `effect`: said, and not taken for success. */
const fault = (cause: Cause.Cause<never>) =>
  Effect.sync(() => {
    process.stderr.write(`vmtest: could not start\n${Cause.pretty(cause)}\n`)
    process.exitCode = ExitCode.failed
  })

// Whoever reads the output may leave early (head): no reason for a stack trace. What else keeps help from being read is one to fail.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") process.exitCode ||= ExitCode.failed
  })
}

Effect.runFork(launch.pipe(Effect.catchCause(fault), Effect.provide(NodeServices.layer)))
