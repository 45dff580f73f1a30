import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import * as Command from "../../src/guest/Command.ts"
import * as File from "../../src/guest/File.ts"
import type { MachineEvent } from "../../src/guest/MachineEvent.ts"
import * as Port from "../../src/guest/Port.ts"
import * as Unit from "../../src/guest/Unit.ts"
import * as Recording from "../../src/screen/Recording.ts"
import * as ScreenImage from "../../src/screen/ScreenImage.ts"
import type { ShellService } from "../../src/transport/Shell.ts"
import { CommandTimeout } from "../../src/transport/ShellError.ts"
import { guestOn, hostShell, shellOf } from "../machine/support.ts"

const never = shellOf(() => Effect.never)
const answering = (...results: ReadonlyArray<readonly [number, string, string]>) => {
  let at = 0
  return shellOf(() =>
    Effect.sync(() => {
      const [exitCode, stdout, stderr] = results[Math.min(at++, results.length - 1)]!
      return { exitCode, stdout, stderr }
    })
  )
}

describe("a wait that loops in the guest", () => {
  it.live("is told without the exit code of its loop, which is that of its last pause", () =>
    Effect.gen(function* () {
      const outcomes: Array<string> = []
      const emit = (event: MachineEvent) =>
        Effect.sync(() => void (event._tag === "ActionEnded" && outcomes.push(event.outcome)))
      const { guest } = yield* guestOn(hostShell("bash"), { emit })
      const folder = mkdtempSync(join(tmpdir(), "vmtest-wait-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
      const waiting = yield* Effect.forkChild(
        File.make(guest).waitForFile(join(folder, "x"), { timeout: "20 seconds" })
      )
      yield* Effect.sleep("300 millis")
      writeFileSync(join(folder, "x"), "")
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(outcomes, [""])
    })
  )
})

describe("the deadline of a wait", () => {
  it.effect("is five minutes by default, and the error says what was awaited, how long, and what was seen last", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const waiting = yield* Effect.forkChild(Effect.flip(File.make(guest).waitForFile("/run/x")))
      yield* TestClock.adjust("299 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      // The guest that never answers is asked for five seconds what it saw last.
      yield* TestClock.adjust("7 seconds")
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "WaitTimeout")
      assert.include(error.message, "box: waited 5m for the file /run/x to exist")
      assert.include(error.message, "the guest did not answer")
    })
  )

  it.effect("is stretched on a slow backend, but a call's own is taken as it is", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const slow = { ...guest, backend: { ...guest.backend, timeScale: 3 } }
      const stretched = yield* Effect.forkChild(Effect.flip(File.make(slow).waitForFile("/run/x")))
      const own = yield* Effect.forkChild(Effect.flip(File.make(slow).waitForFile("/run/x", { timeout: "1 minute" })))
      yield* TestClock.adjust("66 seconds")
      assert.isDefined(own.pollUnsafe())
      yield* TestClock.adjust("13 minutes")
      assert.isUndefined(stretched.pollUnsafe())
      yield* TestClock.adjust("1 minute")
      assert.isDefined(stretched.pollUnsafe())
    })
  )

  it.effect("loses against the machine's death", () =>
    Effect.gen(function* () {
      const { die, guest } = yield* guestOn(never)
      const waiting = yield* Effect.forkChild(Effect.flip(Unit.make(guest).waitForUnit("nginx")))
      yield* TestClock.adjust("1 second")
      yield* die
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "MachineDied")
      assert.include(error.message, "box died while the test was waiting for nginx to be active")
      assert.include(error.message, "Kernel panic")
    })
  )

  it.effect("loses against a polling condition", () =>
    Effect.gen(function* () {
      const { conditions, guest } = yield* guestOn(never)
      let holds = true
      yield* conditions.add(
        "the light is on",
        Effect.sync(() => holds),
        { schedule: Schedule.spaced("1 second") }
      )
      const waiting = yield* Effect.forkChild(Effect.flip(Port.make(guest).waitForOpenPort(80)))
      yield* TestClock.adjust("10 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      holds = false
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(waiting)
      assert.include(error.message, '"the light is on" no longer holds')
    })
  )
})

describe("trying a command again", () => {
  it.effect("waits 50 ms between tries and gives the last output", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(answering([1, "", "no"], [1, "", "no"], [0, "yes\n", ""]))
      const waiting = yield* Effect.forkChild(Command.make(guest).waitUntilSucceeds("try"))
      yield* TestClock.adjust("99 millis")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(waiting), "yes\n")
    })
  )

  it.effect("says at the deadline how the last try went", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(answering([7, "", "connection refused"]))
      const waiting = yield* Effect.forkChild(
        Effect.flip(Command.make(guest).waitUntilSucceeds("curl -sf http://web/", { timeout: "3 seconds" }))
      )
      yield* TestClock.adjust("4 seconds")
      const error = yield* Fiber.join(waiting)
      assert.include(error.message, 'waited 3s for "curl -sf http://web/" to succeed')
      assert.include(error.message, "exit code 7")
      assert.include(error.message, "connection refused")
    })
  )
})

describe("commands that must succeed or fail", () => {
  it.effect("join their outputs untrimmed, and take options last", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(answering([0, "a\n", ""], [0, " b ", ""]))
      assert.strictEqual(yield* Command.make(guest).succeed("one", "two", { timeout: "1 second" }), "a\n b ")
    })
  )

  it.effect("carry their outputs as fields of the error", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(answering([3, "out\n", "err\n"]))
      const error = yield* Effect.flip(Command.make(guest).succeed("boom"))
      assert.strictEqual(error._tag, "CommandFailed")
      assert.deepInclude(error, { command: "boom", exitCode: 3, stdout: "out\n", stderr: "err\n" })
      assert.isTrue(Object.hasOwn(error, "stderr"))
      assert.include(error.message, "box: `boom` failed with exit code 3")
      assert.include(error.message, "err")
      assert.strictEqual(yield* Command.make(guest).fail("boom"), "out\n")
    })
  )
})

for (const program of ["bash", "dash"] as const) {
  describe(`in ${program}`, () => {
    const waiting = Effect.fnUntraced(function* () {
      return (yield* guestOn(hostShell(program))).guest
    })

    it.live("a file is noticed when it appears and when it goes", () =>
      Effect.gen(function* () {
        const guest = yield* waiting()
        const files = File.make(guest)
        const folder = mkdtempSync(join(tmpdir(), "vmtest-wait-"))
        const file = join(folder, "it's here")
        const wait = yield* Effect.forkChild(files.waitForFile(file, { timeout: "20 seconds" }))
        yield* Effect.sleep("300 millis")
        assert.isUndefined(wait.pollUnsafe())
        writeFileSync(file, "")
        yield* Fiber.join(wait)
        const gone = yield* Effect.forkChild(files.waitUntilFileIsGone(file, { timeout: "20 seconds" }))
        rmSync(file)
        yield* Fiber.join(gone)
        for (let other = 0; other < 12; other++) writeFileSync(join(folder, `other ${other}`), "")
        const late = yield* Effect.flip(files.waitForFile(file, { timeout: "200 millis" }))
        assert.include(late.message, "No such file")
        assert.include(late.message, "other 3")
        rmSync(folder, { recursive: true })
      })
    )

    const local = [
      ["127.0.0.1", "127.0.0.1"],
      ["::1", "::1"],
      ["localhost", "::"],
      [undefined, "127.0.0.1"]
    ] as const
    // Other addresses are connected to: bash does it by itself, other shells ask busybox's nc, which hosts do not have.
    for (const [address, where] of program === "bash" ? [...local, ["127.0.0.2", "0.0.0.0"] as const] : local) {
      it.live(`port of ${address} is open when something listens on ${where}`, () =>
        Effect.gen(function* () {
          const guest = yield* waiting()
          const ports = Port.make(guest)
          const server = createServer()
          yield* Effect.callback<void>((resume) => {
            server.listen(0, where, () => resume(Effect.void))
          })
          const { port } = server.address() as { port: number }
          yield* ports.waitForOpenPort(port, address, { timeout: "20 seconds" })
          // Options come last, with an address before them or without.
          yield* ports.waitForOpenPort(port, { timeout: "20 seconds" })
          const closed = yield* Effect.forkChild(ports.waitForClosedPort(port, address, { timeout: "20 seconds" }))
          yield* Effect.sleep("200 millis")
          assert.isUndefined(closed.pollUnsafe())
          server.close()
          yield* Fiber.join(closed)
          const error = yield* Effect.flip(ports.waitForOpenPort(port, address, { timeout: "200 millis" }))
          assert.strictEqual(error._tag, "WaitTimeout")
        })
      )
    }
  })
}

describe("arguments that cannot be meant", () => {
  it.effect("are refused before the guest is asked", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const port = yield* Effect.flip(Port.make(guest).waitForOpenPort(70_000))
      assert.include(port.message, "waitForOpenPort: port must be a whole number from 1 to 65535, got 70000")
      // As a script that no compiler checked may have it.
      const text = yield* Effect.flip(Port.make(guest).waitForOpenPort(JSON.parse('"80"')))
      assert.include(text.message, 'port must be a whole number from 1 to 65535, got "80"')
      const files = File.make(guest)
      for (const waiting of [files.waitForFile(""), files.waitUntilFileIsGone("")]) {
        assert.include(
          (yield* Effect.flip(waiting)).message,
          'path must be a path in the guest, a string that is not empty, got ""'
        )
      }
      for (const duration of [-1, Number.POSITIVE_INFINITY, JSON.parse('"soon"')]) {
        const error = yield* Effect.flip(Command.make(guest).sleep(duration))
        assert.strictEqual(error._tag, "InvalidArgument")
      }
      for (const unit of ["two words", "*.service", "", "a/b", "a".repeat(256), "getty@.service", "getty@", "x;y"]) {
        const error = yield* Effect.flip(Unit.make(guest).waitForUnit(unit))
        assert.strictEqual(error._tag, "InvalidArgument")
      }
    })
  )
})

describe("numbers and boxes that a script without types gives", () => {
  it.effect("are refused before a reference is read or the screen looked at", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const unused = () => Effect.die("it is not to be touched")
      const display = { name: "the display", capture: Effect.die("it is not to be seen"), press: unused, touch: unused }
      const { expectScreenshot } = ScreenImage.make(guest, display)
      const refused = Effect.fnUntraced(function* (options: unknown, message: string) {
        const error = yield* Effect.flip(expectScreenshot("none.png", options as object))
        assert.strictEqual(error._tag, "InvalidArgument")
        assert.include(error.message, message)
      })
      yield* refused({ threshold: "0.5" }, 'threshold must be a number from 0 to 1, got "0.5"')
      yield* refused({ tolerance: Number.NaN }, "tolerance must be a number from 0 to 1, got NaN")
      yield* refused({ masks: { x: 1 } }, "masks must be an array, each a box, { x, y, width, height }, got { x: 1 }")
      yield* refused({ masks: [{ x: "1", y: 0, width: 1, height: 1 }] }, 'masks[0].x must be a finite number, got "1"')
      yield* refused(
        { masks: [{ x: 1, y: 0, width: 1 }] },
        "masks[0].height is missing: it must be a number of at least 0"
      )
      yield* refused(
        { masks: [{ x: 1, y: 0, width: -1, height: 1 }] },
        "masks[0].width must be a number of at least 0, got -1"
      )
      const rate = yield* Effect.flip(
        Effect.scoped(Recording.make(guest, display).recordVideo("x", { framesPerSecond: JSON.parse('"5"') }))
      )
      assert.include(rate.message, 'framesPerSecond must be a number from 1 to 30, got "5"')
    })
  )
})

describe("a unit in a guest without a way to systemd but systemctl", () => {
  /** The bridge is missing; then come the states that `systemctl` tells, and what is asked about a failure. */
  const noBridge = [90, "", ""] as const

  it.effect("is reported with its state and its journal when it failed", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(
        answering(
          noBridge,
          [
            0,
            "NJobs=1 LoadState=loaded ActiveState=activating SubState=start Job=7\nNJobs=0 LoadState=loaded ActiveState=failed SubState=failed Job=\n",
            ""
          ],
          [0, "LoadState=loaded\nResult=exit-code\n", ""],
          [0, "cannot bind to port 80\n", ""]
        )
      )
      const error = yield* Effect.flip(Unit.make(guest).waitForUnit("web.service"))
      assert.strictEqual(error._tag, "UnitFailed")
      assert.deepInclude(error, { state: "failed", result: "exit-code", journal: "cannot bind to port 80\n" })
      assert.include(error.message, "web.service is failed (failed), result exit-code")
      assert.include(error.message, "cannot bind to port 80")
    })
  )

  it.effect(
    "is reported with its state when the guest cannot say why it failed, and blames no command that the test has not run",
    () =>
      Effect.gen(function* () {
        const states = "NJobs=0 LoadState=loaded ActiveState=failed SubState=failed Job=\n"
        const asked = answering(noBridge, [0, states, ""])
        const shell: ShellService = {
          ...asked,
          execute: (command, options) =>
            /systemctl show -p Result|journalctl/.test(command)
              ? Effect.fail(
                  new CommandTimeout({ machine: "box", command, timeout: Duration.minutes(1), stdout: "", stderr: "" })
                )
              : asked.execute(command, options)
        }
        const { guest } = yield* guestOn(shell)
        const error = yield* Effect.flip(Unit.make(guest).waitForUnit("web"))
        assert.strictEqual(error._tag, "UnitFailed")
        assert.include(error.message, "web is failed (failed); expected active")
        assert.include(error.message, "reading the journal of web")
        assert.notInclude(error.message, "journalctl")
        assert.notInclude(error.message, "systemctl")
      })
  )

  it.effect("is waited for while a job is pending, and reported when it is inactive with none", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(
        answering(
          noBridge,
          [
            0,
            "NJobs=3 LoadState=loaded ActiveState=inactive SubState=dead\nNJobs=0 LoadState=loaded ActiveState=failed SubState=failed Job=9\nNJobs=0 LoadState=loaded ActiveState=inactive SubState=dead\n",
            ""
          ],
          [0, "LoadState=loaded\nResult=success\n", ""],
          [0, "", ""]
        )
      )
      const error = yield* Effect.flip(Unit.make(guest).waitForUnit("web"))
      assert.include(error.message, "web is inactive (dead), and no job is pending; expected active")
    })
  )

  for (const [loadState, loadError, known] of [
    ["masked", "org.freedesktop.systemd1.UnitMasked", "web is masked, so systemd cannot start it; expected active"],
    [
      "bad-setting",
      'org.freedesktop.systemd1.BadUnitSetting "Unit web.service has a bad unit file setting."',
      'web could not be loaded (bad-setting: org.freedesktop.systemd1.BadUnitSetting "Unit web.service has a bad'
    ]
  ] as const) {
    it.effect(`is told to be ${loadState}, not just inactive`, () =>
      Effect.gen(function* () {
        const { guest } = yield* guestOn(
          answering(
            noBridge,
            [0, `NJobs=0 LoadState=${loadState} ActiveState=inactive SubState=dead\n`, ""],
            [0, `LoadState=${loadState}\nResult=success\nLoadError=${loadError}\n`, ""],
            [0, "", ""]
          )
        )
        const error = yield* Effect.flip(Unit.make(guest).waitForUnit("web"))
        assert.strictEqual(error._tag, "UnitFailed")
        assert.deepInclude(error, { loadState, loadError })
        assert.include(error.message, known)
      })
    )
  }

  it.effect("is not waited for when systemd does not know it, whatever is pending", () =>
    Effect.gen(function* () {
      const unknown = "LoadState=not-found ActiveState=inactive SubState=dead"
      const { guest } = yield* guestOn(
        answering(
          noBridge,
          [0, `NJobs=3 SystemState=starting ${unknown}\nNJobs=3 SystemState=running ${unknown}\n`, ""],
          [0, "LoadState=not-found\nResult=success\n", ""]
        )
      )
      const error = yield* Effect.flip(Unit.make(guest).waitForUnit("typo"))
      assert.include(error.message, "typo does not exist; expected active")
    })
  )

  it.effect("is in no state when systemd does not know it, and states that are none are refused", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(answering([0, "LoadState=not-found\nActiveState=inactive\nSubState=dead\n", ""]))
      const unknown = yield* Effect.flip(Unit.make(guest).requireUnitState("typo", "inactive"))
      assert.include(unknown.message, "typo does not exist; expected inactive")
      assert.notInclude(unknown.message, "journal")
      const running = yield* Effect.flip(Unit.make(guest).requireUnitState("web", "running"))
      assert.include(running.message, 'state must be "active", "reloading", "inactive"')
    })
  )

  it.effect("that was not waited for has no job that nobody looked for, and an unknown one no journal", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(answering([0, "LoadState=loaded\nActiveState=inactive\nSubState=dead\n", ""]))
      const idle = yield* Effect.flip(Unit.make(guest).requireUnitState("web"))
      assert.include(idle.message, "web is inactive (dead); expected active")
      const asked: Array<string> = []
      const shell = shellOf((command) => {
        asked.push(command)
        return Effect.succeed({ exitCode: 0, stdout: "LoadState=not-found\nActiveState=inactive\n", stderr: "" })
      })
      const unknown = yield* guestOn(shell)
      yield* Effect.flip(Unit.make(unknown.guest).requireUnitState("typo"))
      assert.isAbove(asked.length, 0)
      assert.notInclude(asked.join("\n"), "journalctl")
    })
  )

  it.effect("is a typed error where systemd does not run", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(answering([91, "", ""], [127, "", "there is no systemctl\n"]))
      const error = yield* Effect.flip(Unit.make(guest).waitForUnit("web"))
      assert.strictEqual(error._tag, "NoSystemd")
    })
  )
})
