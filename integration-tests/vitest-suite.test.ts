import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

const suite = `import { Effect } from "effect"
import { Image } from "vmtest"
import { Machine, machines } from "vmtest/vitest"

class Web extends Machine<Web>()("web", { image: Image.tiny() }) {}

machines(Web)("the web server", (it) => {
  it.effect("fails", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.succeed("echo hello; false") // the failing line
    })
  )
  it.effect("waits", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.waitForFile("/nope", { timeout: "6 seconds" }) // the waiting line
    })
  )
  it.effect("has a time of its own", () => Effect.never, 100)
})
`

const config = `import { defineConfig } from "vitest/config"
const alias = [
  { find: /^vmtest$/, replacement: ${JSON.stringify(join(root, "src/index.ts"))} },
  { find: /^vmtest\\/vitest$/, replacement: ${JSON.stringify(join(root, "src/vitest.ts"))} }
]
export default defineConfig({ resolve: { alias }, test: { include: ["*.test.ts"] } })
`

/** In the checkout, so that packages are found as a project finds them. */
let project = ""
let said = ""

beforeAll(() => {
  project = mkdtempSync(join(root, "integration-tests", "suite-"))
  writeFileSync(join(project, "web.test.ts"), suite)
  writeFileSync(join(project, "vitest.config.ts"), config)
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs")
  const env = { ...process.env, NO_COLOR: "1" }
  const { stderr, stdout } = spawnSync(process.execPath, [vitest, "run", "--root", project], {
    cwd: project,
    env,
    encoding: "utf8"
  })
  said = stdout + stderr
})

afterAll(() => rmSync(project, { recursive: true, force: true }))

describe("a suite with vitest's own settings", () => {
  it("shows the line of the test whose method failed", () => {
    assert.match(said, /CommandFailed: web: `echo hello; false` failed with exit code 1/)
    assert.match(said, /❯ web\.test\.ts:11:\d+\n[\s\S]*11\|.*\/\/ the failing line/)
  })

  it("lets a wait say what it saw last, after more than vitest's 5 seconds", () => {
    assert.match(said, /WaitTimeout: web: waited \S+.* for the file \/nope to exist\n/)
    assert.match(said, /❯ web\.test\.ts:17:\d+/)
    assert.notMatch(said, /timed out in 5000ms/)
  })

  it("keeps to the time of a test that has one", () => assert.match(said, /timed out in 100ms/))
})
