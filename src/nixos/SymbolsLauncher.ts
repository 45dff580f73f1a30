/**
 * What `bin/generate-driver-symbols.js` starts: writes the names that a test script finds to the file `driver-symbols` in the working folder, with
 * commas between them, for linters.
 *
 * **Example** (What a build of a NixOS test runs)
 *
 * ```sh
 * generate-driver-symbols && cat driver-symbols
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Result from "effect/Result"
import * as ExitCode from "../cli/ExitCode.ts"
import * as Disk from "../host/Disk.ts"
import { text } from "./DriverSymbols.ts"

const written = Result.try(() => Fs.writeFileSync("driver-symbols", text))
if (Result.isFailure(written)) {
  process.stderr.write(`generate-driver-symbols: could not write driver-symbols: ${Disk.reasonOf(written.failure)}\n`)
  process.exitCode = ExitCode.failed
}
