/** Digests of the files that a warm-up copied from the host, so that another run can check whether they have changed. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import type { Machine } from "../../machine/Machine.ts"

/** Digests, by absolute path. */
export type HostInputs = Readonly<Record<string, string>>

/** The content of a file or a tree, as it is copied: links within a tree stay links, but a link at its top is followed. */
const describe: (path: string, top: boolean) => Effect.Effect<unknown, unknown> = Effect.fnUntraced(function* (
  path: string,
  top: boolean
) {
  const { mode } = yield* Effect.try(() => (top ? Fs.statSync(path) : Fs.lstatSync(path)))
  const about = [mode, Path.basename(path)]
  switch (mode & Fs.constants.S_IFMT) {
    case Fs.constants.S_IFDIR: {
      const names = (yield* Effect.try(() => Fs.readdirSync(path))).sort()
      return [...about, yield* Effect.forEach(names, (name) => describe(Path.join(path, name), false))]
    }
    case Fs.constants.S_IFLNK:
      return [...about, yield* Effect.try(() => Fs.readlinkSync(path))]
    case Fs.constants.S_IFREG:
      return [...about, yield* Digest.ofSparseFile(path)]
    default:
      return about
  }
})

const digest = (path: string): Effect.Effect<string> =>
  describe(path, true).pipe(
    Effect.map(Digest.ofValue),
    Effect.orElseSucceed(() => "unreadable")
  )

/** The machine, with a `copyFromHost` that records the digest of what it copies. */
export const recording = <M extends Pick<Machine, "copyFromHost">>(machine: M, into: Map<string, string>): M => ({
  ...machine,
  copyFromHost: (source: string, target: string) =>
    Effect.tap(digest(Path.resolve(source)), (found) => Effect.sync(() => into.set(Path.resolve(source), found))).pipe(
      Effect.andThen(machine.copyFromHost(source, target))
    )
})

/** The first path whose content on the host has changed since it was copied. */
export const changed = Effect.fnUntraced(function* (inputs: HostInputs) {
  for (const [path, was] of Object.entries(inputs)) if ((yield* digest(path)) !== was) return path
  return undefined
})
