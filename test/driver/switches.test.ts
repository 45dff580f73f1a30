import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as Observer from "../../src/actors/Observer.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Report from "../../src/actors/Report.ts"
import * as DriverTree from "../../src/driver/internal/driverTree.ts"
import * as Image from "../../src/images/Image.ts"
import { driverOf } from "./support.ts"

let base = ""

beforeEach(() => {
  base = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-"))
})

afterEach(() => Fs.rmSync(base, { recursive: true, force: true }))

/** Crashes the process of a label so often that its supervisor gives it up. */
const crashForGood = (label: string) =>
  Effect.gen(function* () {
    for (let crashes = 0; crashes < 20; crashes += 1) {
      const { processes } = yield* Observer.snapshot
      const pid = processes.find((process) => process.label === label)?.pid
      if (pid === undefined) return
      yield* Process.exit(pid, ExitReason.custom("boom"))
      yield* Process.awaitExit(pid)
      yield* Effect.sleep("10 millis")
    }
  })

/** Who is whose child. */
const picture = (nodes: ReadonlyArray<Observer.Node>, indent = ""): ReadonlyArray<string> =>
  nodes.flatMap(({ children, kind, label }) => [`${indent}${label} (${kind})`, ...picture(children, `${indent}  `)])

describe("the tree of a test", () => {
  it.live("is the one that the documentation draws", () =>
    ActorSystem.scoped(
      Effect.gen(function* () {
        const { machines, script } = yield* driverOf({
          a: { image: Image.tiny(), vlans: [1, 2] },
          b: { image: Image.tiny(), vlans: [2] }
        })
        const seen = yield* script(
          Effect.gen(function* () {
            yield* machines.a!.start()
            yield* machines.b!.start()
            return yield* Observer.snapshot
          })
        )
        assert.deepStrictEqual(picture(seen.roots), [
          "Driver (Supervisor)",
          "  Network (DynamicSupervisor)",
          ...[1, 2].flatMap((vlan) => [
            `    VLAN ${vlan} (Supervisor)`,
            "      switch (process)",
            "      cables (DynamicSupervisor)"
          ]),
          "  Machines (DynamicSupervisor)",
          ...["a", "b"].flatMap((name) => [
            `    ${name} (Supervisor)`,
            "      Machine (GenStatem)",
            "      Boot (Supervisor)",
            "        Hypervisor (process)",
            "        Control (process)",
            "        Shells (process)"
          ]),
          "  Script (Task)"
        ])
      })
    )
  )
})

describe("the reports of a test's tree", () => {
  /** What is logged, and what a function is told, of a switch that crashes. */
  const reportsOf = (reporting?: Report.Reporting) =>
    Effect.suspend(() => {
      const lines: Array<unknown> = []
      const body = ActorSystem.scoped(
        Effect.gen(function* () {
          const tree = yield* DriverTree.make(base)
          yield* tree.vlan(1)
          yield* crashForGood("switch")
          yield* Effect.sleep("10 millis")
        })
      )
      return (reporting === undefined ? body : Effect.provideService(body, Report.Reports, reporting)).pipe(
        Effect.provide(Logger.layer([Logger.make(({ message }) => lines.push(message))])),
        Effect.as(lines)
      )
    })

  it.live("are not logged, because the test tells what happened, unless the program asks for them", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* reportsOf(), [])
      const told: Array<string> = []
      yield* reportsOf((report) => Effect.sync(() => told.push(Report.format(report))))
      assert.include(told.join("\n"), 'child "switch"')
      assert.include(told.at(-1), "ended too often")
    })
  )
})

describe("a switch that ends unasked", () => {
  it.live("is started again; one that crashes over and over fails the script", () =>
    ActorSystem.scoped(
      Effect.gen(function* () {
        const tree = yield* DriverTree.make(base)
        yield* tree.vlan(1)
        let cleaned = false
        const waiting = Effect.ensuring(
          Effect.andThen(crashForGood("switch"), Effect.never),
          Effect.sync(() => (cleaned = true))
        )
        const error = yield* Effect.flip(tree.script(waiting))
        assert.strictEqual(error._tag, "VlanFailed")
        assert.strictEqual(error.vlan, 1)
        assert.include(error.message, "VLAN 1: its switch kept crashing")
        assert.isTrue(cleaned)
      })
    )
  )

  it.live("fails whatever uses a machine, then and later, though there is no script that could fail", () =>
    ActorSystem.scoped(
      Effect.gen(function* () {
        const { machines } = yield* driverOf(
          { a: { image: Image.tiny(), vlans: [1] } },
          { guests: { a: { commands: [["hang", { delay: "1 hour" }]] } } }
        )
        yield* machines.a!.start()
        const waiting = yield* Effect.forkChild(Effect.flip(machines.a!.succeed("hang")), { startImmediately: true })
        yield* crashForGood("switch")
        for (const error of [yield* Fiber.join(waiting), yield* Effect.flip(machines.a!.waitForFile("/x"))]) {
          assert.strictEqual(error._tag, "PollingConditionFailed")
          assert.include(error.message, '"VLAN 1 is up" no longer holds: VLAN 1: its switch kept crashing')
        }
      })
    )
  )

  it.live("is not one that ends with its tree", () =>
    Effect.gen(function* () {
      const value = yield* Effect.scoped(
        Effect.gen(function* () {
          const tree = yield* DriverTree.make(base)
          yield* tree.vlan(1)
          return yield* tree.script(Effect.succeed(42))
        })
      )
      assert.strictEqual(value, 42)
    })
  )
})
