/** What the guest is given: a read-only disk with Node, the packed vmtest and what it imports, images, hypervisors, and the suite. */
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

const must = (command: string, args: ReadonlyArray<string>, cwd: string): string => {
  const { error, signal, status, stderr, stdout } = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    maxBuffer: 1 << 26
  })
  if (status === 0) return stdout
  throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? signal ?? stderr}`)
}

interface Package {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

/** The packages that an installation of vmtest has, by their names. All are at the top of `node_modules`. */
export const installed = (read: (name: string) => Package | undefined, itself: Package): ReadonlyArray<string> => {
  const found = new Set<string>()
  const visit = ({
    dependencies,
    optionalDependencies,
    peerDependencies,
    peerDependenciesMeta = {}
  }: Package): void => {
    const peers = Object.keys(peerDependencies ?? {}).filter((name) => peerDependenciesMeta[name]?.optional !== true)
    for (const name of [...Object.keys({ ...dependencies, ...optionalDependencies }), ...peers]) {
      const item = found.has(name) ? undefined : read(name)
      if (item === undefined) continue
      found.add(name)
      visit(item)
    }
  }
  visit(itself)
  return [...found].sort()
}

const readPackage = (folder: string): Package | undefined => {
  const file = join(folder, "package.json")
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined
}

/** vmtest as its users install it: the packed tarball, unpacked into `node_modules`, and beside it what it imports. */
const install = (app: string): void => {
  const modules = join(app, "node_modules")
  mkdirSync(modules, { recursive: true })
  const pack = ["pack", "--ignore-scripts", "--silent", "--pack-destination", app]
  const tarball = must("npm", pack, root).trim().split("\n").at(-1) ?? ""
  must("tar", ["--extract", "--file", join(app, tarball), "--directory", modules], app)
  must("mv", [join(modules, "package"), join(modules, "vmtest")], app)
  must("rm", [join(app, tarball)], app)
  const read = (name: string) => readPackage(join(root, "node_modules", name))
  for (const name of installed(read, readPackage(root) ?? {})) {
    cpSync(join(root, "node_modules", name), join(modules, name), { recursive: true, dereference: true })
  }
}

export interface Contents {
  /** Folders of stored images. */
  readonly images: ReadonlyArray<string>
  /** Programs of hypervisors by the names that they get. */
  readonly programs: Readonly<Record<string, string>>
}

/** Makes the disk in an existing, empty folder, and gives its path. */
export const make = (folder: string, { images, programs }: Contents): string => {
  const tree = join(folder, "tree")
  for (const name of ["bin", "images"]) mkdirSync(join(tree, name), { recursive: true })
  install(join(tree, "app"))
  cpSync(join(root, "integration-tests", "nested"), join(tree, "app", "suite"), { recursive: true })
  for (const [name, path] of Object.entries({ ...programs, node: realpathSync(process.execPath) })) {
    cpSync(path, join(tree, "bin", name), { dereference: true })
  }
  // With their times, so that a store takes them for what it built.
  for (const entry of images) must("cp", ["--archive", entry, join(tree, "images", basename(entry))], folder)
  const disk = join(folder, "payload.erofs")
  must("mkfs.erofs", ["--quiet", "--preserve-mtime", disk, tree], folder)
  must("rm", ["--recursive", tree], folder)
  return disk
}
