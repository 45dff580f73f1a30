import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

/** With the build, as a user has it; `examples/suite.test.ts` is a file of this suite itself. */
const node = (...args: Array<string>) => spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" })

const simple = ["nginx", "partition", "tiny", "upstream"]

describe("the examples", () => {
  it("nginx.ts, partition.ts, tiny.ts and upstream.ts pass", { timeout: 900_000 }, () => {
    const { status, stderr, stdout } = node("bin/vmtest.js", "run", ...simple.map((name) => `examples/${name}.ts`))
    assert.strictEqual(status, 0, stdout + stderr)
    assert.match(stdout, /4 passed, 0 failed/)
  })

  it("the lightest of those after NixOS's tests pass", { timeout: 1_800_000 }, () => {
    const light = ["redis", "keepalived"].map((name) => `examples/nixos/${name}.ts`)
    const { status, stderr, stdout } = node("bin/vmtest.js", "run", ...light)
    assert.strictEqual(status, 0, stdout + stderr)
    assert.match(stdout, /2 passed, 0 failed/)
  })

  it("layer.ts, an application of its own, runs", () => {
    const { status, stderr, stdout } = node("examples/layer.ts")
    assert.strictEqual(status, 0, stdout + stderr)
    assert.match(stdout, /Linux \d/)
  })

  it("app, an application with services and errors of its own, runs", () => {
    const { status, stderr, stdout } = node("examples/app/main.ts")
    assert.strictEqual(status, 0, stdout + stderr)
    assert.strictEqual(stdout, 'journal: a reader gets "hello\\n"\njournal: there is no nothing.html\n')
  })
})
