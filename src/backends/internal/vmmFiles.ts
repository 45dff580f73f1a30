/** The files that a hypervisor opens in its machine's folder: by relative names, so that a fork finds its own under the names of its source. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Disk from "../../host/Disk.ts"
import { type MachineShape, type SavedMachine, storageOf } from "../Backend.ts"
import { prepareInitrd } from "./initrd.ts"
import * as Saved from "./vmmSaved.ts"

/** The image's root file system. */
export const rootLink = "root"

/** The names of its own disks. */
export const diskLinks = (shape: MachineShape): ReadonlyArray<{ readonly name: string; readonly path: string }> =>
  storageOf(shape).map((path, index) => ({ name: `disk${index + 1}`, path }))

/** Makes the names, and what a boot or a saved machine needs behind them. Fails with the reason. */
export const prepare = (shape: MachineShape, from: SavedMachine | undefined): Effect.Effect<void, string> => {
  const { directory, image } = shape
  const links = [...(image.root === undefined ? [] : [{ name: rootLink, path: image.root }]), ...diskLinks(shape)]
  const link = Effect.try({
    try: () => {
      for (const { name, path } of links) {
        const at = Path.join(directory, name)
        // A disk that is in the folder under this very name needs no other.
        if (Path.resolve(path) === at) continue
        Fs.rmSync(at, { force: true })
        Fs.symlinkSync(path, at)
      }
    },
    catch: Disk.reasonOf
  })
  return Effect.andThen(link, from === undefined ? prepareInitrd(shape) : Saved.restoreDisks(shape, from))
}
