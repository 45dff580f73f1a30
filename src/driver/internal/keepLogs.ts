/** Copying the logs of a failed test's machines out of the run's folder, which is removed. */
import { copyFileSync, readdirSync } from "node:fs"
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Digest from "../../host/Digest.ts"
import * as OutputFolder from "../../host/OutputFolder.ts"
import { RunDirectory } from "../../host/RunDirectory.ts"

/** What of a machine's folder is kept: `console.log`, and what its hypervisor says of itself. */
const isLog = (name: string): boolean => name.endsWith(".log")

/**
 * The name of a test's folder: the test's name without separators or a leading dot, and not longer than file systems allow. If it differs from
 * the test's name, or the run has several tests of that name, it ends in a digest.
 */
export const folderName = (test: string, occurrence = 1) => {
  const name = test
    .replace(/[^\p{L}\p{N}._ -]/gu, "_")
    .replace(/^[. ]+/, "_")
    .slice(0, 60)
  if (name === test && name !== "" && occurrence === 1) return name
  return `${name.slice(0, 51)}-${Digest.ofValue([test, occurrence]).slice(0, 8)}`
}

/** Copies the logs of machines to `<output>/<test>/<machine>/`, and gives a line for each machine where that failed. */
export const keepLogs = Effect.fnUntraced(function* (options: {
  readonly output: string
  /** The test's folder in `output`. */
  readonly folder: string
  readonly prefix: string
  readonly machines: ReadonlyArray<string>
}) {
  const fs = yield* FileSystem.FileSystem
  const folders = yield* RunDirectory
  const folder = NodePath.resolve(options.output, options.folder)
  const copy = Effect.fnUntraced(function* (machine: string) {
    const from = yield* folders.folder(`${options.prefix}-${machine}`)
    // A machine that was never started has no folder.
    const found = (yield* fs.exists(from)) ? readdirSync(from, { withFileTypes: true }) : []
    for (const log of found.filter((entry) => entry.isFile() && isLog(entry.name)).map(({ name }) => name)) {
      const source = NodePath.join(from, log)
      const target = NodePath.join(folder, machine, log)
      // The test may have copied a file of that name from the machine.
      yield* Effect.mapError(
        OutputFolder.place(folder, target, (file) => copyFileSync(source, file)),
        (reason) => ({ message: `${target} ${reason}` })
      )
    }
    return []
  })
  const lines = yield* Effect.forEach(options.machines, (machine) =>
    Effect.catch(copy(machine), (error) => Effect.succeed([`could not copy the logs of ${machine}: ${error.message}`]))
  )
  return lines.flat()
})
