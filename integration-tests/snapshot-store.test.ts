import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import { randomOf, spoil } from "../test/driver/storeSupport.ts"
import { diskToTheEnd, flipToTheEnd, goodRun, killedRun, tinyTest } from "./snapshotFaults.ts"
import { makePlace, processes, script, storeOf, vmtest } from "./snapshotPlace.ts"

let place = ""
beforeEach(() => {
  place = makePlace()
})
afterEach(() => {
  assert.deepStrictEqual(processes(place), [])
  rmSync(place, { recursive: true, force: true })
})

const entriesIn = (place: string) =>
  readdirSync(join(storeOf(place), "entries")).map((id) => join(storeOf(place), "entries", id))

const head = `import { Effect } from "effect"
import { Image, test } from "vmtest"
const tiny = { image: Image.tiny(), memory: "128 MiB" }
`

describe("vmtest run", () => {
  it("boots a machine once, forks it in the next run, and boots it again when the snapshot is damaged", () => {
    const name = tinyTest(place)
    const first = vmtest(place, ["run", name])
    assert.match(first.stderr, /a: ready after/, first.all)
    assert.strictEqual(first.status, 0)
    const listed = JSON.parse(vmtest(place, ["snapshot", "list", "--json"]).stdout)
    assert.lengthOf(listed, 1)
    assert.strictEqual(listed[0].name, "a (tiny, 128 MiB)")
    const second = vmtest(place, ["run", name])
    assert.match(second.stderr, /a: forked in/, second.all)
    assert.notMatch(second.stderr, /a: booting/)
    const cold = vmtest(place, ["run", "--no-snapshot", name])
    assert.match(cold.stderr, /a: ready after/, cold.all)

    assert.isUndefined(flipToTheEnd(place, randomOf(Date.now())))
    assert.match(vmtest(place, ["run", name]).stderr, /a: forked in/)
    assert.match(
      vmtest(place, ["snapshot", "prune", "--all"]).stdout,
      /^removed a \(tiny, 128 MiB\) .*\nremoved 1 snapshot,/
    )
    assert.deepStrictEqual(readdirSync(join(storeOf(place), "entries")), [])
  })

  it("boots, forks and keeps what is stored where folders have names that tools take for something else", () => {
    const name = tinyTest(place)
    const good = vmtest(place, ["run", name])
    assert.strictEqual(good.status, 0, good.all)
    for (const odd of ["a%2Fb", `it's "b"[1],\\`]) {
      const folder = join(place, odd)
      mkdirSync(join(folder, "tmp"), { recursive: true, mode: 0o700 })
      for (const [what, env] of [
        ["TMPDIR", { TMPDIR: join(folder, "tmp"), XDG_RUNTIME_DIR: "" }],
        ["XDG_RUNTIME_DIR", { XDG_RUNTIME_DIR: join(folder, "tmp") }]
      ] as const) {
        const { all, status, stderr } = vmtest(place, ["run", "-o", join(folder, "out"), name], "", env)
        assert.strictEqual(status, 0, `${what}=${folder}: ${all}`)
        assert.match(stderr, /a: forked in/, `${what}=${folder}: ${all}`)
        assert.notInclude(stderr, "discarding")
      }
    }
  })

  it("keeps what is stored when it may not be read, and boots", ({ skip }) => {
    const name = tinyTest(place)
    assert.strictEqual(vmtest(place, ["run", name]).status, 0)
    const memory = join(entriesIn(place)[0] ?? "", "machine", "memory")
    chmodSync(memory, 0)
    const denied = vmtest(place, ["run", name])
    if (/a: forked in/.test(denied.stderr)) return skip("this user may read everything")
    assert.strictEqual(denied.status, 0, denied.all)
    assert.match(denied.stderr, /could not use the snapshot store: .*permission denied.*; booting machines instead/)
    assert.notInclude(denied.stderr, "discarding")
    chmodSync(memory, 0o600)
    assert.match(vmtest(place, ["run", name]).stderr, /a: forked in/)
  })

  it("keeps what is stored when the hypervisor cannot start, and boots nothing else with it", () => {
    const name = tinyTest(place)
    assert.strictEqual(vmtest(place, ["run", name]).status, 0)
    const entries = entriesIn(place)
    // QEMU has more sockets than that.
    const starved = vmtest(place, ["run", name], "", {}, ["prlimit", "--nofile=40:40"])
    assert.notStrictEqual(starved.status, 0, starved.all)
    assert.notInclude(starved.stderr, "discarding")
    assert.deepStrictEqual(entriesIn(place), entries)
    assert.match(vmtest(place, ["run", name]).stderr, /a: forked in/)
  })

  it("boots with an empty disk, and warms up again, where what is stored does not load", async () => {
    assert.isUndefined(await diskToTheEnd(place, true, Math.random))
  })

  it("is right again after runs that were killed, whenever that was, and leaves nothing running", async () => {
    assert.isUndefined(goodRun(place))
    for (const [empty, after] of [
      [true, 2500],
      [false, 1500],
      [true, 4500]
    ] as const) {
      assert.isUndefined(await killedRun(place, empty, after))
    }
    assert.isUndefined(goodRun(place))
  })

  it("does a warm-up once, until its script changes", () => {
    const text = (what: string) => `${head}export default test("warm", { machines: { a: { ...tiny,
  warmUp: (machine) => machine.succeed("echo ${what} >> /warm; sleep 1000 </dev/null >/dev/null 2>&1 &")
} } }, ({ a }) => a.succeed("cat /warm; grep -qs sleep /proc/[0-9]*/comm").pipe(Effect.tap((said) => Effect.sync(() => console.log(said)))))`
    const name = script(place, "warm.ts", text("one"))
    const first = vmtest(place, ["run", name])
    assert.match(first.stdout, /^one\n\n✔/, first.all)
    const second = vmtest(place, ["run", name])
    assert.match(second.stdout, /^one\n\n✔/, second.all)
    assert.match(second.stderr, /a: forked in/)
    script(place, "warm.ts", text("two"))
    const third = vmtest(place, ["run", name])
    assert.match(third.stdout, /^two\n\n✔/, third.all)
    assert.lengthOf(JSON.parse(vmtest(place, ["snapshot", "list", "--json"]).stdout), 3)
  })

  it("saves the machines of a test that fails, and vmtest resume opens them as they were", () => {
    const name = script(
      place,
      "fails.ts",
      `${head}export default test("it fails", { machines: { a: tiny, "b-2": tiny } }, (machines) => Effect.gen(function* () {
  yield* machines.a.succeed("echo evidence > /tmp/found", "(sleep 1000 | nc -l -p 99 > /tmp/heard 2>&1 &) </dev/null >/dev/null 2>&1")
  yield* machines.a.waitForOpenPort(99)
  yield* machines["b-2"].succeed("(while sleep 0.2; do echo ping; done | nc a 99 &) </dev/null >/dev/null 2>&1")
  yield* machines.a.waitUntilSucceeds("grep ping /tmp/heard", { timeout: "1 minute" })
  yield* machines.a.succeed("wc -l < /tmp/heard > /tmp/until; false")
}))`
    )
    const run = vmtest(place, ["run", "--snapshot-on-failure", "-o", "out", name])
    assert.strictEqual(run.status, 1, run.all)
    assert.match(run.stderr, /saved the machines; inspect them with: npx vmtest resume 'out\/it fails'/)
    const lines = [
      "// A connection between the two lives on.",
      'a.waitUntilSucceeds("test $(wc -l < /tmp/heard) -gt $(($(cat /tmp/until) + 3))", { timeout: "1 minute" })',
      'a.succeed("cat /tmp/found").pipe(',
      "  Effect.map((text) => text.trim()))",
      'machines["b-2"].succeed("hostname")',
      "await Promise.resolve(6) * 7",
      'const found = yield* a.succeed("cat /tmp/found"); const { length } = found',
      "`${length} of ${found.trim()}`",
      'driver.fork(({ a }) => a.succeed("rm /tmp/found; ping -c 1 -w 10 b-2 >/dev/null; echo done"))',
      'a.succeed("ls /tmp/found")'
    ]
    const resumed = vmtest(place, ["resume", "out/it fails"], `${lines.join("\n")}\n`)
    assert.strictEqual(resumed.status, 0, resumed.all)
    for (const said of ["'evidence'", "'b-2\\n'", "42", "'9 of evidence'", "'done\\n'", "'/tmp/found\\n'"]) {
      assert.include(resumed.stdout, said, resumed.all)
    }
    const failing = vmtest(
      place,
      ["resume", "out/it fails"],
      'a.fail("true")\na.succeed("echo goes on")\nif (a) {\n1\n'
    )
    assert.strictEqual(failing.status, 1, failing.all)
    assert.include(failing.stdout, "goes on")
    assert.include(failing.stderr, "the input ends within the statement that starts on line 3: if (a) {")

    assert.match(vmtest(place, ["resume", "out"]).stderr, /it has no resume.json/)
    const saved = join(place, "work", "out", "it fails")
    spoil(join(saved, "a", "saved"), randomOf(3))
    const damaged = vmtest(place, ["resume", saved])
    assert.strictEqual(damaged.status, 2, damaged.all)
    assert.match(damaged.stderr, /could not resume .*: a is damaged/)
    assert.include(readFileSync(join(saved, "resume.json"), "utf8"), '"format": 1')
  })
})

describe("driver.fork", () => {
  it("gives each fork of three machines a network of its own, with connections that live on", () => {
    const name = script(
      place,
      "forks.ts",
      `${head}const serve = (what: string) => "echo " + what + " > /tmp/what; (while true; do nc -l -p 80 < /tmp/what; done) </dev/null >/dev/null 2>&1 &"
export default test("forks", { machines: { a: tiny, b: tiny, c: tiny } }, ({ a, b, c }, driver) => Effect.gen(function* () {
  yield* a.succeed("(sleep 1000 | nc -l -p 99 > /tmp/heard 2>&1 &) </dev/null >/dev/null 2>&1")
  yield* a.waitForOpenPort(99)
  yield* c.succeed("(while sleep 0.2; do echo ping; done | nc a 99 &) </dev/null >/dev/null 2>&1")
  yield* a.waitUntilSucceeds("grep ping /tmp/heard", { timeout: "1 minute" })
  const results = yield* Effect.forEach([1, 2], (number) => driver.fork(({ a, b, c }) => Effect.gen(function* () {
    yield* a.succeed(serve("fork" + number))
    // All of them serve before any of them is asked.
    yield* Effect.sleep("2 seconds")
    const count = Number(yield* a.succeed("wc -l < /tmp/heard"))
    yield* a.waitUntilSucceeds("test $(wc -l < /tmp/heard) -gt " + (count + 3), { timeout: "1 minute" })
    const said = []
    for (const machine of [b, c, b, c]) said.push((yield* machine.waitUntilSucceeds("nc -w 5 a 80 </dev/null", { timeout: "1 minute" })).trim())
    return said.join(" ")
  })), { concurrency: 2 })
  console.log(results.join("; "))
  // Nobody serves outside of the forks.
  yield* b.fail("nc -w 2 a 80 </dev/null")
  const count = Number(yield* a.succeed("wc -l < /tmp/heard"))
  yield* a.waitUntilSucceeds("test $(wc -l < /tmp/heard) -gt " + (count + 3), { timeout: "1 minute" })
}))`
    )
    const run = vmtest(place, ["run", name])
    assert.strictEqual(run.status, 0, run.all)
    const said = (what: string) => [what, what, what, what].join(" ")
    assert.include(run.stdout, `${said("fork1")}; ${said("fork2")}`, run.all)
    assert.deepStrictEqual(readdirSync(join(storeOf(place), "tmp")), [])
  })
})
