/** `vmtest run` as people use it for many tests, on real tiny guests. */
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { makePlace, processes, script, start, vmtest } from "./snapshotPlace.ts"

const place = makePlace()
const read = (name: string) => readFileSync(join(place, "work", name), "utf8")

beforeAll(() => {
  script(
    place,
    "vmtest.config.ts",
    `import { defineConfig, Image } from "vmtest"
export default defineConfig({
  retries: 1,
  machines: { web: { image: Image.tiny(), memory: "128 MiB" } }
})
`
  )
  script(
    place,
    "a.vmtest.ts",
    `import { appendFileSync, existsSync, writeFileSync } from "node:fs"
import { Effect } from "effect"
import { suite, test } from "vmtest"
const machines = ["web"] as const
export default [
  test("says hello", { machines, tags: ["fast"] }, ({ web }) => web.succeed("echo hello")),
  test("is flaky", { machines }, ({ web }) => Effect.gen(function* () {
    const first = !existsSync("seen")
    writeFileSync("seen", "")
    yield* web.succeed(first ? "false" : "true")
  })),
  test.skip("is skipped", { machines }, ({ web }) => web.succeed("false")),
  ...suite("shared", { machines }, (test) => {
    test("writes", ({ web }) => web.succeed("echo 1 > /kept"))
    test("reads", ({ web }) => web.succeed("cat /kept"))
  }),
  ...suite("forked", { machines, isolation: "fork" }, (test) => {
    test("writes", ({ web }) => web.succeed("echo 1 > /kept"))
    test("reads nothing", ({ web }) => web.fail("cat /kept"))
  })
]
`
  )
  script(
    place,
    "b.vmtest.ts",
    `import { test } from "vmtest"
import { command } from "./command.ts"
export default test("fails", { machines: ["web"] }, ({ web }) => web.succeed(command))
`
  )
  script(place, "command.ts", `export const command = "cat /nothing"\n`)
})

afterAll(() => rmSync(place, { recursive: true, force: true }))

describe("a run of many tests", () => {
  it("finds the scripts, reads the config file, retries, skips, and gives suites their machines", () => {
    const { all, status, stdout } = vmtest(place, ["run"])
    assert.strictEqual(status, 1, all)
    assert.match(stdout, /✔ says hello .*a\.vmtest\.ts/)
    assert.match(stdout, /✘ is flaky failed[\s\S]*attempt 1 of 2; trying again/)
    assert.match(stdout, /✔ is flaky flaky: passed at attempt 2/)
    assert.match(stdout, /- is skipped skipped: test\.skip/)
    for (const name of ["shared › writes", "shared › reads", "forked › writes", "forked › reads nothing"])
      assert.include(stdout, `✔ ${name} (`)
    assert.match(stdout, /✘ fails failed[\s\S]*can't open '\/nothing'/)
    assert.match(stdout, /\n6 passed, 1 failed, 1 flaky, 1 skipped \(/)
  })

  it("runs again only what failed, and everything when that passes", () => {
    assert.match(vmtest(place, ["run", "--only-failed", "--list"]).stdout, /^b\.vmtest\.ts:3 {2}fails\n$/)
    script(place, "command.ts", `export const command = "true"\n`)
    const { all, status, stdout } = vmtest(place, ["run", "--only-failed"])
    assert.strictEqual(status, 0, all)
    assert.match(stdout, /\n1 passed, 0 failed/)
    const none = vmtest(place, ["run", "--only-failed"])
    assert.deepStrictEqual([none.status, none.stderr], [0, "vmtest: no test failed in the last run\n"])
  })

  it("splits into parts that are the whole together, by recorded durations", () => {
    assert.strictEqual(vmtest(place, ["run", "-q", "--durations", "durations.json"]).status, 0)
    const before = read("durations.json")
    const names = (...args: ReadonlyArray<string>) =>
      JSON.parse(vmtest(place, ["run", "--list-json", ...args]).stdout).map(({ id }: { readonly id: string }) => id)
    const part = (index: number) => names("--durations", "durations.json", "--shard", `${index}/3`)
    const parts = [1, 2, 3].map(part)
    assert.deepStrictEqual(parts.flat().toSorted(), names().toSorted())
    const suiteIn = parts.filter((some) => some.some((id: string) => id.includes("shared ›")))
    assert.lengthOf(suiteIn, 1)
    const { status, stdout } = vmtest(place, ["run", "-q", "--durations", "durations.json", "--shard", "1/3"])
    assert.strictEqual(status, 0)
    assert.match(
      stdout,
      new RegExp(`\\n?${parts[0].length - (parts[0].join().includes("is skipped") ? 1 : 0)} passed, 0 failed`)
    )
    assert.strictEqual(read("durations.json"), before)
  })

  it("says what is wrong before anything starts", () => {
    for (const [args, says] of [
      [["run", "nope/*.ts"], 'no script matches "nope/*.ts"'],
      [["run", "-t", "nobody"], 'no test matches --grep "nobody"'],
      [["run", "-t", "/(/"], "is not a regular expression"],
      [["run", "--config", "none.config.ts"], "none.config.ts: the config file does not exist"]
    ] as const) {
      const { status, stderr, stdout } = vmtest(place, args)
      assert.deepStrictEqual([status, stdout], [2, ""])
      assert.include(stderr, says)
    }
    writeFileSync(join(place, "work", "wrong.config.ts"), "export default { retires: 1 }\n")
    const { status, stderr } = vmtest(place, ["run", "-c", "wrong.config.ts"])
    assert.strictEqual(status, 2)
    assert.include(stderr, 'wrong.config.ts: unknown option "retires"; did you mean "retries"?')
  })

  it("with --watch runs again what a change affects", { timeout: 240_000 }, async () => {
    const log = join(place, "work", "watch.log")
    script(
      place,
      "c.vmtest.ts",
      `import { appendFileSync } from "node:fs"
import { Effect } from "effect"
import { test } from "vmtest"
import { command } from "./command.ts"
export default test("notes", { machines: ["web"] }, ({ web }) =>
  Effect.tap(web.succeed(command), (said) => Effect.sync(() => appendFileSync("watch.log", said + "\\n"))))
`
    )
    script(place, "command.ts", `export const command = "echo first"\n`)
    writeFileSync(log, "")
    const child = start(place, ["run", "--watch", "c.vmtest.ts"])
    const ended = new Promise((resolve) => child.on("exit", resolve))
    const until = async (text: string) => {
      for (let tries = 0; tries < 900 && !readFileSync(log, "utf8").includes(text); tries++) await sleep(100)
      assert.include(readFileSync(log, "utf8"), text)
    }
    await until("first")
    await sleep(1000)
    script(place, "command.ts", `export const command = "echo second"\n`)
    await until("second")
    child.kill("SIGINT")
    assert.strictEqual(await ended, 130)
    assert.deepStrictEqual(processes(place), [])
  })
})
