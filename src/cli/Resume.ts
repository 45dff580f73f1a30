/**
 * `vmtest resume FOLDER`: resumes the saved machines of a failed test, with a prompt to inspect them.
 *
 * **Example** (Save the machines of a failed test, and inspect them)
 *
 * ```sh
 * vmtest run --snapshot-on-failure web.ts
 * vmtest resume vmtest-output/'a page is served'
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Driver } from "../driver/Driver.ts"
import * as SavedTest from "../driver/SavedTest.ts"
import { SoftFailures } from "../driver/SoftFailure.ts"
import * as Cache from "../host/Cache.ts"
import * as Image from "../images/Image.ts"
import { ImageStore } from "../images/ImageStore.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import type { Invocation } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Host from "./Host.ts"
import { prompt } from "./Prompt.ts"
import { complain, logToStderr, type Work } from "./Subcommand.ts"

const isName = (name: string) => /^[A-Za-z_$][\w$]*$/.test(name)

/** Lines are remembered from one time to the next, where the cache can be written to. */
const historyFile = Cache.folder("host").pipe(
  Effect.map((folder) => NodePath.join(folder, "resume-history")),
  Effect.orElseSucceed(() => "/dev/null")
)

/**
 * Exit code 1 if a line from a pipe failed or was not finished, or a subtest in it failed, softly or not; 2 for a folder that cannot be
 * opened.
 */
export const resume = ({ folder, options }: Extract<Invocation, { readonly _tag: "Resume" }>): Work =>
  Effect.gen(function* () {
    const opened = yield* SavedTest.open(folder)
    const output = NodePath.resolve(options.output ?? Host.defaultOutput)
    const soft = new SoftFailures()
    const driver = yield* SavedTest.resume(opened, { output, soft })
    const context = Context.add(yield* Effect.context<Scope.Scope>(), Driver, driver)
    const machines = { ...driver.machines }
    const names = opened.running.map((name) => (isName(name) ? name : `machines[${JSON.stringify(name)}]`))
    const when = new Date(opened.savedAt).toISOString().replace("T", " ").slice(0, 16)
    yield* complain(
      `resumed ${JSON.stringify(opened.test)}, saved at ${when} UTC; machines: ${names.join(", ")}. Effects are run; type .exit to leave`
    )
    let softly = false
    /** The report shows soft failures at the end of a test, and a prompt has no end of a test. */
    const tellSoft = Effect.suspend(() => {
      const failed = soft.take()
      softly ||= failed !== undefined
      return failed === undefined ? Effect.void : complain(failed.message)
    })
    const failures = yield* prompt<Driver | Scope.Scope>({
      scope: { ...machines, machines, driver, Effect, Image },
      history: yield* historyFile,
      run: (effect) => Effect.ensuring(Effect.provideContext(effect, context), tellSoft)
    }).pipe(Effect.catchTag("UnfinishedStatement", ({ message }) => Effect.as(complain(message), 1)))
    yield* tellSoft
    // At a terminal the user has seen them.
    return process.stdin.isTTY === true || (failures === 0 && !softly) ? ExitCode.passed : ExitCode.failed
  }).pipe(
    Host.withState(options),
    Effect.provide(Layer.merge(Host.backend(options.backend), ImageStore.layer)),
    Effect.provide(TerminalReport.layer(options)),
    Effect.provide(logToStderr),
    Effect.scoped,
    Effect.catch((error) => Effect.as(complain(error.message), ExitCode.unusable))
  )
