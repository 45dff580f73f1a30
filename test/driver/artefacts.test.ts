import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Backend } from "../../src/backends/Backend.ts"
import * as Mock from "../../src/backends/mock/Mock.ts"
import { Driver } from "../../src/driver/Driver.ts"
import * as DriverLayer from "../../src/driver/DriverLayer.ts"
import * as Runner from "../../src/driver/Runner.ts"
import { type TestCase, test } from "../../src/driver/TestCase.ts"
import * as OutputFolder from "../../src/host/OutputFolder.ts"
import * as RunDirectory from "../../src/host/RunDirectory.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import * as TerminalReport from "../../src/report/TerminalReport.ts"
import { imageStore, offline } from "./support.ts"

const base = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

/** Machines on whose terminals is one letter: the first of their names. */
const mock = Mock.make({
  guests: ({ name }) => ({ commands: [[/vcsa/, `\u0001\u0001\u0000\u0000${name[0]}\u0007`]] })
})

describe("what a test leaves in the output folder", () => {
  it.live("is in a folder of its own, for tests that run at once and for those of one name in two scripts", () =>
    Effect.gen(function* () {
      const folder = yield* base
      const paths: Array<string> = []
      const leaving = (name: string, machine: string): TestCase =>
        test(name, { machines: { [machine]: offline() } }, (machines) =>
          Effect.map(machines[machine]!.dumpTtyContents(1, "login"), (path) => paths.push(path))
        )
      const output = Path.join(folder, "output")
      const results = yield* Runner.run(
        [leaving("first", "a"), leaving("second", "b"), { ...leaving("second", "c"), file: "other.ts" }],
        {
          output,
          concurrency: 3,
          snapshots: false
        }
      ).pipe(
        Effect.provideService(Backend, (yield* mock).backend),
        Effect.provideService(RunDirectory.RunDirectory, yield* RunDirectory.make({ base: folder })),
        Effect.provideService(ImageStore, imageStore)
      )
      assert.deepStrictEqual(
        results.map(({ status }) => status),
        ["passed", "passed", "passed"]
      )
      assert.deepStrictEqual(paths.map((path) => Fs.readFileSync(path, "utf8")).sort(), ["a\n", "b\n", "c\n"])
      for (const name of ["first", "second"]) assert.include(paths, Path.join(output, name, "login.txt"))
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.live("has a file of each machine that calls one alike, and the last of each", () =>
    Effect.gen(function* () {
      const folder = yield* base
      const output = Path.join(folder, "output")
      const written: Array<string> = []
      const machines = { a: offline(), b: offline(), c: offline() }
      const results = yield* Runner.run(
        [
          test("two", { machines }, ({ a, b, c }) =>
            Effect.forEach(
              [
                a.dumpTtyContents(1, "x"),
                b.dumpTtyContents(1, "x.txt"),
                a.dumpTtyContents(1, "x"),
                b.dumpTtyContents(1, "x"),
                a.dumpTtyContents(1, "in/x-c"),
                b.dumpTtyContents(1, "in/x"),
                c.dumpTtyContents(1, "in/x")
              ],
              (dump) => Effect.map(dump, (path) => written.push(Path.relative(output, path)))
            )
          )
        ],
        { output, snapshots: false }
      ).pipe(
        Effect.provideService(Backend, (yield* mock).backend),
        Effect.provideService(RunDirectory.RunDirectory, yield* RunDirectory.make({ base: folder })),
        Effect.provideService(ImageStore, imageStore)
      )
      assert.strictEqual(results[0]?.status, "passed")
      const names = ["x", "x-b", "x", "x-b", "in/x-c", "in/x", "in/x-c-2"]
      assert.deepStrictEqual(
        written,
        names.map((name) => `two/${name}.txt`)
      )
      const content = (path: string) => Fs.readFileSync(Path.join(output, path), "utf8")
      assert.deepStrictEqual(written.map(content), ["a\n", "b\n", "a\n", "b\n", "a\n", "b\n", "c\n"])
    }).pipe(Effect.provide(NodeServices.layer))
  )

  /** Where a driver outside a runner puts things. */
  const pathFrom = Effect.fnUntraced(function* (options: DriverLayer.DriverOptions) {
    const services = Layer.mergeAll(
      Layer.succeed(Backend, (yield* mock).backend),
      Layer.effect(RunDirectory.RunDirectory, RunDirectory.make({ base: yield* base })),
      Layer.succeed(ImageStore, imageStore)
    )
    const path = yield* Effect.gen(function* () {
      const machine = yield* (yield* Driver).machine("a", offline())
      return yield* machine.dumpTtyContents(1, "driver-layer/login")
    }).pipe(Effect.provide(Layer.provide(DriverLayer.make({ snapshots: false, ...options }), services)))
    Fs.rmSync(Path.dirname(path), { recursive: true })
    return path
  })

  it.live("is in the very folder that a layer was given, else in one of the driver's name", () =>
    Effect.gen(function* () {
      const folder = yield* base
      const inside = (...names: ReadonlyArray<string>) => Path.join(...names, "driver-layer", "login.txt")
      assert.strictEqual(yield* pathFrom({ name: "a suite", output: folder }), inside(folder))
      assert.strictEqual(yield* pathFrom({}), inside(Path.resolve("vmtest-output")))
      const named = yield* pathFrom({ name: "a/suite" })
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmdirSync(Path.dirname(Path.dirname(named)))))
      assert.match(
        Path.relative(Path.resolve("vmtest-output"), named),
        /^a_suite-[0-9a-f]{8}\/driver-layer\/login.txt$/
      )
    }).pipe(Effect.provide(NodeServices.layer))
  )
})

describe("what a report cuts", () => {
  const lines = Array.from({ length: 300 }, (_, line) => `line ${line}`).join("\n")
  const whole: Record<string, readonly [TestCase["body"], string]> = {
    "a long message": [() => Effect.fail(new Error(lines)), "failure-message.txt"],
    "a long text that is no error": [() => Effect.fail(lines), "failure-message.txt"],
    "one long line": [() => Effect.fail(`${"x".repeat(5000)}line 150${"x".repeat(5000)}`), "failure-message.txt"],
    "output of an error": [() => Effect.fail(Object.assign(new Error("no"), { stdout: lines })), "failure-stdout.txt"],
    "another error": [
      () =>
        Effect.andThen(
          Effect.addFinalizer(() => Effect.die(new Error(lines))),
          Effect.fail("no")
        ),
      "failure-another-error.txt"
    ],
    "output of another error": [
      () =>
        Effect.andThen(
          Effect.addFinalizer(() => Effect.die(Object.assign(new Error("late"), { stdout: lines }))),
          Effect.fail("no")
        ),
      "failure-another-error.txt"
    ],
    "a subtest that failed softly beside the test": [
      (_, driver) => Effect.andThen(driver.subtest("soft", Effect.fail(lines), { softFail: true }), Effect.fail("no")),
      "failure-subtest-soft-failed-too.txt"
    ],
    "a subtest whose failure the test handled": [
      (_, driver) => Effect.ignore(driver.subtest("handled", Effect.fail(lines))),
      "failure-message.txt"
    ]
  }
  for (const [what, [body, file]] of Object.entries(whole)) {
    it.live(`is whole in a file that the report names: ${what}`, () =>
      Effect.gen(function* () {
        const folder = yield* base
        const output = Path.join(folder, "output")
        const told: Array<string> = []
        const [result] = yield* Runner.run([{ ...test("long", {}, () => Effect.void), body }], { output }).pipe(
          Effect.provide(TerminalReport.layer({ colors: false })),
          Effect.provideService(
            Console.Console,
            Object.assign(Object.create(console), { log: told.push.bind(told), error: () => {} })
          ),
          Effect.provideService(Backend, (yield* mock).backend),
          Effect.provideService(RunDirectory.RunDirectory, yield* RunDirectory.make({ base: folder })),
          Effect.provideService(ImageStore, imageStore)
        )
        const [text = ""] = told
        assert.match(text, /left out/)
        assert.include(text, `(the whole text is in ${OutputFolder.shown(Path.join(output, "long", file))})`)
        assert.isBelow(text.length, 8000)
        const kept = Fs.readFileSync(Path.join(output, "long", file), "utf8")
        assert.include(kept, "line 150")
        assert.notInclude(kept, "left out")
        assert.strictEqual(result?.folder, Path.join(output, "long"))
      }).pipe(Effect.provide(NodeServices.layer))
    )
  }
})
