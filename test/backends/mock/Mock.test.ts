import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { connect, type MachineShape, openShell } from "../../../src/backends/Backend.ts"
import { InvalidShape, SaveFailed } from "../../../src/backends/BackendError.ts"
import * as Mock from "../../../src/backends/mock/Mock.ts"
import type { ShellError } from "../../../src/transport/ShellError.ts"

const shape: MachineShape = {
  name: "web",
  image: { digest: "0", kernel: "", initrd: "", cmdline: "", root: undefined, guest: "tiny", builtAt: 0 },
  memory: 1,
  cpus: 1,
  networks: [],
  internet: false,
  forwards: [],
  allowReboot: false,
  directory: "/nonexistent"
}

const boot = Effect.fnUntraced(function* (
  guest: Mock.MockGuest,
  change: Partial<MachineShape> = {},
  options: Mock.MockOptions = {}
) {
  const mock = yield* Mock.make({ guests: { web: guest }, ...options })
  const hypervisor = yield* mock.backend.start({ ...shape, ...change })
  return { mock, hypervisor, machine: yield* mock.machine("web") }
})

describe("a scripted guest", () => {
  it.effect("answers by the first rule that matches: text, pattern or function", () =>
    Effect.gen(function* () {
      const { hypervisor, machine } = yield* boot({
        commands: [
          ["uname", "Linux\n"],
          [/^cat /, { exitCode: 1, stderr: "no such file" }],
          [(command) => command.length > 20, (command) => Effect.succeed({ stdout: command })]
        ],
        otherwise: { exitCode: 127 }
      })
      const shell = yield* openShell(hypervisor)
      assert.strictEqual((yield* shell.execute(" uname\n")).stdout, "Linux\n")
      assert.deepStrictEqual(yield* shell.execute("cat x"), { exitCode: 1, stdout: "", stderr: "no such file" })
      assert.strictEqual((yield* shell.execute("a".repeat(21))).stdout.length, 21)
      assert.strictEqual((yield* shell.execute("other")).exitCode, 127)
      assert.deepStrictEqual(yield* machine.commands, [" uname\n", "cat x", "a".repeat(21), "other"])
    })
  )

  it.effect("goes through a rule's answers and stays with the last", () =>
    Effect.gen(function* () {
      const { hypervisor } = yield* boot({ commands: [["state", ["activating", "active"]]] })
      const shell = yield* openShell(hypervisor)
      const said = yield* Effect.replicateEffect(shell.execute("state"), 3)
      assert.deepStrictEqual(
        said.map(({ stdout }) => stdout),
        ["activating", "active", "active"]
      )
    })
  )

  it.effect("boots and works on the test's clock", () =>
    Effect.gen(function* () {
      const { hypervisor } = yield* boot({ bootTime: "10 seconds", commands: [["sleep 5", { delay: "5 seconds" }]] })
      const working = yield* Effect.forkChild(
        Effect.flatMap(openShell(hypervisor), (shell) => shell.execute("sleep 5")),
        { startImmediately: true }
      )
      yield* TestClock.adjust("14 seconds")
      assert.isUndefined(working.pollUnsafe())
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual((yield* Fiber.join(working)).exitCode, 0)
    })
  )

  it.effect("has commands that take too long", () =>
    Effect.gen(function* () {
      const { hypervisor } = yield* boot({ otherwise: { delay: "1 hour" } })
      const shell = yield* openShell(hypervisor)
      const late = yield* Effect.forkChild(Effect.flip(shell.execute("x", { timeout: "1 minute" })), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(late))._tag, "CommandTimeout")
    })
  )

  it.effect("takes no timeout that a guest would not take", () =>
    Effect.gen(function* () {
      const { hypervisor, machine } = yield* boot({})
      const shell = yield* openShell(hypervisor)
      for (const timeout of [0, -5, Number.NaN, JSON.parse('"soon"')]) {
        for (const asking of [shell.execute("x", { timeout }), shell.spawn("x", { timeout })]) {
          const error = yield* Effect.flip<unknown, ShellError, Scope.Scope>(asking)
          assert.strictEqual(error._tag, "CommandRejected")
          assert.include(error.message, `a timeout of ${timeout} makes no sense`)
        }
      }
      assert.deepStrictEqual(yield* machine.commands, [])
    })
  )

  it.effect("may never come up", () =>
    Effect.gen(function* () {
      const { hypervisor } = yield* boot({ bootTime: Number.POSITIVE_INFINITY, console: "kernel panic\n" })
      const waiting = yield* Effect.forkChild(Effect.flip(openShell(hypervisor)), { startImmediately: true })
      yield* TestClock.adjust("5 minutes")
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "ShellNotReady")
      assert.include(error.message, "kernel panic")
    })
  )

  it.effect("fails what is under way when it dies, and says how it ended", () =>
    Effect.gen(function* () {
      const { hypervisor, machine } = yield* boot({ otherwise: { delay: "1 hour" } })
      const shell = yield* openShell(hypervisor)
      const working = yield* Effect.forkChild(Effect.flip(shell.execute("x")), { startImmediately: true })
      yield* machine.emit("oops\n")
      yield* machine.exit({ signal: "SIGSEGV" })
      assert.strictEqual((yield* Fiber.join(working))._tag, "ShellLost")
      assert.deepInclude(yield* hypervisor.exited, { signal: "SIGSEGV", consoleTail: "oops" })
      assert.strictEqual((yield* Effect.flip(shell.execute("y")))._tag, "ShellLost")
    })
  )

  it.effect("can end by a command of its own", () =>
    Effect.gen(function* () {
      const { hypervisor } = yield* boot({ commands: [["poweroff", { ends: { exitCode: 0 } }]] })
      const shell = yield* openShell(hypervisor)
      assert.strictEqual((yield* Effect.flip(shell.execute("poweroff")))._tag, "ShellLost")
      assert.strictEqual((yield* hypervisor.exited).exitCode, 0)
    })
  )

  it.effect("loses its shell and gives another", () =>
    Effect.gen(function* () {
      const { hypervisor, machine } = yield* boot({ commands: [["slow", { delay: "1 hour" }]] })
      const shell = yield* openShell(hypervisor)
      const working = yield* Effect.forkChild(Effect.flip(shell.execute("slow")), { startImmediately: true })
      yield* machine.loseShell("frozen")
      assert.include((yield* Fiber.join(working)).message, "frozen")
      const again = yield* openShell(hypervisor)
      assert.strictEqual((yield* again.execute("true")).exitCode, 0)
    })
  )

  it.effect("answers nothing while it is paused", () =>
    Effect.gen(function* () {
      const { hypervisor } = yield* boot({})
      const shell = yield* openShell(hypervisor)
      yield* (yield* connect(hypervisor)).pause
      const working = yield* Effect.forkChild(shell.execute("true"), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(working.pollUnsafe())
      yield* (yield* connect(hypervisor)).resume
      assert.strictEqual((yield* Fiber.join(working)).exitCode, 0)
    })
  )

  it.effect("gives every reader of its console all of it", () =>
    Effect.gen(function* () {
      const { hypervisor, machine } = yield* boot({ console: "boot\n" })
      const reader = yield* Effect.forkChild(Stream.mkString(hypervisor.console.stream), { startImmediately: true })
      yield* machine.emit("login: ")
      yield* hypervisor.console.write("root\n")
      yield* machine.exit()
      assert.strictEqual(yield* Fiber.join(reader), "boot\nlogin: ")
      assert.strictEqual(yield* machine.typed, "root\n")
    })
  )

  it.effect("reboots where the shape allows it, and ends where not", () =>
    Effect.gen(function* () {
      const lasting = yield* boot({}, { allowReboot: true })
      yield* (yield* connect(lasting.hypervisor)).reset
      assert.strictEqual((yield* (yield* openShell(lasting.hypervisor)).execute("true")).exitCode, 0)
      const ending = yield* boot({})
      yield* (yield* connect(ending.hypervisor)).reset
      assert.strictEqual((yield* ending.hypervisor.exited).exitCode, 0)
    })
  )

  it.effect("pulls and plugs cables", () =>
    Effect.gen(function* () {
      const { hypervisor, machine } = yield* boot({})
      yield* (yield* connect(hypervisor)).setLink("eth1", false)
      assert.deepStrictEqual([...(yield* machine.unplugged)], ["eth1"])
      yield* (yield* connect(hypervisor)).setLink("eth1", true)
      assert.strictEqual((yield* machine.unplugged).size, 0)
    })
  )

  it.effect("has long-running processes that take signals", () =>
    Effect.gen(function* () {
      const { hypervisor } = yield* boot({ commands: [["server", { delay: "1 hour" }]] })
      const shell = yield* openShell(hypervisor)
      const server = yield* shell.spawn("server")
      yield* server.signal("TERM")
      assert.strictEqual(yield* server.wait, 143)
    })
  )
})

describe("the mock backend", () => {
  it.effect("says what it cannot do", () =>
    Effect.gen(function* () {
      const { hypervisor } = yield* boot({}, {}, { capabilities: [] })
      for (const action of [
        (yield* connect(hypervisor)).pause,
        (yield* connect(hypervisor)).powerdown,
        (yield* connect(hypervisor)).setLink("eth1", true),
        hypervisor.console.write("")
      ]) {
        assert.strictEqual((yield* Effect.flip(action))._tag, "Unsupported")
      }
    })
  )

  it.effect("fails a start as told", () =>
    Effect.gen(function* () {
      const startError = new InvalidShape({ machine: "web", field: "cpus", reason: "is 0" })
      assert.strictEqual(yield* Effect.flip(boot({ startError })), startError)
    })
  )

  it.effect("ends its machines with their scope, and counts the starts", () =>
    Effect.gen(function* () {
      const mock = yield* Mock.make()
      const ended = yield* Deferred.make<string | undefined>()
      for (const _ of [1, 2]) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const { exited } = yield* mock.backend.start(shape)
            yield* Effect.forkDetach(
              Effect.flatMap(exited, ({ signal }) => Deferred.succeed(ended, signal)),
              { startImmediately: true }
            )
          })
        )
      }
      assert.strictEqual(yield* Deferred.await(ended), "SIGKILL")
      assert.strictEqual(yield* mock.starts("web"), 2)
    })
  )
})

describe("a saved machine", () => {
  const folder = Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-mock-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
  )

  it.effect("need not boot again", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const { hypervisor, machine, mock } = yield* boot({ bootTime: "10 seconds" })
      assert.isUndefined(machine.from)
      const saved = yield* (yield* connect(hypervisor)).save(directory)
      const fork = yield* mock.backend.start(shape, { from: saved })
      yield* Effect.flatMap(openShell(fork), (shell) => shell.execute("true"))
      const forked = yield* mock.machine("web")
      assert.deepStrictEqual(forked.from, { directory })
      assert.deepStrictEqual(yield* forked.commands, ["true"])
    })
  )

  it.effect("stands still while it is saved, and goes on unless it was paused", () =>
    Effect.gen(function* () {
      const { hypervisor } = yield* boot({ saveTime: "1 second" })
      const shell = yield* openShell(hypervisor)
      const saving = yield* Effect.forkChild((yield* connect(hypervisor)).save(yield* folder), {
        startImmediately: true
      })
      const asked = yield* Effect.forkChild(shell.execute("true"), { startImmediately: true })
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(asked.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(saving)
      yield* Fiber.join(asked)
      yield* (yield* connect(hypervisor)).pause
      const again = yield* Effect.forkChild((yield* connect(hypervisor)).save(yield* folder), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(again)
      const late = yield* Effect.forkChild(shell.execute("true"), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(late.pollUnsafe())
    })
  )

  it.effect("is not loaded damaged, of another shape, or without the capability", () =>
    Effect.gen(function* () {
      const { hypervisor, mock } = yield* boot({})
      const saved = yield* (yield* connect(hypervisor)).save(yield* folder)
      const other = yield* Effect.flip(mock.backend.start({ ...shape, cpus: 2 }, { from: saved }))
      assert.strictEqual(other._tag, "LoadFailed")
      assert.match(other.message, /a different cpus/)
      Fs.writeFileSync(Path.join(saved.directory, "machine.json"), "{")
      assert.match((yield* Effect.flip(mock.backend.start(shape, { from: saved }))).message, /damaged/)
      const unable = yield* Mock.make({ capabilities: [] })
      assert.strictEqual((yield* Effect.flip(unable.backend.start(shape, { from: saved })))._tag, "Unsupported")
    })
  )

  it.effect("is not made in a folder that has something in it, nor where the guest says so", () =>
    Effect.gen(function* () {
      const { hypervisor } = yield* boot({})
      const directory = yield* folder
      yield* (yield* connect(hypervisor)).save(directory)
      assert.strictEqual((yield* Effect.flip((yield* connect(hypervisor)).save(directory)))._tag, "SaveFailed")
      const saveError = new SaveFailed({ machine: "web", directory, reason: "no space left" })
      const { hypervisor: full } = yield* boot({ saveError })
      assert.strictEqual(yield* Effect.flip((yield* connect(full)).save(yield* folder)), saveError)
    })
  )
})
