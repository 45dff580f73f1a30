/** Kernel modules: which a guest needs, and in which order they load. */
import * as Fs from "node:fs"
import * as Path from "node:path"

/** A module's name as the kernel has it: dashes are underscores there. */
const nameOf = (file: string): string => Path.basename(file, ".ko").replaceAll("-", "_")

/** Every uncompressed module below a folder, by name. */
export const index = (folder: string): ReadonlyMap<string, string> =>
  new Map(
    Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ko"))
      .map((file) => [nameOf(file), Path.join(folder, file)])
  )

/** Every module below a folder that is packed with xz, by path. */
export const compressed = (folder: string): ReadonlyArray<string> =>
  Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ko.xz"))
    .map((file) => Path.join(folder, file))

/** The names in a `modules.builtin` file: modules that this kernel has in itself. */
export const builtinModules = (path: string): ReadonlySet<string> =>
  new Set(
    Fs.existsSync(path)
      ? Fs.readFileSync(path, "utf8")
          .split("\n")
          .filter((line) => line !== "")
          .map(nameOf)
      : []
  )

/** What a module says it needs, from the `depends=` of its .modinfo section: strings, each ended by a NUL. */
export const dependencies = (module: Buffer): ReadonlyArray<string> => {
  const key = Buffer.from("\0depends=")
  const start = module.indexOf(key)
  if (start < 0) return []
  const end = module.indexOf(0, start + key.length)
  return module
    .toString("latin1", start + key.length, end)
    .split(",")
    .filter((name) => name !== "")
    .map(nameOf)
}

/** The wanted modules and all they need, each after what it needs; a name that is not there is in `missing`. */
export const loadOrder = (
  wanted: ReadonlyArray<string>,
  needs: (name: string) => ReadonlyArray<string> | undefined
): { readonly order: ReadonlyArray<string>; readonly missing: ReadonlyArray<string> } => {
  const order = new Set<string>()
  const seen = new Set<string>()
  const missing: Array<string> = []
  const visit = (name: string): void => {
    if (seen.has(name)) return
    seen.add(name)
    const first = needs(name)
    if (first === undefined) {
      missing.push(name)
      return
    }
    first.forEach(visit)
    order.add(name)
  }
  wanted.map(nameOf).forEach(visit)
  return { order: [...order], missing }
}
