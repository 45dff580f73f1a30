import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"

const setup = fileURLToPath(new URL("../../scripts/setup.mjs", import.meta.url))

const isRoot = process.getuid?.() === 0

/** A machine with nothing but Node and what a test adds. */
let bin = ""
beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), "vmtest-setup-"))
  symlinkSync(process.execPath, join(bin, "node"))
  symlinkSync("/usr/bin/env", join(bin, "env"))
})
afterEach(() => rmSync(bin, { recursive: true, force: true }))

const run = (...args: Array<string>) =>
  spawnSync(join(bin, "node"), [setup, ...args], { encoding: "utf8", env: { PATH: bin, HOME: bin } })

const program = (name: string, script: string) =>
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })

describe("set-up on a machine that lacks packages", () => {
  it("without apt says what to install, and stops", () => {
    const { status, stderr, stdout } = run()
    assert.strictEqual(status, 1)
    assert.match(stdout, /missing packages:\n(setup: {3}.*\n)*setup: {3}qemu-system-x86 \(the hypervisor\)\n/)
    assert.match(stderr, /apt-get was not found\. Install .*qemu-system-x86, .*mmdebstrap/)
    assert.notInclude(stderr, "erlang")
  })

  it("with --test also wants what only the tests need", () => {
    assert.include(run("--test").stderr, "erlang-base")
  })

  it("as root refreshes apt's lists, then installs, having said so first", ({ skip }) => {
    skip(!isRoot, "only root installs without sudo")
    program("apt-get", `echo "apt-get $*" >> ${bin}/calls`)
    const { status, stderr, stdout } = run()
    const calls = readFileSync(join(bin, "calls"), "utf8").trimEnd().split("\n")
    assert.strictEqual(calls[0], "apt-get -q -y update")
    assert.match(calls[1] ?? "", /^apt-get -q -y install --no-install-recommends .*qemu-system-x86/)
    assert.isBelow(stdout.indexOf("missing packages:"), stdout.indexOf("apt-get"))
    // This apt-get installed nothing.
    assert.strictEqual(status, 1)
    assert.match(stderr, /still not found: .*qemu-system-x86/)
  })

  it("stops when apt cannot install", ({ skip }) => {
    skip(!isRoot, "only root installs without sudo")
    program("apt-get", "exit 100")
    const { status, stderr } = run()
    assert.strictEqual(status, 1)
    assert.include(stderr, "apt-get could not install")
  })
})

describe("npm run bench on a machine that lacks packages", () => {
  const bench = fileURLToPath(new URL("../../scripts/bench.mjs", import.meta.url))

  it("says so without a stack trace", () => {
    const { status, stderr } = spawnSync(join(bin, "node"), [bench], {
      encoding: "utf8",
      env: { PATH: bin, HOME: bin }
    })
    assert.strictEqual(status, 1)
    assert.match(stderr, /^(setup: .*\n)+$/)
    assert.include(stderr, "apt-get was not found")
  })
})

describe("replacing dist", () => {
  const build = fileURLToPath(new URL("../../scripts/build.mjs", import.meta.url))

  /** Makes a folder of two files and puts it in place, many times over. */
  const replaceOften = (name: string) =>
    new Promise<number | null>((resolve) => {
      const program = `import { mkdirSync, writeFileSync } from "node:fs"
import { replaceFolder } from ${JSON.stringify(build)}
for (let n = 0; n < 200; n++) {
  mkdirSync("${name}")
  for (const file of ["a", "b"]) writeFileSync("${name}/" + file, "${name}" + n)
  replaceFolder("${name}", "dist")
}`
      spawn(process.execPath, ["--input-type=module", "--eval", program], { cwd: bin, stdio: "inherit" }).once(
        "close",
        resolve
      )
    })

  it("is safe against another build at the same time", async () => {
    assert.deepStrictEqual(await Promise.all([replaceOften("one"), replaceOften("two")]), [0, 0])
    assert.strictEqual(readFileSync(join(bin, "dist", "a"), "utf8"), readFileSync(join(bin, "dist", "b"), "utf8"))
    assert.deepStrictEqual(readdirSync(bin).sort(), ["dist", "env", "node"])
  })
})
