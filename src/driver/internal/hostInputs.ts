/** What a warm-up copied from the host, so that another run can tell whether it would copy the same. */
import { createHash, type Hash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import type { Machine } from "../../machine/Machine.ts"

/** Digests by the paths that were copied, relative ones to the working folder. */
export type HostInputs = Readonly<Record<string, string>>

const chunk = 2 ** 20

/** Throws what the file system says. */
const feed = (hash: Hash, path: string, top: boolean): void => {
  // As it is copied: links in a tree stay links, the top may be one and is followed.
  const { mode, size } = top ? Fs.statSync(path) : Fs.lstatSync(path)
  hash.update(JSON.stringify([mode, Path.basename(path)]))
  switch (mode & Fs.constants.S_IFMT) {
    case Fs.constants.S_IFDIR:
      for (const name of Fs.readdirSync(path).sort()) feed(hash, Path.join(path, name), false)
      hash.update("end")
      break
    case Fs.constants.S_IFLNK:
      hash.update(JSON.stringify(Fs.readlinkSync(path)))
      break
    case Fs.constants.S_IFREG: {
      hash.update(JSON.stringify(size))
      const file = Fs.openSync(path, "r")
      const buffer = Buffer.alloc(Math.min(chunk, size))
      for (let read = -1; read !== 0; ) {
        read = Fs.readSync(file, buffer)
        hash.update(buffer.subarray(0, read))
      }
      Fs.closeSync(file)
    }
  }
}

const digest = (path: string): Effect.Effect<string> =>
  Effect.try(() => {
    const hash = createHash("sha256")
    feed(hash, path, true)
    return hash.digest("hex")
  }).pipe(Effect.orElseSucceed(() => "unreadable"))

/** The machine, and what is copied to it by that. */
export const recording = (machine: Machine, into: Map<string, string>): Machine => ({
  ...machine,
  copyFromHost: (source, target) =>
    Effect.tap(digest(source), (found) => Effect.sync(() => into.set(source, found))).pipe(
      Effect.andThen(machine.copyFromHost(source, target))
    )
})

/** What is not on the host as it was copied. */
export const changed = Effect.fnUntraced(function* (inputs: HostInputs) {
  for (const [path, was] of Object.entries(inputs)) if ((yield* digest(path)) !== was) return path
  return undefined
})
