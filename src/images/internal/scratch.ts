/** Where the tree of a guest is while it is built: in memory where there is plenty, else beside what the build makes. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Disk from "../../host/Disk.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { attempt, type Building } from "./building.ts"

/** Notes where a build's tree is, when it is outside the cache. */
const pointer = "scratch"

/**
 * A folder for the tree of a guest, beside `work` or, where there is plenty of memory, in it: a package manager syncs
 * every file it writes, which a memory file system makes free. Without root rights other users (those of a user
 * namespace) must reach it, which a home folder rarely allows.
 */
export const treeFolder = Effect.fnUntraced(function* (building: Building, work: string) {
  const root = process.getuid?.() === 0
  const [base = "/tmp"] = [...(roomInMemory("/dev/shm") ? ["/dev/shm"] : []), root ? work : Os.tmpdir()].filter(isPlain)
  return yield* attempt(building, "making room", base, () => {
    const path = Fs.mkdtempSync(Path.join(base, "vmtest-tree-"))
    Fs.writeFileSync(Path.join(work, pointer), path)
    Fs.chmodSync(path, 0o755)
    return path
  })
})

/** Whether tools that put a path into their own configuration can be trusted with it. */
const isPlain = (path: string): boolean => /^[\w@+=:,./ -]+$/.test(path)

const gibibyte = 2 ** 30

const roomInMemory = (path: string): boolean => {
  const mounts = Fs.readFileSync("/proc/self/mounts", "utf8").split("\n")
  const options = mounts.map((line) => line.split(" ")).find(([, where]) => where === path)?.[3]
  // Programs of the tree are run during its build.
  if (options === undefined || options.split(",").includes("noexec")) return false
  const { bavail, bsize } = Fs.statfsSync(path)
  const available = /^MemAvailable:\s+(\d+) kB$/m.exec(Fs.readFileSync("/proc/meminfo", "utf8"))?.[1] ?? "0"
  return bavail * bsize > 4 * gibibyte && Number(available) * 1024 > 6 * gibibyte
}

/** Removes a build's workspace, and the tree that it notes. */
export const remove = (workspace: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    const note = Path.join(workspace, pointer)
    const tree = Fs.existsSync(note) ? Fs.readFileSync(note, "utf8") : ""
    const outside = Path.basename(tree).startsWith("vmtest-tree-") ? removeTree(tree) : Effect.void
    return Effect.andThen(outside, Disk.removeTree(workspace))
  })

/** What a user namespace left belongs to users that only such a namespace may act as. */
const removeTree = Effect.fnUntraced(function* (path: string) {
  yield* Disk.removeTree(path)
  if (!Fs.existsSync(path)) return
  yield* Effect.ignore(HostProcess.run({ command: "mmdebstrap", args: ["--unshare-helper", "rm", "-rf", path] }))
  yield* Disk.removeTree(path)
})
