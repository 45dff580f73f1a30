/** A run that is ended by `kill -9` leaves no process, no TAP and no namespace, and the next one removes its files. */
import assert from "node:assert/strict"
import { execFileSync, spawn } from "node:child_process"
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import { RunDirectory, test } from "vmtest"
import { backend, hypervisors, namespaces, processes } from "./place.ts"

const mark = join(tmpdir(), "vmtest-nested-mark")

const links = () =>
  execFileSync("ip", ["-o", "link"], { encoding: "utf8" })
    .trim()
    .split("\n")
    .map((line) => line.split(":")[1])

const runs = join(process.env.XDG_RUNTIME_DIR ?? "/run", "vmtest")

/** Unix sockets of runs at which somebody listens. */
const sockets = () =>
  readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .filter((line) => line.includes(runs))

const soon = (what: string, holds: () => boolean, seconds: number) =>
  Effect.gen(function* () {
    const end = Date.now() + seconds * 1000
    while (!holds() && Date.now() < end) yield* Effect.sleep("100 millis")
    if (holds()) return
    assert.fail(`not within ${seconds} s: ${what}`)
  })

export default test(`${backend}: a run that is killed`, { timeout: "20 minutes" }, () =>
  Effect.gen(function* () {
    rmSync(mark, { force: true })
    const before = {
      ...{ links: links(), namespaces: namespaces(), sockets: sockets().length, folders: readdirSync(runs) }
    }
    const [launcher = ""] = process.argv.slice(1)
    const script = join(import.meta.dirname, "busy.ts")
    const run = spawn(process.execPath, [launcher, "run", "--no-snapshot", script], {
      env: { ...process.env, VMTEST_NESTED_MARK: mark },
      stdio: ["ignore", "inherit", "inherit"]
    })
    let ended = false
    run.once("exit", () => {
      ended = true
    })
    yield* soon("the machines run", () => existsSync(mark) || ended, 600)
    assert.ok(!ended, "the run ended by itself")
    assert.equal(hypervisors().length, 3)
    assert.ok(namespaces().size > before.namespaces.size)
    run.kill("SIGKILL")
    yield* soon("the run has ended", () => ended, 10)
    // All that the run has started has its environment.
    const left = () => processes().filter(({ environment }) => environment.includes(`VMTEST_NESTED_MARK=${mark}`))
    yield* soon("its processes have ended", () => left().length === 0, 10).pipe(
      Effect.tapCause(() => Effect.sync(() => process.stderr.write(`${JSON.stringify(left())}\n`)))
    )
    yield* soon("its namespaces are gone", () => namespaces().size <= before.namespaces.size, 10)
    assert.equal(sockets().length, before.sockets)
    assert.deepEqual(links(), before.links)
    // Its folder has the memory of machines; the next run removes it.
    assert.ok(readdirSync(runs).length > before.folders.length)
    yield* Effect.scoped(RunDirectory.make())
    assert.deepEqual(readdirSync(runs).sort(), [...before.folders].sort())
  })
)
