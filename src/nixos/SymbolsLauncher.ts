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

const name = "generate-driver-symbols"

const help = `Write the names that a test script finds to the file driver-symbols in the working folder, for linters.

Usage: ${name}

  -h, --help
      Print this help
  --version
      Print the version
`

const write = () => {
  const written = Result.try(() => Fs.writeFileSync("driver-symbols", text))
  if (Result.isSuccess(written)) return
  process.stderr.write(`${name}: could not write driver-symbols: ${Disk.reasonOf(written.failure)}\n`)
  process.exitCode = ExitCode.failed
}

const words = process.argv.slice(2)
const unexpected = words.find((word) => word !== "-h" && word !== "--help")
if (unexpected !== undefined) {
  process.stderr.write(
    `${name}: unexpected argument ${JSON.stringify(unexpected)}\nFor more information, try '${name} --help'.\n`
  )
  process.exitCode = ExitCode.unusable
} else if (words.length > 0) process.stdout.write(help)
else write()
