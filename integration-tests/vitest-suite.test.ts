import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

const suite = `import { Effect } from "effect"
import { Image } from "vmtest"
import { Driver } from "vmtest"
import { assert } from "@effect/vitest"
import { forks, Machine, machines } from "vmtest/vitest"

class Web extends Machine<Web>()("web", { image: Image.tiny() }) {}
class Client extends Machine<Client>()("client", { image: Image.tiny() }) {}

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

forks(Web, Client)("each on forks", (it) => {
  const alone = Effect.gen(function* () {
    const web = yield* Web
    assert.strictEqual(yield* web.succeed("cat /prepared; ls /left 2>/dev/null || true"), "once\\n")
    yield* web.succeed("touch /left")
    const client = yield* Client
    assert.match(yield* client.succeed("ping -c 1 web"), / 0% packet loss/)
    assert.strictEqual((yield* Driver).machines.web, web)
  })
  it.effect("finds the machines as they were prepared", () => alone, { concurrent: true })
  it.effect("finds nothing of another test", () => alone, { concurrent: true })
  it.effect.each([1, 2])("takes the case %s", (n) => Effect.flatMap(Web, (web) => web.succeed("test -e /prepared && test " + n + " -lt 3")))
  it.effect("fails on its fork", () => Effect.flatMap(Web, (web) => web.succeed("echo said > /dev/console; exit 3")))
}, { ready: Effect.flatMap(Web, (web) => web.succeed("echo once > /prepared")) })
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
    assert.match(said, /❯ web\.test\.ts:14:\d+\n[\s\S]*14\|.*\/\/ the failing line/)
  })

  it("lets a wait say what it saw last, after more than vitest's 5 seconds", () => {
    assert.match(said, /WaitTimeout: web: waited \S+.* for the file \/nope to exist\n/)
    assert.match(said, /❯ web\.test\.ts:20:\d+/)
    assert.notMatch(said, /timed out in 5000ms/)
  })

  it("keeps to the time of a test that has one", () => assert.match(said, /timed out in 100ms/))

  it("keeps what the machines of a failed test said, and names the folder in its error", () => {
    for (const folder of ["the web server/fails", "the web server/waits", "the web server/has a time of its own"]) {
      assert.include(said, `what the machines said is in vmtest-output/${folder}/`)
      assert.isTrue(existsSync(join(project, "vmtest-output", folder, "web", "screen.png")))
    }
  })
})

describe("a block of forks", () => {
  it("gives each test the machines as they were prepared, and none what another has left", () => {
    assert.match(said, /Tests +4 failed \| 4 passed/)
    assert.include(said, "CommandFailed: web: `echo said > /dev/console; exit 3` failed with exit code 3")
  })

  it("keeps what the forks of a failed test said", () => {
    const folder = "vmtest-output/each on forks/fails on its fork"
    assert.include(said, `what the machines said is in ${folder}/`)
    for (const machine of ["web", "client"]) assert.isTrue(existsSync(join(project, folder, machine, "screen.png")))
    assert.include(readFileSync(join(project, folder, "web", "console.log"), "utf8"), "said")
    assert.isFalse(existsSync(join(project, "vmtest-output/each on forks/finds nothing of another test")))
  })
})
