/**
 * What a copy fails with that the guest could not give or take.
 *
 * **Example** (A log that may not be there)
 *
 * ```ts
 * const log = yield* web.copyFromMachine("/var/log/app.log").pipe(
 *   Effect.catchTag("CopyFailed", ({ message }) => Effect.as(driver.log(message), undefined))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { lastLines, section } from "../host/Evidence.ts"

/** What tar says besides its reasons. */
const noise = /^tar: (Exiting with failure|Error is not recoverable|Removing leading)/

/** What programs said, without the lines that give no reason. */
const saidIn = (stderr: string): ReadonlyArray<string> =>
  lastLines(stderr, 10)
    .split("\n")
    .filter((line) => line !== "" && !noise.test(line))

/** The first complaint, without the program's name and the path, which the message has already. */
const reasonIn = (line: string, paths: ReadonlyArray<string>): string => {
  const complaint = line.replace(/^\w+: (?=.*: )/, "")
  const path = paths.find((one) => complaint.startsWith(`${one}: `))
  return path === undefined ? complaint : complaint.slice(path.length + 2)
}

/**
 * The guest could not read what was to be copied from it, or could not store what was copied to it. `direction` says whether the copy was
 * `from` the machine or `to` it; `stderr` is what the guest's programs said, and `exitCode` that of the program that failed.
 */
export class CopyFailed extends Schema.TaggedError<CopyFailed>()("CopyFailed", {
  machine: Schema.String,
  direction: Schema.Literals(["from", "to"]),
  /** On the host for a copy to the machine, in the guest for one from it. */
  source: Schema.String,
  target: Schema.String,
  exitCode: Schema.Number,
  stderr: Schema.String
}) {
  override get message() {
    const { direction, exitCode, machine, source, stderr, target } = this
    const place = direction === "from" ? `from ${machine}` : `to ${JSON.stringify(target)} on ${machine}`
    const said = saidIn(stderr)
    const [first = `exit code ${exitCode} in the guest`] = said
    const why = reasonIn(first, [source, target])
    const more = said.length > 1 ? section("stderr", stderr) : ""
    return `could not copy ${JSON.stringify(source)} ${place}: ${why}${more}`
  }
}
