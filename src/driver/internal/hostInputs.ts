/** What a warm-up copied from the host, so that another run can tell whether it would copy the same. */
import { createHash, type Hash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import type { Machine } from "../../machine/Machine.ts"
import { sparseDigest } from "./sparseDigest.ts"

/** Digests by the whole paths that were copied. */
export type HostInputs = Readonly<Record<string, string>>

/** Tells the hash of what is there; fails with what the file system says. */
const feed: (hash: Hash, path: string, top: boolean) => Effect.Effect<void, unknown> = Effect.fnUntraced(function* (
  hash: Hash,
  path: string,
  top: boolean
) {
  // As it is copied: links in a tree stay links, the top may be one and is followed.
  const { mode } = yield* Effect.try(() => (top ? Fs.statSync(path) : Fs.lstatSync(path)))
  hash.update(JSON.stringify([mode, Path.basename(path)]))
  switch (mode & Fs.constants.S_IFMT) {
    case Fs.constants.S_IFDIR:
      for (const name of (yield* Effect.try(() => Fs.readdirSync(path))).sort()) {
        yield* feed(hash, Path.join(path, name), false)
      }
      hash.update("end")
      break
    case Fs.constants.S_IFLNK:
      hash.update(JSON.stringify(yield* Effect.try(() => Fs.readlinkSync(path))))
      break
    case Fs.constants.S_IFREG:
      hash.update(yield* sparseDigest(path))
  }
})

const digest = (path: string): Effect.Effect<string> =>
  Effect.suspend(() => {
    const hash = createHash("sha256")
    return Effect.map(feed(hash, path, true), () => hash.digest("hex"))
  }).pipe(Effect.orElseSucceed(() => "unreadable"))

/** The machine, and what is copied to it by that. */
export const recording = (machine: Machine, into: Map<string, string>): Machine => ({
  ...machine,
  copyFromHost: (source, target) =>
    Effect.tap(digest(Path.resolve(source)), (found) => Effect.sync(() => into.set(Path.resolve(source), found))).pipe(
      Effect.andThen(machine.copyFromHost(source, target))
    )
})

/** What is not on the host as it was copied. */
export const changed = Effect.fnUntraced(function* (inputs: HostInputs) {
  for (const [path, was] of Object.entries(inputs)) if ((yield* digest(path)) !== was) return path
  return undefined
})
