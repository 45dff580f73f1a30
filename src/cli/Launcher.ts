/**
 * What `bin/vmtest.js` starts: reads the command line, and only then loads the library.
 *
 * The build bundles this module with the parts of Effect it needs into `dist/cli/vmtest.js`. The library has its own copy
 * of Effect, the one that scripts share, so only plain data crosses from here to there.
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as CommandLine from "./CommandLine.ts"

const launch = Effect.gen(function* () {
  const parsed = yield* CommandLine.parse(process.argv.slice(2))
  if (typeof parsed === "number") {
    process.exitCode = parsed
    return
  }
  const { main } = yield* Effect.promise(() => import("./Main.ts"))
  main(parsed)
})

Effect.runFork(launch.pipe(Effect.provide(NodeServices.layer)))
