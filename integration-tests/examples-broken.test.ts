import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

/** Runs an example with some of its text replaced; what is replaced must be there. */
const runChanged = (example: string, ...changes: ReadonlyArray<readonly [from: string, to: string]>) => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-broken-"))
  try {
    let text = Fs.readFileSync(Path.join(root, "examples", example), "utf8")
    for (const [from, to] of changes) {
      assert.include(text, from)
      text = text.replace(from, to)
    }
    const script = Path.join(folder, Path.basename(example))
    Fs.writeFileSync(script, text)
    return spawnSync(process.execPath, ["bin/vmtest.js", "run", script], { cwd: root, encoding: "utf8" })
  } finally {
    Fs.rmSync(folder, { recursive: true, force: true })
  }
}

describe("an example whose behaviour is broken fails for that reason", () => {
  it("keepalived: no cable is pulled, so nothing fails over", { timeout: 900_000 }, () => {
    const { status, stderr, stdout } = runChanged(
      "nixos/keepalived.ts",
      ["yield* main.block()", "yield* Effect.void"],
      ['{ timeout: "1 minute" }', '{ timeout: "10 seconds" }']
    )
    assert.strictEqual(status, 1, stdout + stderr)
    assert.match(stdout, /spare: waited 1\d*s( \d+ms)? for "ip -brief address show dev eth1 .* to succeed\n/, stdout)
    assert.match(
      stdout,
      /keepalived\.ts:\d+:\d+\n( +\d+ \| .*\n)+ *> \d+ \| +yield\* spare\.waitUntilSucceeds\(holds\(shared\), /
    )
    assert.match(stdout, /0 passed, 1 failed/)
  })

  it("redis: the socket is open to strangers too", { timeout: 900_000 }, () => {
    const { status, stderr, stdout } = runChanged("nixos/redis.ts", [
      `ping\`, { user: "stranger" }`,
      `ping\`, { user: "member" }`
    ])
    assert.strictEqual(status, 1, stdout + stderr)
    assert.match(stdout, /machine: `redis-cli -s \S+ ping` succeeded, but was expected to fail\n +stdout:\n +PONG\n/)
  })
})
