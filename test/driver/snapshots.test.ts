import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type { BackendService, ControlService, SavedMachine } from "../../src/backends/Backend.ts"
import * as Snapshot from "../../src/machine/Snapshot.ts"
import { guestOn, shellOf } from "../machine/support.ts"
import { temporaryFolder } from "./storeSupport.ts"
import { driverOf, offline } from "./support.ts"

const box = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const driver = yield* driverOf({ a: offline({ snapshot: false }) }, {}, { folder })
  yield* driver.begin
  return { driver, a: driver.machines.a! }
})

const able: BackendService = {
  name: "none",
  capabilities: new Set(["snapshots"]),
  timeScale: 1,
  fingerprint: Effect.succeed({}),
  start: () => Effect.die("no machines here")
}

/** It is long in becoming what it is after it was saved. */
const slowAfterSaving = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  let saved = false
  const driver = yield* driverOf(
    { a: offline({ snapshot: false }) },
    { guests: { a: { commands: [[/./, () => Effect.succeed({ delay: saved ? "1 hour" : 0 })]] } } },
    { folder }
  )
  yield* driver.begin
  const a = driver.machines.a!
  const snapshot = yield* a.snapshot("here")
  saved = true
  return { driver, a, snapshot }
})

describe("machine.restore", () => {
  it.live("goes back once for each that asks, and leaves one machine", () =>
    Effect.gen(function* () {
      const { a, driver } = yield* box
      const snapshot = yield* a.snapshot("here")
      yield* Effect.all([a.restore(snapshot), a.restore(snapshot), a.restore("here")], { concurrency: "unbounded" })
      assert.strictEqual(yield* a.succeed("true"), "")
      assert.strictEqual(driver.live(), 1)
      yield* a.crash()
      assert.strictEqual(driver.live(), 0)
    })
  )

  it.live("ends what is under way, and says that the test did", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const driver = yield* driverOf(
        { a: offline({ snapshot: false }) },
        { guests: { a: { commands: [["hang", { delay: "1 hour" }]] } } },
        { folder }
      )
      yield* driver.begin
      const a = driver.machines.a!
      yield* a.snapshot("here")
      const hanging = yield* Effect.forkChild(Effect.flip(a.succeed("hang")), { startImmediately: true })
      yield* Effect.sleep("50 millis")
      yield* a.restore("here")
      const error = yield* Fiber.join(hanging)
      assert.strictEqual(error._tag, "MachineDied")
      assert.include(error.message, "the test ended it, with crash() or restore()")
      assert.notInclude(error.message, "SIGKILL")
    })
  )

  it.live("refuses a snapshot whose name a later one has, and leaves the machine alone", () =>
    Effect.gen(function* () {
      const { a } = yield* box
      const first = yield* a.snapshot("here")
      yield* a.snapshot("here")
      for (const use of [a.restore(first), Effect.asVoid(a.fork({ from: first }))] as ReadonlyArray<
        Effect.Effect<void, Snapshot.RestoreError | Snapshot.ForkError>
      >) {
        const error = yield* Effect.flip(use)
        assert.strictEqual(error._tag, "NoSuchSnapshot")
        assert.include(error.message, "was replaced by a later one")
      }
      assert.isTrue(yield* a.isUp())
      yield* a.restore("here")
    })
  )
})

describe("machine.snapshot", () => {
  it.live("saves a guest once at a time, with what is run in it before and after that", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const ran: Array<string> = []
      const note = (name: string, delay: `${number} millis` = "0 millis", stdout = "") =>
        Effect.sync(() => {
          ran.push(name)
          return { delay, stdout }
        })
      const driver = yield* driverOf(
        { a: offline({ snapshot: false }) },
        {
          guests: {
            a: {
              commands: [
                [/EPOCHREALTIME/, () => note("prepare", "20 millis", `${Date.now() / 1000}`)],
                [/vm_renew/, () => note("clock", "100 millis")]
              ]
            }
          }
        },
        { folder }
      )
      yield* driver.begin
      const a = driver.machines.a!
      ran.length = 0
      yield* Effect.all([a.snapshot("one"), a.snapshot("two"), a.snapshot("three")], { concurrency: "unbounded" })
      assert.deepStrictEqual(ran, ["prepare", "clock", "prepare", "clock", "prepare", "clock"])
    })
  )
})

describe("a snapshot that cannot be", () => {
  it.live("put into the store is put into the folder of the run, until it is replaced", () =>
    Effect.gen(function* () {
      const folder = Path.join(yield* temporaryFolder, "file")
      Fs.writeFileSync(folder, "no folder")
      const { machines, service } = yield* driverOf({ a: offline({ snapshot: false }) }, {}, { folder })
      const { saved } = yield* machines.a!.snapshot("here")
      assert.isTrue(Fs.existsSync(saved.directory))
      yield* machines.a!.fork({ from: "here" })
      yield* service.fork(({ a }) => a!.succeed("true"))
      yield* machines.a!.snapshot("here")
      assert.isFalse(Fs.existsSync(saved.directory))
    })
  )

  it.live("says that a backend has none", () =>
    Effect.gen(function* () {
      const unable = yield* driverOf({ a: offline() }, { capabilities: [] })
      const plain = unable.machines.a!
      for (const use of [plain.snapshot(), plain.restore("x"), plain.fork()]) {
        const error = yield* Effect.flip(use as Effect.Effect<unknown, Snapshot.ForkError>)
        assert.deepInclude(error, { _tag: "Unsupported", capability: "snapshots" })
      }
      assert.isFalse(yield* plain.isUp())
    })
  )

  it.live("is not another machine's to go back to, but to go on from", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const both = { a: offline({ snapshot: false }), b: offline({ snapshot: false }) }
      const { begin, machines } = yield* driverOf(both, {}, { folder })
      yield* begin
      const { a, b } = machines
      const snapshot = yield* a!.snapshot("here")
      const other = yield* Effect.flip(b!.restore(snapshot))
      assert.deepInclude(other, { _tag: "InvalidArgument", argument: "snapshot", value: "here" })
      for (const use of [b!.restore("here"), b!.fork({ from: "here" })]) {
        const error = yield* Effect.flip(use as Effect.Effect<unknown, Snapshot.ForkError>)
        assert.deepInclude(error, { _tag: "NoSuchSnapshot", machine: "b", known: [] })
      }
      const taken = yield* Effect.flip(a!.fork({ name: "b" }))
      assert.strictEqual(taken._tag, "InvalidMachine")
      assert.isTrue(yield* a!.isUp())
      assert.isTrue(yield* b!.isUp())
    })
  )
})

/** Snapshots that are folders and nothing else; who goes on from one waits for `go`, and `there` says whether it was there then. */
const folders = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const go = yield* Latch.make()
  const there: Array<boolean> = []
  const save = (directory: string) => Effect.succeed({ directory })
  const { guest } = yield* guestOn(
    shellOf(() => Effect.succeed({ exitCode: 0, stdout: "", stderr: "" })),
    { backend: able, control: Effect.succeed({ save } as Partial<ControlService> as ControlService) }
  )
  const goOn = ({ directory }: SavedMachine) =>
    Effect.andThen(
      Effect.sync(() => there.push(Fs.existsSync(directory))),
      go.await
    )
  const snapshots = Snapshot.make(guest, {
    isPaused: Effect.succeed(false),
    folder: Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(folder, "snapshot-"))),
      (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
    ),
    restart: goOn,
    fork: ({ from }) => Effect.andThen(goOn(from), Effect.die("it is no machine"))
  })
  return { go, snapshots, there }
})

describe("going back to a snapshot", () => {
  it.live(
    "finds it where it is, also when its name is given to a later one meanwhile, and goes back once at a time",
    () =>
      Effect.gen(function* () {
        const { go, snapshots, there } = yield* folders
        const first = yield* snapshots.snapshot("here")
        const restoring = yield* Effect.forkChild(
          Effect.all([snapshots.restore(first), snapshots.restore("here")], { concurrency: 2 })
        )
        yield* Effect.sleep("20 millis")
        assert.deepStrictEqual(there, [true])
        const naming = yield* Effect.forkChild(snapshots.snapshot("here"))
        yield* Effect.sleep("20 millis")
        assert.isTrue(Fs.existsSync(first.saved.directory))
        yield* go.open
        yield* Fiber.join(restoring)
        assert.deepStrictEqual(there, [true, true])
        yield* Fiber.join(naming)
        assert.isFalse(Fs.existsSync(first.saved.directory))
        assert.strictEqual((yield* Effect.flip(snapshots.restore(first)))._tag, "NoSuchSnapshot")
      })
  )

  it.live("keeps it for a fork that goes on from it while its name is given to a later one", () =>
    Effect.gen(function* () {
      const { go, snapshots, there } = yield* folders
      const first = yield* snapshots.snapshot("here")
      const directory = first.saved.directory
      const forking = yield* Effect.forkChild(
        Effect.all([Effect.exit(snapshots.fork({ from: first })), Effect.exit(snapshots.fork({ from: "here" }))], {
          concurrency: 2
        })
      )
      yield* Effect.sleep("20 millis")
      yield* snapshots.snapshot("here")
      assert.deepStrictEqual(there, [true, true])
      assert.isTrue(Fs.existsSync(directory))
      assert.strictEqual((yield* Effect.flip(snapshots.fork({ from: first })))._tag, "NoSuchSnapshot")
      yield* go.open
      yield* Fiber.join(forking)
      assert.isFalse(Fs.existsSync(directory))
    })
  )

  it.live("ends when a polling condition breaks", () =>
    Effect.gen(function* () {
      const { a, driver, snapshot } = yield* slowAfterSaving
      yield* driver.service.pollingCondition("the light is on", Effect.delay(Effect.succeed(false), "50 millis"))
      const error = yield* Effect.flip(a.restore(snapshot))
      assert.strictEqual(error._tag, "PollingConditionFailed")
    }).pipe(Effect.timeout("10 seconds"))
  )
})
