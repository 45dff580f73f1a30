/** When the command uses colours. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { needs } from "../needs.ts"

const launcher = fileURLToPath(new URL("../../src/cli/Launcher.ts", import.meta.url))
const hasScript = spawnSync("script", ["--version"]).status === 0
const place = mkdtempSync(join(tmpdir(), "vmtest-colours-"))

beforeAll(() =>
  writeFileSync(
    join(place, "a.vmtest.ts"),
    `import { Effect } from "effect"
import { test } from "vmtest"
export default [test("passes", {}, () => Effect.void), test("fails", {}, () => Effect.fail("no"))]
`
  )
)
afterAll(() => rmSync(place, { recursive: true, force: true }))

type Variables = Readonly<Record<string, string>>

/** What the command prints for people, with these variables. */
const printed = (variables: Variables, onTerminal: boolean): string => {
  const { CI: _, FORCE_COLOR: __, NODE_DISABLE_COLORS: ___, NO_COLOR: ____, ...others } = process.env
  const words = [process.execPath, "--disable-warning=ExperimentalWarning", launcher, "run", "a.vmtest.ts"]
  const [program = "", ...args] = onTerminal ? ["script", "-qec", words.join(" "), "/dev/null"] : words
  const env = { ...others, TERM: "xterm-256color", TMPDIR: place, XDG_CACHE_HOME: join(place, "cache"), ...variables }
  const { stderr, stdout } = spawnSync(program, args, { cwd: place, env, encoding: "utf8", timeout: 60_000 })
  assert.include(stdout, "1 passed, 1 failed")
  return stdout + stderr
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: the colours are what is looked for
const colour = /\u001b\[3[1-6]m/

describe("colours", () => {
  for (const [variables, isColoured] of [
    [{}, false],
    [{ FORCE_COLOR: "1" }, true],
    [{ FORCE_COLOR: "0" }, false],
    [{ NO_COLOR: "1" }, false]
  ] as const) {
    it(`are ${isColoured ? "" : "not "}used in pipes with ${JSON.stringify(variables)}`, () => {
      assert.strictEqual(colour.test(printed(variables, false)), isColoured)
    })
  }

  describe("on a terminal", () => {
    needs(hasScript, "script is not installed (Debian: bsdutils)")
    for (const [variables, isColoured] of [
      [{}, true],
      [{ NO_COLOR: "1" }, false],
      [{ FORCE_COLOR: "0" }, false],
      [{ TERM: "dumb" }, false]
    ] as const) {
      it(`are ${isColoured ? "" : "not "}used with ${JSON.stringify(variables)}`, () => {
        assert.strictEqual(colour.test(printed(variables, true)), isColoured)
      })
    }
  })
})
