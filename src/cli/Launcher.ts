/**
 * What `bin/vmtest.js` starts; the build bundles it into `dist/cli/vmtest.js`.
 *
 * **Example** (What `npx vmtest --help` runs)
 *
 * ```sh
 * node node_modules/vmtest/bin/vmtest.js --help
 * ```
 *
 * @since 0.1.0
 */
import * as CommandLine from "./CommandLine.ts"
import { launch } from "./Launch.ts"

/** Those that read a script first of all. */
const readsScripts = (invocation: CommandLine.Invocation): boolean =>
  ["Run", "Eval", "EvalFile", "Repl", "FleetRun"].includes(invocation._tag)

/** esbuild works in a process of its own, which starts while the library loads. What keeps it from starting is reported when a script needs it. */
const startCompiler = () => import("esbuild").then(({ transform }) => transform("")).catch(() => undefined)

launch("vmtest", CommandLine.parse(process.argv.slice(2)), (invocation) => {
  if (readsScripts(invocation)) void startCompiler()
  return import("./Main.ts")
})
