/** A folder as one sees it who may only read it: through a read-only mount, which also root cannot write to. */
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { needs } from "../needs.ts"

const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" }
const mount = (...args: ReadonlyArray<string>) => spawnSync("mount", args, { env, encoding: "utf8" })

/** Whether this user may mount anything. */
const canMount: boolean = (() => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-mount-"))
  const { status } = mount("--bind", folder, folder)
  if (status === 0) spawnSync("umount", [folder], { env })
  Fs.rmdirSync(folder)
  return status === 0
})()

/** Skips the tests of the suite around it where this user may not mount anything. */
export const needsMount = (): void => needs(canMount, "this user may not make a read-only mount")

/** The same folder in another place, where it may only be read, until the scope closes. */
export const readOnly = (folder: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const view = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-read-only-"))
      const { status, stderr } = mount("--bind", "-o", "ro", folder, view)
      if (status !== 0) throw new Error(stderr)
      return view
    }),
    (view) =>
      Effect.sync(() => {
        spawnSync("umount", ["--lazy", view], { env })
        Fs.rmdirSync(view)
      })
  )
