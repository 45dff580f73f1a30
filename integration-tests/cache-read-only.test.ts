/** A cache that may only be read: on a mount that also root cannot write to, and of another user. */
import { spawnSync } from "node:child_process"
import { chownSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { homedir } from "node:os"
import { dirname, isAbsolute, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import { makePlace, processes, script, storeOf, vmtest } from "./snapshotPlace.ts"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))
const asked = process.env.XDG_CACHE_HOME
const cache = join(asked !== undefined && isAbsolute(asked) ? asked : join(homedir(), ".cache"), "vmtest")

let place = ""
const ownCache = () => dirname(storeOf(place))
beforeEach(() => {
  place = makePlace()
})
afterEach(() => {
  assert.deepStrictEqual(processes(place), [])
  rmSync(place, { recursive: true, force: true })
})

/** Runs vmtest behind other words, such as those of another user. */
const run = (words: ReadonlyArray<string>, args: ReadonlyArray<string>) => {
  const [program = "", ...before] = words
  const { status, stderr, stdout } = spawnSync(program, [...before, process.execPath, launcher, ...args], {
    cwd: join(place, "work"),
    env: {
      ...process.env,
      HOME: join(place, "work"),
      TMPDIR: join(place, "tmp"),
      XDG_RUNTIME_DIR: join(place, "run"),
      XDG_CACHE_HOME: dirname(ownCache()),
      NO_COLOR: "1"
    },
    encoding: "utf8",
    timeout: 240_000
  })
  return { status, all: stdout + stderr }
}

/** In a mount namespace of its own, where both caches may only be read. */
const readOnly = [
  ...["unshare", "--mount", "sh", "-c"],
  'for folder in "$1" "$2"; do mount --bind "$folder" "$folder" && mount -o remount,bind,ro "$folder" || exit 99; done; shift 2; exec "$@"',
  "sh"
]
const canMount = spawnSync("unshare", ["--mount", "true"]).status === 0

const text = (memory: string, image: string, body: string) => `import { Effect } from "effect"
import { Image, test } from "vmtest"
export default test("reads", { machines: { a: { image: ${image}, memory: "${memory}", disks: ["8 MiB"] } } }, ({ a }, driver) => Effect.gen(function* () {
${body}
}))
`
const plain = `  yield* a.succeed("true")`
const forking = `  yield* a.succeed("echo before > /tmp/x")
  const saved = yield* a.snapshot()
  yield* a.succeed("echo after > /tmp/x")
  yield* a.restore(saved)
  yield* a.succeed("grep before /tmp/x")
  const fork = yield* a.fork({ from: saved })
  yield* fork.succeed("grep before /tmp/x")
  yield* driver.fork(({ a }) => a.succeed("grep before /tmp/x"))`

describe("a cache that may only be read", () => {
  it("serves its images and snapshots, and tests save and fork machines as ever", ({ skip }) => {
    skip(!canMount, "this user may not make a read-only mount")
    const name = script(place, "reads.ts", text("128 MiB", "Image.tiny()", plain))
    assert.match(run(["env"], ["run", name]).all, /a: ready after/)
    const stored = readdirSync(join(storeOf(place), "entries"))
    assert.lengthOf(stored, 1)
    const words = [...readOnly, ownCache(), cache]

    script(place, "reads.ts", text("128 MiB", "Image.tiny()", forking))
    const forked = run(words, ["run", name])
    assert.strictEqual(forked.status, 0, forked.all)
    assert.match(forked.all, /a: forked in/)
    assert.notInclude(forked.all, "could not")

    const other = run(words, ["run", script(place, "other.ts", text("160 MiB", "Image.tiny()", forking))])
    assert.strictEqual(other.status, 0, other.all)
    assert.match(other.all, /a: ready after/)
    assert.lengthOf(
      other.all.match(/could not save snapshots: could not write to the cache folder .*; machines without one boot/g) ??
        [],
      1
    )

    const image = `Image.tiny({ kernelParameters: "vmtest.none=${Date.now()}" })`
    const missing = run(words, ["run", script(place, "missing.ts", text("128 MiB", image, plain))])
    assert.strictEqual(missing.status, 1, missing.all)
    assert.match(
      missing.all,
      /image tiny with kernel parameters #[0-9a-f]{4}: could not write to the cache folder .*read-only/i
    )

    const listed = run(words, ["snapshot", "list"])
    assert.include(listed.all, "a (tiny, 128 MiB)", listed.all)
    const pruned = run(words, ["snapshot", "prune", "--all"])
    assert.strictEqual(pruned.status, 2, pruned.all)
    assert.include(pruned.all, "could not write to the cache folder")
    assert.match(run(words, ["doctor"]).all, /! image cache +\d+ images, .*; nothing can be added: /)
    assert.deepStrictEqual(readdirSync(join(storeOf(place), "entries")), stored)
  })

  it("serves another user who may read it", (context) => {
    context.skip(process.getuid?.() !== 0, "needs root")
    const name = script(place, "reads.ts", text("128 MiB", "Image.tiny()", plain))
    assert.strictEqual(vmtest(place, ["run", name]).status, 0)
    const images = join(ownCache(), "images")
    rmSync(images)
    for (const entry of readdirSync(join(cache, "images", "entries"))) {
      const manifest = join(cache, "images", "entries", entry, "manifest.json")
      if (!existsSync(manifest) || JSON.parse(readFileSync(manifest, "utf8")).name !== "tiny") continue
      cpSync(join(cache, "images", "entries", entry), join(images, "entries", entry), {
        recursive: true,
        preserveTimestamps: true
      })
    }
    rmSync(join(ownCache(), "host"))
    rmSync(join(ownCache(), "node"))
    spawnSync("chmod", ["-R", "a+rX", place])
    const nobody = 65534
    for (const folder of ["tmp", "run", "work"]) chownSync(join(place, folder), nobody, nobody)
    mkdirSync(join(place, "tmp"), { recursive: true })
    const words = ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"]
    const served = run(words, ["run", name])
    assert.strictEqual(served.status, 0, served.all)
    assert.match(served.all, /a: forked in/)
    assert.notInclude(served.all, "could not")
  })
})
