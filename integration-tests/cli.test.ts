import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))

/** A place of the test's own for everything but the image cache, so that what is left behind can be seen. */
let place = ""
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), "vmtest-cli-"))
  for (const name of ["tmp", "run", "work"]) mkdirSync(join(place, name), { mode: 0o700 })
})
afterEach(() => rmSync(place, { recursive: true, force: true }))

const options = () => ({
  cwd: join(place, "work"),
  env: { ...process.env, TMPDIR: join(place, "tmp"), XDG_RUNTIME_DIR: join(place, "run"), NO_COLOR: "1" }
})

const vmtest = (...args: Array<string>) =>
  spawnSync(process.execPath, [launcher, ...args], { ...options(), encoding: "utf8" })

const script = (name: string, text: string) => {
  writeFileSync(join(place, "work", name), text)
  return name
}

const onTiny = (body: string, machine = "machine") => `import { Effect } from "effect"
import { Image, test } from "vmtest"
console.log("the script itself speaks")
export default test("tiny", { machines: { "${machine}": { image: Image.tiny() } } }, ({ machine }) => Effect.gen(function* () {
${body}
}))
`

/** The processes whose command line or working folder is in the test's place. */
const processes = (): Array<string> =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")
      } catch {
        return ""
      }
    })
    .filter((command) => command.includes(place))

/** Everything of a run; the folder that holds the runs' folders may stay. */
const leftovers = (): Array<string> =>
  (
    readdirSync(place, { recursive: true, withFileTypes: true }) as Array<{
      name: string
      parentPath: string
      isDirectory: () => boolean
    }>
  )
    .filter((entry) => !entry.isDirectory() && !entry.parentPath.startsWith(join(place, "work")))
    .map((entry) => join(entry.parentPath, entry.name))

const until = async (what: string, condition: () => boolean, limit: number) => {
  const deadline = performance.now() + limit
  while (!condition()) {
    if (performance.now() > deadline) assert.fail(`not within ${limit} ms: ${what}`)
    await sleep(20)
  }
}

const exitOf = (child: ChildProcess) =>
  new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)))

describe("vmtest run", () => {
  it("passes: exit code 0, the script's own output, nothing left behind", () => {
    const { status, stderr, stdout } = vmtest("run", script("a.ts", onTiny(`yield* machine.succeed("true")`)))
    assert.strictEqual(status, 0, stderr)
    assert.include(stdout, "the script itself speaks\n")
    assert.match(stdout, /1 passed, 0 failed/)
    assert.deepStrictEqual([processes(), leftovers()], [[], []])
  })

  it("fails: exit code 1, and names the script's own line", () => {
    const failing = script(
      "b.ts",
      onTiny(`yield* machine.succeed("true")\n  yield* machine.succeed("echo no >&2; exit 3")`)
    )
    const { status, stderr, stdout } = vmtest("run", failing)
    assert.strictEqual(status, 1, stderr)
    assert.match(stdout + stderr, /b\.ts:6/)
    assert.match(stdout, /0 passed, 1 failed/)
    assert.deepStrictEqual([processes(), leftovers()], [[], []])
  })

  it("stops at one unusable script before any test starts", () => {
    script("a.ts", onTiny(`yield* machine.succeed("true")`))
    const { status, stderr } = vmtest("run", "a.ts", script("broken.ts", "const ="), "nope.ts")
    assert.strictEqual(status, 2)
    assert.match(stderr, /broken\.ts:1:\d+: syntax error/)
    assert.match(stderr, /nope\.ts: no such script/)
    assert.deepStrictEqual(leftovers(), [])
  })

  for (const [what, text, says] of [
    ["a name that is no host name", onTiny("", "not_a_host"), /host name/],
    ["more memory than the host has", onTiny("").replace("Image.tiny()", 'Image.tiny(), memory: "900 TiB"'), /memory/],
    ["half a processor", onTiny("").replace("Image.tiny()", "Image.tiny(), cpus: 0.5"), /cpus/],
    [
      "two names that differ only in case",
      onTiny("").replace('"machine"', 'Machine: { image: Image.tiny() }, "machine"'),
      /case/
    ]
  ] as const) {
    it(`refuses ${what}: exit code 2, nothing started`, () => {
      const { status, stderr } = vmtest("run", script("bad.ts", text))
      assert.strictEqual(status, 2, stderr)
      assert.match(stderr, says)
      // With the line of the declaration.
      assert.match(stderr, /^vmtest: bad\.ts:4:16: .*\n {2}4 │ export default test\("tiny"/m)
      assert.deepStrictEqual([processes(), leftovers()], [[], []])
    })
  }

  for (const folder of ["file/out", "/proc/nope/out"]) {
    it(`refuses an output folder that cannot be made: ${folder}`, () => {
      script("file", "")
      const { status, stderr } = vmtest("run", "-o", folder, script("a.ts", onTiny("")))
      assert.strictEqual(status, 2, stderr)
      assert.match(stderr, new RegExp(`could not write to the output folder ${folder}: E[A-Z]+: `))
      assert.deepStrictEqual(processes(), [])
    })

    it(`refuses a cache folder that cannot be made: ${folder}`, () => {
      script("file", "")
      const { status, stderr } = spawnSync(process.execPath, [launcher, "run", script("a.ts", onTiny(""))], {
        ...options(),
        env: { ...options().env, XDG_CACHE_HOME: resolve(place, "work", folder) },
        encoding: "utf8"
      })
      assert.strictEqual(status, 2, stderr)
      assert.include(stderr, "could not write to the cache folder")
    })
  }

  it("has a test whose callback, promise or process.exit goes wrong fail alone: the others run, nothing left behind", async () => {
    const beside = (name: string, line: string) =>
      `test("${name}", { machines: { web: { image: Image.tiny() } } }, ({ web }) => Effect.gen(function* () {
  ${line}
  yield* web.succeed("sleep 1")
}))`
    const tests = [
      beside("throws", `setTimeout(() => { throw new Error("async boom") }, 1)`),
      beside("rejects", `Promise.reject(new TypeError("rejected"))`),
      beside("exits", "process.exit(0)"),
      beside("exits later", "setTimeout(() => process.exit(0), 1)"),
      beside("dies aside", `yield* Effect.forkScoped(Effect.die(new Error("fiber boom")))`),
      beside("is well", "")
    ]
    for (const jobs of [1, 3]) {
      const { status, stdout, stderr } = vmtest(
        "run",
        "-j",
        String(jobs),
        script(
          "ends.ts",
          `import { Effect } from "effect"\nimport { Image, test } from "vmtest"\nexport default [${tests.join(",\n")}]`
        )
      )
      assert.strictEqual(status, 1, stderr)
      for (const [name, says] of [
        ["throws", /ends\.ts:4:[\s\S]*was not caught: Error: async boom/],
        ["rejects", /ends\.ts:8:[\s\S]*was not caught: TypeError: rejected/],
        ["exits", /ends\.ts:12:[\s\S]*the script called process\.exit\(0\)/],
        ["exits later", /ends\.ts:16:[\s\S]*the script called process\.exit\(0\)/],
        ["dies aside", /ends\.ts:20:[\s\S]*nothing joined it: Error: fiber boom/]
      ] as const) {
        const report = stdout.split(/^(?=[✘✔])/m).find((part) => part.startsWith(`✘ ${name} failed`))
        assert.match(report ?? stdout, says)
      }
      assert.match(stdout, /✔ is well/)
      assert.match(stdout, /1 passed, 5 failed/)
      await until(`gone: ${processes().join("; ")}`, () => processes().length === 0, 2000)
      assert.deepStrictEqual(leftovers(), [])
    }
  })

  it("does not pass when a callback goes wrong after its test has passed", () => {
    const late = script(
      "late.ts",
      `import { Effect } from "effect"
import { test } from "vmtest"
export default [
  test("early", {}, () => Effect.sync(() => setTimeout(() => { throw new Error("late boom") }, 20))),
  test("long", {}, () => Effect.sleep("500 millis"))
]`
    )
    const { status, stderr, stdout } = vmtest("run", late)
    assert.match(stdout, /2 passed, 0 failed/)
    assert.match(stderr, /after the test "early" ended\n\s+Error: late boom\n\s+at .*late\.ts:4/)
    assert.strictEqual(status, 1)
  })

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it(`${signal} while a guest runs: exit code 130, what ran so far, nothing left behind`, async () => {
      const file = script(
        "long.ts",
        `import { Effect } from "effect"
import { Image, test } from "vmtest"
export default [
  test("quick", {}, () => Effect.void),
  test("bad", {}, () => Effect.fail("no")),
  test("long", { machines: { machine: { image: Image.tiny() } } }, ({ machine }) => Effect.gen(function* () {
    console.log("ready"); yield* machine.succeed("sleep 600")
  })),
  test("later", {}, () => Effect.void)
]`
      )
      const child = spawn(process.execPath, [launcher, "run", "-j", "1", file], {
        ...options(),
        stdio: ["ignore", "pipe", "ignore"]
      })
      const ended = exitOf(child)
      let said = ""
      child.stdout.on("data", (chunk) => {
        said += chunk
      })
      await until("the guest is ready", () => said.includes("ready\n"), 120_000)
      child.kill(signal)
      assert.strictEqual(await ended, 130)
      assert.match(
        said,
        /failed:\n {2}✘ bad {2}long\.ts\nto run it again: .*\ninterrupted:\n {2}- long \((?!0\.0 )[\d.]+ s\) {2}long\.ts\n1 passed, 1 failed, 1 interrupted, 1 not run \((?!0\.0 )[\d.]+ s\)\n$/
      )
      assert.deepStrictEqual([processes(), leftovers()], [[], []])
    })
  }

  it("kill -9 while a guest runs: every process is gone within 2 s, and the next run sweeps the state folder", async () => {
    const file = script("long.ts", onTiny(`console.log("ready"); yield* machine.succeed("sleep 600")`))
    const child = spawn(process.execPath, [launcher, "run", file], {
      ...options(),
      stdio: ["ignore", "pipe", "ignore"]
    })
    const ended = exitOf(child)
    let said = ""
    child.stdout.on("data", (chunk) => {
      said += chunk
    })
    await until("the guest is ready", () => said.includes("ready\n"), 120_000)
    child.kill("SIGKILL")
    await ended
    await until(`gone: ${processes().join("; ")}`, () => processes().length === 0, 2000)
    assert.isNotEmpty(leftovers())
    assert.strictEqual(vmtest("run", script("a.ts", onTiny(`yield* machine.succeed("true")`))).status, 0)
    assert.deepStrictEqual(leftovers(), [])
  })

  it("--keep-state keeps the state folder and says where", () => {
    const { status, stderr, stdout } = vmtest(
      "run",
      "--keep-state",
      script("a.ts", onTiny(`yield* machine.succeed("true")`))
    )
    assert.strictEqual(status, 0, stderr)
    const kept = /(\/\S*vmtest-cli-\S+)/.exec(stdout + stderr)?.[1]
    assert.isDefined(kept)
    assert.isNotEmpty(readdirSync(kept!))
  })
})

describe("vmtest eval", () => {
  it("prints what the expression gives, and only that, on stdout", () => {
    const { status, stderr, stdout } = vmtest(
      "eval",
      `(yield* driver.machine("m", { image: Image.tiny() })).succeed("echo $((6 * 7))")`
    )
    assert.strictEqual(status, 0, stderr)
    assert.strictEqual(stdout, "42\n")
  })

  it("runs an Effect that the body of a program returns, and prints an error that it returns", () => {
    const m = `const m = yield* driver.machine("m", { image: Image.tiny() })\n`
    const returned = vmtest("eval", `${m}return m.succeed("echo returned")`)
    assert.deepStrictEqual([returned.status, returned.stdout], [0, "returned\n"], returned.stderr)
    const failed = vmtest("eval", `${m}return m.succeed("exit 3")`)
    assert.strictEqual(failed.status, 1)
    assert.match(failed.stdout, /eval:2:\d+\n[\s\S]*CommandFailed/)
    for (const text of [
      `${m}return yield* Effect.flip(m.succeed("exit 3"))`,
      `${m.replace("const m = yield*", "(yield*").trim()}).succeed("exit 3").pipe(Effect.flip)`
    ]) {
      const error = vmtest("eval", text)
      assert.strictEqual(error.status, 0, error.stderr + error.stdout)
      assert.include(error.stdout, "CommandFailed")
    }
  })

  for (const args of [["eval", "6 * 7"], ["doctor"], ["doctor", "--json"]]) {
    it(`says that its output could not be written: vmtest ${args[0]}`, async () => {
      const full = openSync("/dev/full", "w")
      const child = spawn(process.execPath, [launcher, ...args], { ...options(), stdio: ["ignore", full, "pipe"] })
      closeSync(full)
      let said = ""
      child.stderr?.on("data", (chunk) => {
        said += chunk
      })
      assert.strictEqual(await exitOf(child), 1)
      assert.include(said, "could not write the output: ENOSPC")
    })
  }

  it("eval-file runs a program in a file", () => {
    const program = `const m = yield* driver.machine("m", { image: Image.tiny() })
const { exitCode } = yield* m.execute("exit 7")
return { exitCode }`
    const { status, stderr, stdout } = vmtest("eval-file", script("program.ts", program))
    assert.strictEqual(status, 0, stderr)
    assert.strictEqual(stdout, "{ exitCode: 7 }\n")
  })

  it("a program that fails is exit code 1 with its own line", () => {
    const { status, stderr, stdout } = vmtest("eval-file", script("program.ts", `\nyield* Effect.fail("as meant")`))
    assert.strictEqual(status, 1)
    assert.match(stdout + stderr, /program\.ts:2/)
    assert.include(stdout + stderr, "as meant")
  })

  for (const [what, machine, says] of [
    ["a name that is no host name", `"not_a_host", { image: Image.tiny() }`, /host name/],
    [
      "a package that Debian does not have",
      `"m", { image: Image.debian({ packages: ["no-such-package-1"] }) }`,
      /no-such-package-1/
    ]
  ] as const) {
    it(`${what}: exit code 2, as in a script`, () => {
      const { status, stderr, stdout } = vmtest("eval", `yield* driver.machine(${machine})`)
      assert.strictEqual(status, 2, stderr)
      assert.match(stdout + stderr, says)
    })
  }
})
