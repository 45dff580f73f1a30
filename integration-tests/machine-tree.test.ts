import { randomBytes } from "node:crypto"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as ExitReason from "../src/actors/ExitReason.ts"
import * as Observer from "../src/actors/Observer.ts"
import * as Process from "../src/actors/Process.ts"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine as MachineOf } from "../src/machine/Machine.ts"
import { Machine, machines } from "../src/vitest.ts"

class Web extends Machine<Web>()("web", { image: Image.tiny(), memory: "768 MiB" }) {}

/** What kills find while it boots. */
class Late extends Machine<Late>()("late", {
  image: Image.tiny(),
  memory: "256 MiB",
  autoStart: false,
  snapshot: false
}) {}

/** The line of a process in a drawing: its depth, its name, its kind. */
interface Line {
  readonly depth: number
  readonly label: string
  readonly kind: string
}

/** The drawing under "One test, one tree": `│  └─ name   Kind: what it is`. */
const drawn = (): ReadonlyArray<Line> => {
  const text = readFileSync(fileURLToPath(new URL("../ARCHITECTURE.md", import.meta.url)), "utf8")
  const [, block = ""] = /## One test, one tree\n+```\n([\s\S]*?)```/.exec(text) ?? []
  return block
    .trimEnd()
    .split("\n")
    .map((line) => {
      const [, indent = "", label = "", kind = ""] = /^([│├└─ ]*)(\S+(?: \S+)*?) {2,}(\w+)/.exec(line) ?? []
      return { depth: indent.length / 3, label, kind }
    })
}

/** The processes of a driver, those of other machines than `web` left out. */
const running = Effect.gen(function* () {
  const { roots } = yield* Observer.snapshot
  const lines: Array<Line> = []
  const walk = (node: Observer.Node, depth: number): void => {
    if (node.label === "late") return
    // How many lanes there are depends on how many commands ran at once.
    const lane = /^lane \d+$/.test(node.label ?? "")
    if (lane && lines.some(({ label }) => label === "lane 1")) return
    lines.push({ depth, label: lane ? "lane 1" : (node.label ?? ""), kind: node.kind })
    for (const child of node.children) walk(child, depth + 1)
  }
  for (const root of roots) if (root.label === "Driver") walk(root, 0)
  return lines
})

/** The process with this label in the subtree of a machine. */
const processOf = (machine: string, label: string) =>
  Effect.gen(function* () {
    const { roots } = yield* Observer.snapshot
    const inside = (nodes: ReadonlyArray<Observer.Node>, found: boolean): Observer.Node | undefined => {
      for (const node of nodes) {
        if (found && node.label === label) return node
        const below = inside(node.children, found || node.label === machine)
        if (below !== undefined) return below
      }
      return undefined
    }
    const node = inside(roots, false)
    if (node === undefined) return yield* Effect.die(new Error(`no process ${label} of ${machine}`))
    return node.pid
  })

const kill = (machine: string, label: string) =>
  Effect.flatMap(processOf(machine, label), (pid) => Process.exit(pid, ExitReason.kill))

/** A file of the host that takes some seconds to copy, also on a fast machine. */
const large = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = mkdtempSync(join(tmpdir(), "vmtest-tree-"))
    writeFileSync(join(folder, "large"), randomBytes(160 * 1024 * 1024))
    return folder
  }),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

type Ending = Exit.Exit<unknown, { readonly _tag: string; readonly message: string }>

/** What is under way on a machine when one of its processes is killed, and lets it come true afterwards. */
const underWay = (web: MachineOf, folder: string) => ({
  command: { run: web.execute("sleep 2; echo survived"), allow: Effect.void },
  wait: { run: web.waitForFile("/tmp/there"), allow: Effect.ignore(web.execute("touch /tmp/there")) },
  copy: { run: web.copyFromHost(join(folder, "large"), "/tmp/large"), allow: Effect.void },
  event: {
    run: web.waitForQmpEvent(Schema.Struct({ event: Schema.Literal("STOP") }), { timeout: "1 minute" }),
    allow: Effect.ignore(Effect.andThen(web.qmp("stop"), web.qmp("cont")))
  }
})

/** Runs all of that, kills a process in the middle, and gives how each ended, those that failed within the second after the kill. */
const endings = (web: MachineOf, label: string) =>
  Effect.gen(function* () {
    const folder = yield* large
    yield* web.succeed("rm -f /tmp/there /tmp/large")
    const started = Object.entries(underWay(web, folder))
    const fibers = yield* Effect.forEach(started, ([name, { run }]) =>
      Effect.map(Effect.forkChild(run, { startImmediately: true }), (fiber) => [name, fiber] as const)
    )
    yield* Effect.sleep("700 millis")
    yield* kill("web", label)
    yield* Effect.sleep("1 second")
    const early = fibers.flatMap(([name, fiber]) => (Exit.isExit(fiber.pollUnsafe()) ? [name] : []))
    for (const [, { allow }] of started) yield* allow
    const ends: Record<string, string> = {}
    for (const [name, fiber] of fibers) {
      const exit: Ending = yield* Fiber.await(fiber)
      ends[name] = Exit.isSuccess(exit) ? "survived" : ((yield* Effect.flip(exit))._tag ?? "")
      if (Exit.isFailure(exit)) assert.include(early, name, `${name} failed later than a second after the kill`)
    }
    return ends
  }).pipe(Effect.scoped)

machines(Web, Late)("the tree of a real machine", (it) => {
  it.effect("is the one that ARCHITECTURE.md draws", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.succeed("true")
      const expected = drawn().filter(({ label }) => label !== "Script")
      assert.isAbove(expected.length, 8)
      assert.deepStrictEqual(yield* running, expected)
    })
  )

  for (const label of ["Control", "Machine"]) {
    it.effect(`keeps commands, waits, copies and events when its ${label} is killed`, () =>
      Effect.gen(function* () {
        const web = yield* Web
        const before = yield* processOf("web", label)
        assert.deepStrictEqual(yield* endings(web, label), {
          command: "survived",
          wait: "survived",
          copy: "survived",
          event: "survived"
        })
        assert.notStrictEqual(yield* processOf("web", label), before)
        assert.strictEqual(yield* web.succeed("echo here"), "here\n")
        assert.isTrue(yield* web.isUp())
      })
    )
  }

  it.effect("fails what its guest was doing within a second when its Shells are killed, and then works again", () =>
    Effect.gen(function* () {
      const web = yield* Web
      assert.deepStrictEqual(yield* endings(web, "Shells"), {
        command: "ShellLost",
        wait: "ShellLost",
        copy: "ShellLost",
        event: "survived"
      })
      assert.strictEqual(yield* web.succeed("hostname"), "web\n")
    })
  )

  it.effect("loses no more than one command when a lane is killed, and has as many lanes again", () =>
    Effect.gen(function* () {
      const web = yield* Web
      const commands = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 8 }, (_, index) => index),
          (index) => Effect.exit(web.succeed(`sleep 2; echo ${index}`)),
          { concurrency: "unbounded" }
        ),
        { startImmediately: true }
      )
      yield* Effect.sleep("1 second")
      yield* kill("web", "lane 1")
      const ends = yield* Fiber.join(commands)
      const lost = ends.filter(Exit.isFailure)
      assert.isAtMost(lost.length, 1)
      for (const exit of lost) assert.strictEqual((yield* Effect.flip(exit))._tag, "ShellLost")
      const again = yield* Effect.forEach(ends, (_, index) => web.succeed(`echo ${index}`), {
        concurrency: "unbounded"
      })
      assert.lengthOf(again, 8)
    })
  )

  for (const label of ["Control", "Shells", "Machine"]) {
    it.effect(`boots although its ${label} is killed meanwhile`, () =>
      Effect.gen(function* () {
        const late = yield* Late
        const starting = yield* Effect.forkChild(late.start(), { startImmediately: true })
        yield* Effect.sleep("700 millis")
        yield* kill("late", label)
        yield* Fiber.join(starting)
        assert.strictEqual(yield* late.succeed("hostname"), "late\n")
        yield* late.crash()
      })
    )
  }

  it.effect("fails everything within a second when its Hypervisor is killed, and can be started again", () =>
    Effect.gen(function* () {
      const late = yield* Late
      yield* late.start()
      const waiting = yield* Effect.forkChild(
        Effect.all([Effect.flip(late.succeed("sleep 60")), Effect.flip(late.waitForFile("/never"))], {
          concurrency: 2
        }),
        { startImmediately: true }
      )
      yield* Effect.sleep("500 millis")
      yield* kill("late", "Hypervisor")
      const errors = yield* Effect.timeout(Fiber.join(waiting), "1 second")
      assert.deepStrictEqual(
        errors.map(({ _tag }) => _tag),
        ["MachineDied", "MachineDied"]
      )
      yield* late.start()
      yield* late.succeed("true")
      yield* late.crash()
    })
  )
})

it.live("a switch that is killed fails the test within a second, with its name", () =>
  Effect.gen(function* () {
    const failure = yield* Effect.gen(function* () {
      const driver = yield* Driver
      const one = yield* driver.machine("one", { image: Image.tiny(), memory: "256 MiB" })
      yield* one.succeed("true")
      const waiting = yield* Effect.forkChild(Effect.flip(one.succeed("sleep 60")), { startImmediately: true })
      yield* Effect.sleep("500 millis")
      yield* kill("Network", "VLAN 1")
      return yield* Effect.timeout(Fiber.join(waiting), "1 second")
    }).pipe(Effect.provide(DriverLayer.layer({ name: "switch" })), Effect.scoped)
    assert.strictEqual(failure._tag, "PollingConditionFailed")
    assert.include(failure.message, "VLAN 1")
  })
)
