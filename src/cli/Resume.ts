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
import type * as NodeServices from "@effect/platform-node/NodeServices"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Driver } from "../driver/Driver.ts"
import * as SavedTest from "../driver/SavedTest.ts"
import { SoftFailures } from "../driver/SoftFailure.ts"
import { ImageStore } from "../images/ImageStore.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import type { Invocation } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Host from "./Host.ts"
import { complain, logToStderr, type Work } from "./Subcommand.ts"
import * as Session from "./session/Session.ts"

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
    const context = Context.add(yield* Effect.context<Scope.Scope | NodeServices.NodeServices>(), Driver, driver)
    const names = opened.running.map(Session.nameOf)
    const when = new Date(opened.savedAt).toISOString().replace("T", " ").slice(0, 16)
    yield* complain(
      `resumed ${JSON.stringify(opened.test)}, saved at ${when} UTC; machines: ${names.join(", ")}. Effects are run; .help lists commands, .exit leaves`
    )
    let softly = false
    /** The report shows soft failures at the end of a test, and a prompt has no end of a test. */
    const tellSoft = Effect.suspend(() => {
      const failed = soft.take()
      softly ||= failed !== undefined
      return failed === undefined ? Effect.void : complain(failed.message)
    })
    const left = yield* Session.open({ live: () => ({ driver, context }), after: tellSoft }).pipe(
      Effect.catchTag("UnfinishedStatement", ({ message }) => Effect.as(complain(message), { failures: 1 }))
    )
    yield* tellSoft
    // At a terminal the user has seen them.
    return process.stdin.isTTY === true || (left.failures === 0 && !softly) ? ExitCode.passed : ExitCode.failed
  }).pipe(
    Host.withState(options),
    Effect.provide(Layer.merge(Host.backend(options.backend), ImageStore.layer)),
    Effect.provide(TerminalReport.layer(options)),
    Effect.provide(logToStderr),
    Effect.scoped,
    Effect.catch((error) => Effect.as(complain(error.message), ExitCode.unusable))
  )
