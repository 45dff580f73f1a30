/** The script of the page that shows a report, which the build makes of `web`. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as OwnFiles from "../../host/OwnFiles.ts"

/** Of the package, or of a checkout whose sources run as they are. */
const packaged = OwnFiles.file("report/viewer.bundle.js")
const builtInCheckout = join(OwnFiles.root, "dist/report/viewer.bundle.js")
const sources = join(OwnFiles.root, "web")

const isFresh = (file: string): boolean => {
  if (!existsSync(file)) return false
  const { mtimeMs } = statSync(file)
  return readdirSync(sources).every((name) => statSync(join(sources, name)).mtimeMs <= mtimeMs)
}

/** Throws if it cannot be built: in a checkout without its development dependencies. */
const fromSources = (): string => {
  if (isFresh(builtInCheckout)) return readFileSync(builtInCheckout, "utf8")
  const folder = mkdtempSync(join(tmpdir(), "vmtest-viewer-"))
  const file = join(folder, "viewer.js")
  const { status, stderr } = spawnSync(process.execPath, [join(sources, "build.mjs"), file], { encoding: "utf8" })
  const script = status === 0 ? readFileSync(file, "utf8") : undefined
  rmSync(folder, { recursive: true, force: true })
  if (script === undefined) throw new Error(`the viewer could not be built; run npm ci: ${stderr.trim()}`)
  return script
}

let known: string | undefined

/** The script, without what would end the element that it is in. Throws if it is not there. */
export const script = (): string => {
  known ??= existsSync(packaged) ? readFileSync(packaged, "utf8") : fromSources()
  return known
}
