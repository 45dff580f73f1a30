/** What `vmtest fleet run` is given, right and wrong, and which workers it asks for. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { missing } from "../test/fleet/postgres.ts"
import { project, sleeper, vmtest } from "../test/fleet/processes.ts"
import { fleets } from "./fleetSupport.ts"

const quick = sleeper("quick", 10)

/** A file with one test on one machine. */
const booting = (
  name: string,
  declaration: string,
  body = 'm.succeed("true")'
): string => `import { Effect } from "effect"
import { Image, test } from "vmtest"
export default test("${name}", { machines: { m: { ${declaration} } } }, ({ m }) => ${body})
`

describe("vmtest fleet run, of what is wrong", () => {
  it("tells each mistake in its own words, before it asks the database", { timeout: 120_000 }, async () => {
    const { folder, remove } = project({
      "quick.ts": quick,
      "broken.ts": `import { nothing } from "./nowhere.ts"\nexport default nothing\n`,
      "throws.ts": 'throw new Error("at the top")\nexport default 1\n',
      "empty.ts": "export default 1\n",
      "script.py": "machine.succeed('true')\n",
      "names.ts": `import { Effect } from "effect"
import { test } from "vmtest"
export default test("names", { machines: ["web"] }, () => Effect.void)
`,
      "wrong.ts": booting("wrong", 'image: Image.tiny(), memory: "1 byte"'),
      "twice.ts": `import { Effect } from "effect"
import { test } from "vmtest"
export default [test("same", {}, () => Effect.void), test("same", {}, () => Effect.void)]
`,
      "notes.txt": ""
    })
    // Nothing listens there: who asked it would say so.
    const nowhere = "postgres://ci:secret@127.0.0.1:1/vmtest"
    const cases: ReadonlyArray<readonly [ReadonlyArray<string>, string | undefined, RegExp]> = [
      [["quick.ts"], undefined, /no URL is given; add --url URL, or set VMTEST_FLEET_URL/],
      [["quick.ts"], "nonsense:secret", /\(not a URL\): the URL must be such as|must begin with postgres:/],
      [["quick.ts"], "postgres://127.0.0.1/vmtest", /the URL must name a user/],
      [["quick.ts"], "postgres://ci:secret@127.0.0.1/vmtest?sslmode=on", /sslmode must be one of .*, got "on"/],
      [["quick.ts"], "postgres://ci:secret@192.0.2.1/vmtest", /must be encrypted: add \?sslmode=require/],
      [["quick.ts"], nowhere, /could not use the database .*: nothing listens there/],
      [["missing.ts"], nowhere, /missing\.ts: no such file/],
      [["'tests/*.ts'"], nowhere, /no script matches/],
      [["quick.ts", "script.py"], nowhere, /script\.py: .*--machines/],
      [["script.py", "--machines", "empty.ts"], nowhere, /empty\.ts: /],
      [["notes.txt"], nowhere, /notes\.txt: only files in TypeScript, JavaScript and Python can be sent/],
      [["quick.ts", "broken.ts"], nowhere, /broken\.ts: it could not be bundled: Could not resolve/],
      [["throws.ts"], nowhere, /throws\.ts: it failed while it was imported: at the top/],
      [["empty.ts"], nowhere, /empty\.ts: its default export must be a test/],
      [["names.ts"], nowhere, /the test "names" names a machine, and there is no vmtest\.config\.ts/],
      [["wrong.ts"], nowhere, /^vmtest: wrong\.ts:3:\d+: m: memory must be/],
      [["twice.ts"], nowhere, /^vmtest: twice\.ts:3:\d+: .*another test of the script has this name, at line 3/],
      [["quick.ts", "--grep", "nothing"], nowhere, /no test matches --grep "nothing"/],
      [["quick.ts", "--with", "nowhere.txt"], nowhere, /nowhere\.txt: no such file or folder/],
      [["quick.ts", "--watch"], nowhere, /--watch cannot be used with a fleet/],
      [["quick.ts", "--sed", "1"], nowhere, /--seed/]
    ]
    try {
      // Two at a time: each is a process.
      for (let at = 0; at < cases.length; at += 2) {
        await Promise.all(
          cases.slice(at, at + 2).map(async ([args, url, wanted]) => {
            const env = { VMTEST_FLEET_URL: url ?? "" }
            const run = vmtest(["fleet", "run", ...args], { cwd: folder, env })
            assert.strictEqual(await run.ended, 2, `${args.join(" ")} ${url}: ${run.said()}`)
            assert.match(run.said(), wanted)
            assert.notInclude(run.said(), "secret")
            if (!/nothing listens/.test(wanted.source)) assert.notInclude(run.said(), "nothing listens there")
          })
        )
      }
      const list = vmtest(["fleet", "run", "quick.ts", "--list"], { cwd: folder, env: { VMTEST_FLEET_URL: nowhere } })
      assert.strictEqual(await list.ended, 0, list.said())
      assert.match(list.said(), /quick/)
    } finally {
      remove()
    }
  })
})

describe.skipIf(missing !== undefined)(`what a fleet sends${missing === undefined ? "" : ` (${missing})`}`, () => {
  const start = fleets()

  it("asks for workers that have what files need, and says which nobody can run", async () => {
    const { command, sql, worker } = start({
      "plain.ts": booting("plain", "image: Image.tiny()"),
      "other.ts": booting("other", 'image: Image.tiny(), backend: "cloud-hypervisor"'),
      "none.ts": quick
    })
    const emulating = await worker({ VMTEST_ACCEL: "tcg" }, "--name", "emulating")
    const kvm = command("run", "plain.ts", "--accel", "kvm")
    assert.strictEqual(await kvm.ended, 2)
    assert.match(
      kvm.said(),
      /plain\.ts needs x86_64, KVM, 1 GiB of memory\nthe workers have:\n {2}emulating: x86_64, tcg/
    )
    const firecracker = command("run", "plain.ts", "other.ts", "--backend", "firecracker")
    assert.strictEqual(await firecracker.ended, 2)
    assert.match(firecracker.said(), /plain\.ts needs x86_64, KVM, 1 GiB of memory, firecracker/)
    assert.match(firecracker.said(), /other\.ts needs x86_64, KVM, 1 GiB of memory, cloud-hypervisor/)
    // Who waits is told, and so is who asks.
    const waits = command("run", "plain.ts", "--accel", "kvm", "--wait")
    await waits.says(/1 file waits for a worker with x86_64, KVM, 1 GiB of memory; there is none/)
    const status = command("status")
    assert.strictEqual(await status.ended, 0)
    assert.match(status.said(), /no worker can run 1 waiting file that needs x86_64, KVM, 1 GiB of memory/)
    // Files without machines need no KVM, whatever the run asks for.
    const without = command("run", "none.ts", "--accel", "kvm")
    assert.strictEqual(await without.ended, 0, without.said())
    // A worker that says it has KVM takes it, and no other does.
    await worker({ VMTEST_ACCEL: "kvm" }, "--name", "virtualising")
    await waits.ended
    assert.strictEqual(
      sql("SELECT w.name FROM vmtest.job j JOIN vmtest.worker w ON w.id = j.worker WHERE queue LIKE '%.kvm.%'"),
      "virtualising"
    )
    // What the run says counts more than what the worker's environment does: there may be no KVM here at all.
    emulating.signal("SIGTERM")
    assert.strictEqual(await emulating.ended, 0)
    const emulated = command("run", "plain.ts", "--accel", "tcg")
    assert.strictEqual(await emulated.ended, 0, emulated.said())
  })

  it("sends machines of the config file, and settings", async () => {
    const { command, folder, worker } = start({
      "vmtest.config.ts": `import { Image, defineConfig } from "vmtest"
export default defineConfig({ tests: ["*.vmtest.ts"], retries: 1, seed: 7, machines: { web: { image: Image.tiny() } } })
`,
      "a.vmtest.ts": `import { Effect, Random } from "effect"
import { test } from "vmtest"
let tries = 0
export default [
  test("shared", { machines: ["web"] }, ({ web }) => web.succeed("echo on > /tmp/note; cat /tmp/note")),
  test("flaky", {}, () =>
    Effect.gen(function* () {
      console.log("random " + (yield* Random.next))
      yield* Effect.logDebug("a detail")
      tries += 1
      if (tries === 1) yield* Effect.fail(new Error("the first time"))
    })
  )
]
`
    })
    await worker("--slots", "1")
    const run = command("run", "--log-level", "debug", "--repeat-each", "2", "--json", "events.jsonl")
    assert.strictEqual(await run.ended, 0, run.said())
    assert.match(run.said(), /4 passed, 0 failed/)
    assert.match(run.said(), /1 flaky/)
    assert.include(run.said(), "a detail")
    const randoms = [...run.said().matchAll(/random ([\d.e-]+)/g)].map(([, number]) => number)
    const local = vmtest(["run", "--grep", "flaky"], { cwd: folder })
    assert.strictEqual(await local.ended, 0, local.said())
    assert.strictEqual(/random ([\d.e-]+)/.exec(local.said())?.[1], randoms[0])
    const records = readFileSync(join(folder, "events.jsonl"), "utf8").trim().split("\n")
    assert.lengthOf(
      records.filter((line) => JSON.parse(line).type === "test-ended" && JSON.parse(line).retried !== true),
      4
    )
  })

  it("sends scripts in Python, with the module of their machines", async () => {
    const files = {
      "machines.ts": `import { Image } from "vmtest"
export default { web: { image: Image.tiny() } }
`,
      "script.py": `start_all()
with subtest("reads"):
    assert open("note.txt").read() == "beside\\n"
    web.succeed("true")
web.succeed("false")
`,
      "note.txt": "beside\n"
    }
    const { command, folder, worker } = start(files)
    await worker("--slots", "1")
    const run = command("run", "script.py", "--machines", "machines.ts", "--with", "note.txt")
    assert.strictEqual(await run.ended, 1, run.said())
    assert.match(run.said(), /✔ reads/)
    assert.match(run.said(), /script\.py:5/)
    assert.match(run.said(), /> 5 \|/)
    // The same in processes of its own here, from another folder.
    const args = ["run", "--workers", "2", join(folder, "script.py"), "--machines", join(folder, "machines.ts")]
    const local = vmtest(args, { cwd: join(folder, "vmtest-output") })
    assert.strictEqual(await local.ended, 1, local.said())
    assert.match(local.said(), /FileNotFoundError|No such file/)
  })

  it("runs only what failed, and stops at the first failure", async () => {
    const failing = (name: string, how: string) => `import { Effect } from "effect"
import { test } from "vmtest"
export default test("${name}", {}, () => ${how})
`
    const { command, sql, worker } = start({
      "a.ts": failing("bad", 'Effect.fail(new Error("on purpose"))'),
      "b.ts": sleeper("good", 10),
      "c.ts": sleeper("long", 60_000)
    })
    // Also removes what is old, by itself.
    assert.strictEqual(await command("status").ended, 0)
    sql(
      "INSERT INTO vmtest.run (id, title, jobs, plan, state, ended_at) VALUES ('old', '', 0, '', 'done', now() - interval '20 days')"
    )
    sql(
      "INSERT INTO vmtest.run (id, title, jobs, plan, state, ended_at) VALUES ('new', '', 0, '', 'done', now() - interval '10 days')"
    )
    const removing = await worker("--slots", "1")
    await removing.says(/removed 1 old run/)
    assert.strictEqual(sql("SELECT string_agg(id, ' ') FROM vmtest.run"), "new")
    const first = command("run", "a.ts", "b.ts")
    assert.strictEqual(await first.ended, 1, first.said())
    const again = command("run", "a.ts", "b.ts", "--only-failed")
    assert.strictEqual(await again.ended, 1, again.said())
    assert.match(again.said(), /0 passed, 1 failed/)
    const stopped = command("run", "a.ts", "c.ts", "--fail-fast")
    assert.strictEqual(await stopped.ended, 1, stopped.said())
    assert.match(stopped.said(), /1 skipped/)
    assert.strictEqual(sql("SELECT state FROM vmtest.run ORDER BY created_at DESC LIMIT 1"), "cancelled")
  })

  it("runs Debian guests, two of them on a network of their own, each started by its worker", async () => {
    const { command, folder, worker } = start({
      "debian.ts": `import { Effect } from "effect"
import { Image, test } from "vmtest"
const machine = { image: Image.debian(), memory: "512 MiB" as const }
export default test("pings", { machines: { one: machine, two: machine } }, ({ one, two }) =>
  Effect.gen(function* () {
    yield* one.waitForUnit("multi-user.target")
    yield* one.succeed("ping -c 1 two")
    yield* two.succeed("hostname > /tmp/name")
    yield* two.copyFromMachine("/tmp/name")
  })
)
`,
      "small.ts": booting("small", "image: Image.debian()", 'm.succeed("systemctl is-system-running --wait || true")')
    })
    await worker("--slots", "1", "--memory", "2 GiB", "--name", "first")
    await worker("--slots", "1", "--memory", "2 GiB", "--name", "second")
    const run = command("run", "debian.ts", "small.ts")
    assert.strictEqual(await run.ended, 0, run.said())
    assert.match(run.said(), /2 passed, 0 failed/)
    assert.strictEqual(readFileSync(join(folder, "vmtest-output", "pings", "name"), "utf8"), "two\n")
  })
})
