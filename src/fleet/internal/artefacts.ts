/** The files that tests leave: sent by their digest, written again by the client. */
import * as Fs from "node:fs"
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import * as OutputFolder from "../../host/OutputFolder.ts"
import type { DatabaseUnusable } from "../FleetError.ts"
import type { Store } from "../Store.ts"
import type { Artefact } from "./wire.ts"

/** All plain files of a folder, by their path in it. Links are left out: what they lead to is not the test's. */
const filesIn = (folder: string): ReadonlyArray<string> =>
  Fs.existsSync(folder)
    ? Fs.readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => NodePath.relative(folder, NodePath.join(entry.parentPath, entry.name)))
        .sort()
    : []

/** Sends the files of a folder, the smallest first, up to `limit` bytes; also gives what was left out, a line each. */
export const send = (store: Store, run: string, folder: string, limit: number) =>
  Effect.gen(function* () {
    const all = filesIn(folder)
      .map((path) => ({ path, size: Fs.statSync(NodePath.join(folder, path)).size }))
      .sort((a, b) => a.size - b.size)
    const artefacts: Array<Artefact> = []
    const leftOut: Array<string> = []
    let total = 0
    for (const { path, size } of all) {
      if (total + size > limit) {
        leftOut.push(`${path} (${size} bytes)`)
        continue
      }
      total += size
      const bytes = Fs.readFileSync(NodePath.join(folder, path))
      const digest = Digest.of(bytes)
      yield* store.put(run, digest, bytes)
      artefacts.push({ path, digest, size })
    }
    return { artefacts, leftOut }
  })

/** Writes the files to the output folder; gives a line for each that could not be written. */
export const receive = (store: Store, artefacts: ReadonlyArray<Artefact>, output: string) =>
  Effect.map(
    Effect.forEach(
      artefacts,
      ({ digest, path }): Effect.Effect<ReadonlyArray<string>, DatabaseUnusable> =>
        Effect.flatMap(store.get(digest), (bytes) => {
          if (bytes === undefined) return Effect.succeed([`could not fetch ${path}: the database does not have it`])
          return OutputFolder.place(output, NodePath.join(output, path), (file) => Fs.writeFileSync(file, bytes)).pipe(
            Effect.as([]),
            Effect.catch((reason) => Effect.succeed([`could not write ${path}: it ${String(reason)}`]))
          )
        })
    ),
    (lines) => lines.flat()
  )
