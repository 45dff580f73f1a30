/** The processes of the lanes: where they are in the tree, and what the end of one does to the others. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as Observer from "../../src/actors/Observer.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Report from "../../src/actors/Report.ts"
import * as Shell from "../../src/transport/Shell.ts"
import { endless, play, type Script } from "./guest.ts"

const open = Effect.fnUntraced(function* (script: Script = {}) {
  const { channel } = yield* play(script, 3)
  return yield* Shell.make({ machine: "vm", channel })
})

const find = (nodes: ReadonlyArray<Observer.Node>, label: string): Observer.Node | undefined => {
  for (const node of nodes) {
    const found = node.label === label ? node : find(node.children, label)
    if (found !== undefined) return found
  }
  return undefined
}

/** Waits until something holds. */
const until = (holds: Effect.Effect<boolean>) =>
  Effect.repeat(Effect.delay(holds, "10 millis"), { until: (yes) => yes }).pipe(Effect.timeout("10 seconds"))

describe("the lanes of a shell", () => {
  it.live("are below the process that opened the shell, and gone when it is closed", () =>
    Effect.gen(function* () {
      const seen = yield* Process.run(
        Effect.gen(function* () {
          const shell = yield* open()
          yield* shell.execute("a")
          yield* shell.execute("b")
          return yield* Observer.snapshot
        }).pipe(Effect.scoped),
        { label: "Shells" }
      )
      const shells = find(seen.roots, "Shells")
      assert.deepEqual(
        shells?.children.map(({ kind, label }) => [kind, label]),
        [
          ["GenServer", "Lane server"],
          ["DynamicSupervisor", "Lanes"]
        ]
      )
      const lanes = find(seen.roots, "Lanes")
      assert.includeMembers(lanes?.children.map(({ label }) => label) ?? [], ["lane 1"])
      const after = yield* Observer.snapshot
      assert.isEmpty(after.processes)
    }).pipe(ActorSystem.scoped)
  )

  it.live("do not end the process in which the shell is closed", () =>
    Effect.gen(function* () {
      const answer = yield* Process.run(
        Effect.gen(function* () {
          const shell = yield* Effect.scoped(open())
          assert.strictEqual(shell.machine, "vm")
          yield* Effect.sleep("50 millis")
          return "alive"
        })
      )
      assert.strictEqual(answer, "alive")
    }).pipe(ActorSystem.scoped)
  )

  it.live("lose one command when one of them is killed, which is restarted; the others go on", () =>
    Effect.gen(function* () {
      const started: Array<string> = []
      const running = endless()
      const shell = yield* open({
        ...running,
        typed: (line, socket) => {
          if (line.startsWith("_vt_start ") || line.startsWith("_vt_stop "))
            started.push(line.split(" ").slice(0, 2).join(" "))
          return running.typed?.(line, socket) ?? false
        }
      })
      const commands = yield* Effect.forEach(["a", "b"], (text) => Effect.forkChild(Effect.flip(shell.execute(text))))
      const lanes = Effect.map(Observer.snapshot, ({ roots }) => find(roots, "Lanes")?.children ?? [])
      yield* until(Effect.map(lanes, ({ length }) => length === 2))
      yield* Effect.sleep("100 millis")
      const [first] = yield* lanes
      assert(first !== undefined)
      yield* Process.exit(first.pid, ExitReason.kill)
      const exits = () => commands.map((command) => command.pollUnsafe())
      yield* until(Effect.sync(() => exits().some((exit) => exit !== undefined)))
      yield* Effect.sleep("100 millis")
      const [lost, other] = exits().sort((a, b) => Number(a === undefined) - Number(b === undefined))
      assert.isUndefined(other)
      assert(lost?._tag === "Success" && lost.value._tag === "ShellLost")
      yield* until(Effect.map(lanes, (now) => now.length === 2 && now.every(({ pid }) => pid !== first.pid)))
      yield* until(Effect.sync(() => started.filter((line) => line === "_vt_start 1").length === 2))
      assert.include(started, "_vt_stop 1")
      yield* Effect.forEach(commands, Fiber.interrupt)
    }).pipe(Effect.scoped, ActorSystem.scoped)
  )

  it.live("give a command another lane when the process of an idle one is killed, which is reported", () => {
    const reported: Array<Report.Report> = []
    return Effect.gen(function* () {
      const shell = yield* open()
      yield* shell.execute("a")
      assert.isEmpty(reported)
      const { roots } = yield* Observer.snapshot
      for (const { pid } of find(roots, "Lanes")?.children ?? []) yield* Process.exit(pid, ExitReason.kill)
      assert.strictEqual((yield* shell.execute("b")).stdout, "ran b\n")
      yield* shell.reset("it was reset")
      yield* shell.execute("c")
      // Of the kills, and not of the lanes that ended because the guest was lost.
      assert.isNotEmpty(reported)
      assert.isTrue(reported.every(({ reason }) => reason._tag === "Killed"))
    }).pipe(
      Effect.scoped,
      ActorSystem.scoped,
      Effect.provideService(Report.Reports, (report) => Effect.sync(() => reported.push(report)))
    )
  })
})
