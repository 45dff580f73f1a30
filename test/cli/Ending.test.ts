import { spawn } from "node:child_process"
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"

const launcher = fileURLToPath(new URL("../../src/cli/Launcher.ts", import.meta.url))

const bin = fileURLToPath(new URL("../../bin/vmtest.js", import.meta.url))

let place = ""
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), "vmtest-ending-"))
  for (const name of ["tmp", "run"]) mkdirSync(join(place, name), { mode: 0o700 })
})
afterEach(() => rmSync(place, { recursive: true, force: true }))

/** Files of a run, bundles of scripts included; the folder that holds the runs' folders may stay. */
const leftovers = () =>
  ["tmp", "run"]
    .flatMap((name) => readdirSync(join(place, name), { recursive: true, withFileTypes: true }))
    .filter((entry) => !entry.isDirectory() && !entry.parentPath.includes("node-compile-cache"))
    .map((entry) => join(entry.parentPath, entry.name))

const vmtest = (text: string, stdout: "ignore" | "closed" | number = "ignore") => {
  writeFileSync(join(place, "script.ts"), text)
  return withOutput(stdout, ["run", "script.ts"])
}

const withOutput = (stdout: "ignore" | "closed" | number, args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, [launcher, ...args], {
    cwd: place,
    env: { ...process.env, TMPDIR: join(place, "tmp"), XDG_RUNTIME_DIR: join(place, "run"), NO_COLOR: "1" },
    stdio: ["ignore", stdout === "closed" ? "pipe" : stdout, "pipe"],
    timeout: 60_000
  })
  child.stdout?.destroy()
  let stderr = ""
  child.stderr?.on("data", (chunk) => {
    stderr += chunk
  })
  return new Promise<{ readonly status: number | null; readonly stderr: string }>((resolve) =>
    child.once("close", (status) => resolve({ status, stderr }))
  )
}

describe("a script that ends the process, or tries to, while it is imported", () => {
  for (const [what, text, says] of [
    ["process.exit(0)", "process.exit(0)", /the script called process\.exit\(0\)/],
    [
      "an error in a callback",
      `setTimeout(() => { throw new Error("async boom") }, 1)\nawait new Promise(() => setInterval(() => {}, 1000))`,
      /uncaught error of the script while it was imported[\s\S]*Error: async boom\n\s+at .*script\.ts:1/
    ],
    [
      "a promise that nothing waits for",
      `Promise.reject(new Error("rejected"))\nawait new Promise(() => setInterval(() => {}, 1000))`,
      /uncaught error of the script while it was imported[\s\S]*Error: rejected\n\s+at .*script\.ts:1/
    ]
  ] as const) {
    it(`${what}: exit code 2, nothing left behind`, { timeout: 60_000 }, async () => {
      const { status, stderr } = await vmtest(text)
      assert.strictEqual(status, 2, stderr)
      assert.match(stderr, says)
      assert.deepStrictEqual(leftovers(), [])
    })
  }
})

// Where vitest imports the script, a name that is not there is undefined.
describe("a script that imports a name which a module does not export", () => {
  it("is refused with that line: exit code 2", { timeout: 60_000 }, async () => {
    const several = await vmtest(`import {\n  Mock,\n  nope as no\n} from "vmtest"\nexport default [Mock, no]`)
    assert.strictEqual(several.status, 2)
    assert.match(several.stderr, /script\.ts:3:3: "vmtest" does not export "nope"\n {2}3 │ {3}nope as no/)
    const { stderr } = await vmtest(
      `import { test } from "vmtest"\nimport { expect } from "vmtest"\nexport default [test, expect]`
    )
    assert.match(stderr, /script\.ts:2:10: "vmtest" does not export "expect"; assertions come from node:assert/)
  })

  it("is refused with all such lines, also those of files that it imports", { timeout: 60_000 }, async () => {
    writeFileSync(
      join(place, "lib.ts"),
      `import { expect, Image } from "vmtest"\nimport { readFil } from "node:fs"\nexport const lib = [expect, Image, readFil]`
    )
    const { status, stderr } = await vmtest(
      `import vmtest, { test } from "vmtest"\nimport { lib } from "./lib.ts"\nimport { Efect } from "effect"\nexport default [vmtest, test, lib, Efect]`
    )
    assert.strictEqual(status, 2)
    for (const says of [
      /script\.ts:1:8: "vmtest" has no default export/,
      /script\.ts:3:10: "effect" does not export "Efect"/,
      /\/lib\.ts:1:10: "vmtest" does not export "expect"; assertions/,
      /\/lib\.ts:2:10: "node:fs" does not export "readFil"/
    ]) {
      assert.match(stderr, says)
    }
    assert.lengthOf(stderr.match(/ (has no|does not export) /g) ?? [], 4, stderr)
  })
})

/** Runs the command and begins to read what it says only after a while; gives how much of it came. */
const readLate = (args: ReadonlyArray<string>, wait: number) => {
  const child = spawn(process.execPath, [launcher, ...args], {
    cwd: place,
    env: { ...process.env, TMPDIR: join(place, "tmp"), XDG_RUNTIME_DIR: join(place, "run"), NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000
  })
  const said = { stdout: "", stderr: "" }
  const read = () => {
    for (const name of ["stdout", "stderr"] as const) {
      child[name].on("data", (chunk) => {
        said[name] += chunk
      })
    }
  }
  setTimeout(read, wait)
  return new Promise<{ readonly status: number | null; readonly stdout: string; readonly stderr: string }>((resolve) =>
    child.once("close", (status) => resolve({ status, ...said }))
  )
}

describe("output into a pipe", () => {
  const said = "x".repeat(1_000_000)
  const text = `process.stdout.write("x".repeat(1_000_000)); process.stderr.write("x".repeat(1_000_000))\n`

  for (const wait of [0, 2500]) {
    it(`comes whole to a reader that begins after ${wait} ms`, { timeout: 60_000 }, async () => {
      writeFileSync(join(place, "script.ts"), text)
      const { status, stderr, stdout } = await readLate(["run", "script.ts"], wait)
      assert.strictEqual(status, 2)
      assert.strictEqual(stdout, said)
      assert.isTrue(stderr.startsWith(said))
      assert.match(stderr.slice(said.length), /script\.ts: no default export/)
    })
  }

  for (const args of [["--help"], ["--version"], ["run", "--nope"]]) {
    it(`may have no reader: vmtest ${args.join(" ")}`, { timeout: 60_000 }, async () => {
      const child = spawn(process.execPath, [launcher, ...args], { stdio: ["ignore", "pipe", "pipe"] })
      child.stdout.destroy()
      child.stderr.destroy()
      const status = await new Promise((resolve) => child.once("exit", resolve))
      assert.strictEqual(status, args[1] === "--nope" ? 2 : 0)
    })
  }
})

describe("output that nobody takes", () => {
  const talkative = `for (let line = 0; line < 1000; line++) console.log("x".repeat(100))
await new Promise((resolve) => setTimeout(resolve, 500))`

  it("is no error of the script when its reader left", { timeout: 60_000 }, async () => {
    const { status, stderr } = await vmtest(talkative, "closed")
    assert.strictEqual(status, 2)
    assert.include(stderr, "no default export")
    assert.notInclude(stderr, "EPIPE")
  })

  for (const args of [
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["snapshot", "list"],
    ["image", "list", "--json"]
  ]) {
    it(`is an error when there is no room for it: vmtest ${args.join(" ")}`, { timeout: 60_000 }, async () => {
      const full = openSync("/dev/full", "w")
      const child = spawn(process.execPath, [args[0] === "--version" ? bin : launcher, ...args], {
        stdio: ["ignore", full, "pipe"],
        timeout: 60_000
      })
      closeSync(full)
      let said = ""
      child.stderr?.on("data", (chunk) => {
        said += chunk
      })
      assert.strictEqual(await new Promise((resolve) => child.once("close", resolve)), 1)
      assert.match(said, /^vmtest: could not write the output: ENOSPC: no space left on device, write\n$/)
    })

    it(`has only its exit code when there is no room for errors either: vmtest ${args.join(" ")}`, {
      timeout: 60_000
    }, async () => {
      const full = openSync("/dev/full", "w")
      const child = spawn(process.execPath, [args[0] === "--version" ? bin : launcher, ...args], {
        stdio: ["ignore", full, full],
        timeout: 60_000
      })
      closeSync(full)
      assert.strictEqual(await new Promise((resolve) => child.once("exit", resolve)), 1)
    })
  }

  it("is one of the run when there is no room for it", { timeout: 60_000 }, async () => {
    const full = openSync("/dev/full", "w")
    const { status, stderr } = await vmtest(talkative, full)
    closeSync(full)
    assert.strictEqual(status, 1)
    assert.include(stderr, "could not write the output: ENOSPC")
  })

  const passing = `import { Effect } from "effect"\nimport { test } from "vmtest"\nexport default test("t", {}, () => Effect.void)\n`
  for (const args of [
    ["run", "script.ts"],
    ["eval", `"x".repeat(9)`]
  ]) {
    it(`is one also if it is the last: vmtest ${args[0]}`, { timeout: 60_000 }, async () => {
      writeFileSync(join(place, "script.ts"), passing)
      const full = openSync("/dev/full", "w")
      const { status, stderr } = await withOutput(full, args)
      closeSync(full)
      assert.strictEqual(status, 1, stderr)
      assert.include(stderr, "could not write the output: ENOSPC")
    })
  }
})
