import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as CommandLine from "../../src/cli/CommandLine.ts"
import * as ConfigFile from "../../src/cli/ConfigFile.ts"
import * as Settings from "../../src/cli/internal/settings.ts"

const configured = (body: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "vmtest-"))
      mkdirSync(join(folder, "deep", "er"), { recursive: true })
      writeFileSync(
        join(folder, "vmtest.config.ts"),
        `import { defineConfig, Image } from "vmtest"\nexport default defineConfig(${body})\n`
      )
      return folder
    }),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

const settingsOf = (read: ConfigFile.Read, ...words: ReadonlyArray<string>) =>
  Effect.map(CommandLine.parse(["run", ...words]), (invocation) => {
    assert(typeof invocation !== "number" && invocation._tag === "Run")
    return Settings.decide(invocation, read)
  })

describe("vmtest.config.ts", () => {
  it.live("is the nearest one upwards, and has paths from its own folder", () =>
    Effect.gen(function* () {
      const folder = yield* configured(
        '{ tests: ["x"], output: "out", retries: 2, timeout: "1 minute", machines: { web: { image: Image.tiny() } } }'
      )
      assert.strictEqual(ConfigFile.nearest(join(folder, "deep", "er")), join(folder, "vmtest.config.ts"))
      const read = yield* ConfigFile.read(join(folder, "vmtest.config.ts"))
      assert.deepInclude(read.config, { output: join(folder, "out"), retries: 2, timeout: "1 minute" })
      assert.deepStrictEqual(Object.keys(read.config.machines ?? {}), ["web"])
      assert.strictEqual(read.folder, folder)
      const settings = yield* settingsOf(read)
      assert.deepInclude(settings, { retries: 2, usualTimeout: 60_000, timeout: undefined, jobs: "auto" })
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("gives way to the command line", () =>
    Effect.gen(function* () {
      const folder = yield* configured(
        '{ retries: 2, jobs: 4, failFast: true, quiet: true, snapshot: false, output: "out", logLevel: "debug", accel: "tcg", seed: 1 }'
      )
      const read = yield* ConfigFile.read(join(folder, "vmtest.config.ts"))
      const words = ["--retries", "0", "-j", "1", "--no-fail-fast", "--no-quiet", "--snapshot", "-o", "there"]
      const settings = yield* settingsOf(read, ...words, "--log-level", "error", "--accel", "auto", "--seed", "2")
      assert.deepInclude(settings, {
        ...{ retries: 0, jobs: 1, failFast: false, logLevel: "error", accel: "auto", seed: 2 },
        options: {
          ...{ keepState: false, output: "there", verbose: false, console: undefined, quiet: false, snapshot: true },
          backend: undefined
        }
      })
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  for (const [body, says] of [
    ["{ retires: 1 }", 'unknown option "retires"; did you mean "retries"?'],
    ["{ workers: 1 }", 'unknown option "workers"; did you mean "jobs"?'],
    ["{ testMatch: [] }", 'unknown option "testMatch"; did you mean "tests"?'],
    ["{ jobs: 0 }", 'jobs must be a whole number of at least 1, or "auto", got 0'],
    ['{ timeout: "soon" }', "timeout must be a duration above zero"],
    ["{ machines: [] }", "machines must be an object of names and declarations"],
    ['{ tests: "x" }', "tests must be an array of strings"],
    ["3 as never", "the config must be an object of settings"]
  ] as const) {
    it.live(`${body} is refused, with what was meant`, () =>
      Effect.gen(function* () {
        const folder = yield* configured(body)
        const error = yield* Effect.flip(ConfigFile.read(join(folder, "vmtest.config.ts")))
        assert.strictEqual(error._tag, "InvalidConfig")
        assert.include(error.message, "vmtest.config.ts: ")
        assert.include(error.message, says)
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
    )
  }

  it.live("has machines that are checked, whether a test names them or not", () =>
    Effect.gen(function* () {
      const problem = (machines: string) =>
        Effect.gen(function* () {
          const folder = yield* configured(`{\n  machines: {\n    web: ${machines}\n  }\n}`)
          const read = ConfigFile.read(join(folder, "vmtest.config.ts"))
          return yield* Effect.match(read, { onFailure: ({ message }) => message, onSuccess: () => "" })
        })
      assert.match(
        yield* problem("{ image: Image.tiny(), cpus: 0 }"),
        /vmtest\.config\.ts:4:5: web: cpus must be .*, got 0\n {2}4 │ {5}web: \{ image: Image\.tiny\(\), cpus: 0 \}\n {4}│ {5}\^$/
      )
      assert.include(
        yield* problem("{ image: Image.tiny(), cpu: 1 } as object as never"),
        'unknown option "cpu"; did you mean "cpus"?'
      )
      assert.include(yield* problem("3 as never"), "web: the declaration must be")
      // What a test decides that uses it, or the host.
      assert.strictEqual(yield* problem('{ image: Image.tiny(), vlans: ["lan"], memory: "4 TiB" }'), "")
      assert.include(yield* problem('{ image: Image.tiny(), vlans: ["lan"], cpus: 0 }'), "cpus must be")
      assert.include(yield* problem("{ image: Image.tiny(), vlans: [300] }"), "vlans[0] must be a number from 1 to 254")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("that does not exist is an error where it was named", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(ConfigFile.read("/nowhere/vmtest.config.ts"))
      assert.match(error.message, /^(\.\.\/)*nowhere\/vmtest\.config\.ts: the config file does not exist$/)
      const folder = yield* Effect.flip(ConfigFile.read("/tmp"))
      assert.match(folder.message, /tmp: is a folder, not a config file$/)
    }).pipe(Effect.provide(NodeServices.layer))
  )
})
