import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Backend } from "../../src/backends/Backend.ts"
import * as Mock from "../../src/backends/mock/Mock.ts"
import { folderName } from "../../src/driver/internal/keepLogs.ts"
import { Reporter } from "../../src/driver/RunEvent.ts"
import * as Runner from "../../src/driver/Runner.ts"
import { test } from "../../src/driver/TestCase.ts"
import * as RunDirectory from "../../src/host/RunDirectory.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import { imageStore, offline } from "./support.ts"

/** Runs a test that fails and one that passes, each with two machines and a log of one; gives what the output folder has. */
const outputOf = (keepLogs: boolean, meanwhile: (folder: string) => void = () => undefined) =>
  Effect.gen(function* () {
    const base = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(base, { recursive: true, force: true })))
    const mock = yield* Mock.make()
    const folders = yield* RunDirectory.make({ base })
    const output = Path.join(base, "output")
    const logging = (prefix: string) =>
      Effect.gen(function* () {
        const folder = yield* folders.folder(`${prefix}-late`)
        Fs.writeFileSync(Path.join(folder, "console.log"), "Linux version\n")
        Fs.writeFileSync(Path.join(folder, "qemu.log"), "")
        for (const name of ["firecracker-metrics.log", "disk1"]) Fs.writeFileSync(Path.join(folder, name), "x")
        Fs.mkdirSync(Path.join(folder, "folder.log"))
      })
    const machines = { silent: offline() }
    const results = yield* Runner.run(
      [
        test("a/b fails", { machines }, (_, driver) =>
          Effect.gen(function* () {
            yield* driver.machine("late", offline())
            yield* logging("1")
            meanwhile(Path.join(output, "a_b fails-c7a00da6"))
            return yield* Effect.fail("no")
          })
        ),
        test("passes", { machines }, (_, driver) => Effect.andThen(driver.machine("late", offline()), logging("2")))
      ],
      { output, evidence: keepLogs, snapshots: false }
    ).pipe(
      Effect.provideService(Backend, mock.backend),
      Effect.provideService(RunDirectory.RunDirectory, folders),
      Effect.provideService(ImageStore, imageStore)
    )
    const kept = results.map(({ folder }) => folder)
    if (!Fs.existsSync(output)) {
      assert.deepStrictEqual(kept, [undefined, undefined])
      return []
    }
    assert.deepStrictEqual(kept, [Path.join(output, "a_b fails-c7a00da6"), undefined])
    const files = Fs.readdirSync(output, { recursive: true, encoding: "utf8" })
    return files.filter((file) => file.endsWith(".log")).sort()
  }).pipe(Effect.provide(NodeServices.layer))

describe("the logs of machines", () => {
  it.effect("are kept of a test that failed", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* outputOf(true), [
        "a_b fails-c7a00da6/late/console.log",
        "a_b fails-c7a00da6/late/firecracker-metrics.log",
        "a_b fails-c7a00da6/late/qemu.log"
      ])
    })
  )

  it.effect("are kept in the place of links that a copy of a guest's tree left there", () =>
    Effect.gen(function* () {
      const mine = Path.join(Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-")), "mine")
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(Path.dirname(mine), { recursive: true })))
      Fs.writeFileSync(mine, "mine")
      yield* outputOf(true, (folder) => {
        Fs.mkdirSync(Path.join(folder, "late"), { recursive: true })
        Fs.symlinkSync(mine, Path.join(folder, "late", "console.log"))
      })
      assert.strictEqual(Fs.readFileSync(mine, "utf8"), "mine")
    })
  )

  it("are kept in a folder for each test, however alike their names are", () => {
    const long = "the database keeps every row over a failover of the primary"
    const names = ["plain", "a/b", "a:b", "a_b", `${long} (asynchronous)`, `${long} (synchronous)`, "", ".", "_"]
    const folders = [...names.map((name) => folderName(name)), folderName("plain", 2), folderName("plain", 3)]
    assert.strictEqual(new Set(folders).size, folders.length)
    assert.deepStrictEqual([folderName("plain"), folderName("a_b")], ["plain", "a_b"])
    for (const folder of folders) assert.match(folder, /^[^./ ][^/]{0,59}$/)
  })

  it.live(
    "have the journals of guests beside them; one that does not answer costs ten seconds at most, and a line",
    () =>
      Effect.gen(function* () {
        const base = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-"))
        yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(base, { recursive: true, force: true })))
        const mock = yield* Mock.make({
          guests: {
            web: { commands: [[/journalctl/, "Nov 30 web sshd[1]: started\n"]] },
            hung: { commands: [[/journalctl/, { delay: "1 day" }]] },
            dead: { commands: [["die", { ends: { exitCode: 1 } }]] }
          }
        })
        const lines: Array<string> = []
        const machines = { web: offline(), hung: offline(), dead: offline(), never: offline({ autoStart: false }) }
        const started = yield* Clock.currentTimeMillis
        const [result] = yield* Runner.run(
          [
            test("fails", { machines }, ({ dead }) =>
              Effect.andThen(Effect.exit(dead.execute("die")), Effect.fail("no"))
            )
          ],
          { output: base, snapshots: false }
        ).pipe(
          Effect.provideService(Backend, mock.backend),
          Effect.provideService(RunDirectory.RunDirectory, yield* RunDirectory.make({ base })),
          Effect.provideService(ImageStore, imageStore),
          Effect.provideService(Reporter, (event) =>
            Effect.sync(() => void (event._tag === "Log" && lines.push(event.line)))
          )
        )
        assert.isBelow((yield* Clock.currentTimeMillis) - started, 20_000)
        assert.deepStrictEqual(lines, ["could not get the journal of hung: timed out after 10s"])
        assert.strictEqual(
          Fs.readFileSync(Path.join(base, "fails", "web", "journal.log"), "utf8"),
          "Nov 30 web sshd[1]: started\n"
        )
        assert.deepStrictEqual(
          result?.machines.map(({ name, state }) => `${name} ${state}`),
          ["dead crashed", "hung ready", "never stopped", "web ready"]
        )
        assert.strictEqual(result?.failure?.message, "no")
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.effect("are not kept when asked not to", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* outputOf(false), [])
    })
  )
})
