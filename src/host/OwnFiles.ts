/**
 * The package's own files: where they are, and which files are its own.
 *
 * Modules must not find them relative to themselves, because the build bundles modules into chunks: where the code of one is in `dist` says nothing
 * about where its source was.
 *
 * **Example** (A frame of a stack)
 *
 * ```ts
 * OwnFiles.has("/home/me/project/web.ts") // false
 * ```
 *
 * @since 0.1.0
 */
import { existsSync, readFileSync } from "node:fs"
import { dirname, extname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

const here = fileURLToPath(import.meta.url)
const extension = extname(here)

/** The nearest folder with a package.json, from a folder upwards. */
const packageOf = (folder: string): string =>
  existsSync(join(folder, "package.json")) ? folder : packageOf(dirname(folder))

/** The folder of the package. */
export const root: string = packageOf(dirname(here))

/** `src` if this runs from the sources, `dist` if from the build. */
const home = join(root, extension === ".ts" ? "src" : "dist")

/** The full path of a file beside the modules: `python/shim.py`. */
export const file = (name: string): string => join(home, name)

/** The full path of a module that is an entry of the build (scripts/build.mjs): `nixos/VsockProxy`. */
export const module = (name: string): string => file(`${name}${extension}`)

const exported: Readonly<Record<string, string>> = {
  vmtest: module("index"),
  "vmtest/actors": module("actors/index"),
  "vmtest/fleet": module("fleet/index"),
  "vmtest/vitest": module("vitest"),
  "vmtest/package.json": join(root, "package.json")
}

/** The URL of a module that the package exports, so that there is one copy of each; undefined for another specifier. */
export const exportedUrl = (specifier: string): string | undefined => {
  const path = exported[specifier]
  return path === undefined ? undefined : pathToFileURL(path).href
}

/** The version of the package. */
export const version: string = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version

/** Compiled modules, and the sources that Node maps their frames to. */
const folders = ["dist/", "src/"].map((folder) => join(root, folder))

/** Whether a file, by its full path, is one of vmtest's. */
export const has = (file: string): boolean => folders.some((folder) => file.startsWith(folder))
