/**
 * Runs the test that the command line names, and ends the process with its exit code.
 *
 * **Example** (What the launcher does with a command line)
 *
 * ```ts
 * main(invocation)
 * ```
 *
 * @since 0.1.0
 */
import * as CommandName from "../cli/CommandName.ts"
import * as Process from "../cli/Process.ts"
import { type Invocation, name } from "./CommandLine.ts"
import * as TestDriver from "./TestDriver.ts"

/** Runs the test. Ends the process; nothing may follow it. */
export const main = (invocation: Invocation): void => {
  CommandName.set(name)
  Process.run(TestDriver.run(invocation))
}
