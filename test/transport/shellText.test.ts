import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import { quote } from "../../src/host/Quote.ts"
import { agent } from "../../src/transport/internal/agent.ts"
import { agentConsole } from "../../src/transport/internal/agentConsole.ts"
import { dedent, escape } from "../../src/transport/internal/shellText.ts"

const shell = (script: string) => spawnSync("sh", ["-c", script]).stdout

describe("shell text", () => {
  it("escaped bytes are one printable line that printf gives back", () => {
    const bytes = Uint8Array.from({ length: 1024 }, (_, i) => (i * 7 + (i >> 8)) & 0xff)
    const line = escape(bytes)
    assert.match(line, /^[ -~]*$/)
    assert.deepStrictEqual(new Uint8Array(shell(`printf %b ${quote(line)}`)), bytes)
  })

  it("common indentation goes, blank lines do not count", () => {
    assert.strictEqual(dedent("\n    a\n\n      b\n    c\n  "), "a\n\n  b\nc")
    assert.strictEqual(dedent("a\n  b"), "a\n  b")
    assert.strictEqual(dedent("\ta\n\t\tb"), "a\n\tb")
    assert.strictEqual(dedent("  \n \n"), "")
  })

  it("the agent is shell text that bash and sh accept, and no long one", () => {
    for (const program of ["sh", "bash"]) {
      for (const input of [agent, agentConsole]) {
        const { status, stderr } = spawnSync(program, ["-n"], { input })
        assert.strictEqual(status, 0, stderr.toString())
      }
    }
    assert.isBelow(agent.length, 12_288)
  })
})
