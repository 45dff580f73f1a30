import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { StartFailed } from "../../src/backends/BackendError.ts"
import type { MockGuest } from "../../src/backends/mock/Mock.ts"
import { InvalidArgument } from "../../src/guest/MachineError.ts"
import * as Image from "../../src/images/Image.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import { HostLimits, type MachineOptions } from "../../src/machine/MachineSpec.ts"
import { CommandRejected } from "../../src/transport/ShellError.ts"
import { untyped } from "../untyped.ts"
import { driverOf, offline } from "./support.ts"

/** Lets everything that is ready to run do so. */
const settle = TestClock.adjust(0)

describe("the life of a machine", () => {
  it.effect("starts with the others, before the body", () =>
    Effect.gen(function* () {
      const driver = yield* driverOf(
        { a: offline(), b: offline(), later: offline({ autoStart: false }) },
        { guests: { a: { bootTime: "3 seconds" }, b: { bootTime: "5 seconds" } } }
      )
      const begun = yield* Effect.forkChild(driver.begin)
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(begun.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(begun)
      assert.deepStrictEqual(driver.states("a"), ["booting", "ready"])
      assert.deepStrictEqual(driver.states("b"), ["booting", "ready"])
      assert.deepStrictEqual(driver.states("later"), [])
    })
  )

  it.effect("begins with its first use when it does not start by itself", () =>
    Effect.gen(function* () {
      const { machines, states } = yield* driverOf(
        { a: offline({ autoStart: false }) },
        { guests: { a: { commands: [["uname", "Linux\n"]] } } }
      )
      assert.isFalse(yield* machines.a!.isUp())
      assert.strictEqual(yield* machines.a!.succeed("uname"), "Linux\n")
      assert.isTrue(yield* machines.a!.isUp())
      assert.deepStrictEqual(states("a"), ["booting", "ready"])
    })
  )

  it.effect("ends everything that waits when it dies, with its exit and its console", () =>
    Effect.gen(function* () {
      const { machines, mock, states } = yield* driverOf(
        { a: offline() },
        { guests: { a: { commands: [["hang", { delay: "1 hour" }]] } } }
      )
      const { a } = machines
      yield* a!.start()
      const command = yield* Effect.forkChild(Effect.flip(a!.succeed("hang")))
      const text = yield* Effect.forkChild(Effect.flip(a!.waitForConsoleText("never said")))
      yield* settle
      const machine = yield* mock.machine("a")
      yield* machine.emit("Kernel panic - not syncing\n")
      yield* machine.exit({ exitCode: 3 })
      yield* TestClock.adjust("1 second")
      for (const error of [yield* Fiber.join(command), yield* Fiber.join(text)]) {
        assert.strictEqual(error._tag, "MachineDied")
        assert.include(error.message, "exited with 3")
        assert.include(error.message, "Kernel panic")
      }
      assert.deepStrictEqual(states("a"), ["booting", "ready", "crashed"])
      assert.strictEqual((yield* Effect.flip(a!.execute("true")))._tag, "MachineDied")
    })
  )

  it.effect("may be ended by the test: a crash is no failure, and start boots it again", () =>
    Effect.gen(function* () {
      const { machines, mock, states } = yield* driverOf({ a: offline() })
      const { a } = machines
      yield* a!.start()
      yield* a!.crash()
      assert.isFalse(yield* a!.isUp())
      const error = yield* Effect.flip(a!.execute("true"))
      assert.strictEqual(error._tag, "MachineNotRunning")
      assert.include(error.message, "call start() first")
      yield* a!.start()
      yield* a!.succeed("true")
      assert.strictEqual(yield* mock.starts("a"), 2)
      assert.deepStrictEqual(states("a"), ["booting", "ready", "stopped", "booting", "ready"])
    })
  )

  it.effect("is shut down by asking the guest", () =>
    Effect.gen(function* () {
      const { machines, states } = yield* driverOf(
        { a: offline() },
        { guests: { a: { commands: [[/poweroff/, { delay: "2 seconds", ends: {} }]] } } }
      )
      yield* machines.a!.start()
      const down = yield* Effect.forkChild(machines.a!.shutdown())
      const waiting = yield* Effect.forkChild(machines.a!.waitForShutdown())
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(down)
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(states("a"), ["booting", "ready", "stopped"])
    })
  )

  it.effect("says so when the guest does not shut down in time", () =>
    Effect.gen(function* () {
      const { machines } = yield* driverOf({ a: offline() })
      yield* machines.a!.start()
      const down = yield* Effect.forkChild(Effect.flip(machines.a!.shutdown({ timeout: "10 seconds" })))
      yield* TestClock.adjust("11 seconds")
      assert.include((yield* Fiber.join(down)).message, "waited 10s for the machine to shut down")
    })
  )

  it.effect("does not come up when the hypervisor does not start, or the guest did not answer", () =>
    Effect.gen(function* () {
      const { handles, machines, states } = yield* driverOf(
        { a: offline() },
        { guests: { a: { bootTime: Infinity, console: "Loading initial ramdisk ...\n" } } }
      )
      const summary = () => handles()[0]?.summary()
      assert.deepInclude(summary(), { state: "stopped", came: undefined })
      const starting = yield* Effect.forkChild(Effect.flip(machines.a!.start()))
      yield* TestClock.adjust("5 minutes")
      const error = yield* Fiber.join(starting)
      assert.strictEqual(error._tag, "BootFailed")
      assert.include(error.message, "a did not boot: no shell after 5m")
      assert.include(error.message, "Loading initial ramdisk")
      assert.deepStrictEqual(states("a"), ["booting", "crashed"])
      assert.deepInclude(summary(), { state: "crashed", came: undefined, failed: "did not boot" })
    })
  )

  it.effect("could not start when its hypervisor did not run", () =>
    Effect.gen(function* () {
      const startError = new StartFailed({ machine: "a", backend: "mock", reason: "no such machine type", output: "" })
      const { handles, machines } = yield* driverOf({ a: offline() }, { guests: { a: { startError } } })
      const error = yield* Effect.flip(machines.a!.start())
      assert.include(error.message, "a did not boot: could not start mock: no such machine type")
      assert.deepInclude(handles()[0]?.summary(), { state: "crashed", came: undefined, failed: "could not start" })
    })
  )

  it.effect("stands still while paused", () =>
    Effect.gen(function* () {
      const { machines, states } = yield* driverOf({ a: offline() })
      yield* machines.a!.start()
      yield* machines.a!.pause()
      yield* machines.a!.resume()
      assert.deepStrictEqual(states("a"), ["booting", "ready", "paused", "ready"])
    })
  )

  it.effect("says of whatever it does not do that it is paused, and stays so until it is resumed", () =>
    Effect.gen(function* () {
      const { machines, states } = yield* driverOf({ a: offline({ allowReboot: true }) })
      const a = machines.a!
      yield* a.start()
      yield* a.pause()
      const wait = { timeout: "8 seconds" } as const
      const failing: Readonly<Record<string, Effect.Effect<unknown, { readonly message: string }>>> = {
        command: a.succeed("true", wait),
        stream: Stream.runDrain(a.executeStream("true", wait)),
        file: a.waitForFile("/there", wait),
        unit: a.waitForUnit("web", wait),
        console: a.waitForConsoleText("login: ", wait),
        end: a.waitForShutdown(wait),
        shutdown: a.shutdown(wait),
        reboot: a.reboot(wait),
        switchRoot: a.switchRoot(wait)
      }
      for (const [name, effect] of Object.entries(failing)) {
        const fiber = yield* Effect.forkChild(Effect.flip(effect))
        yield* TestClock.adjust("8 seconds")
        yield* TestClock.adjust("1 second")
        assert.isDefined(fiber.pollUnsafe(), name)
        assert.include((yield* Fiber.join(fiber)).message, "the machine is paused; call resume()", name)
      }
      assert.deepStrictEqual(states("a"), ["booting", "ready", "paused"])
      yield* a.resume()
      assert.deepStrictEqual(states("a"), ["booting", "ready", "paused", "ready"])
      yield* a.succeed("true")
    })
  )

  it.effect("tells its states as a stream", () =>
    Effect.gen(function* () {
      const { machines } = yield* driverOf({ a: offline() })
      assert.strictEqual(machines.a!.name, "a")
      const seen = yield* Effect.forkChild(Stream.runCollect(Stream.take(machines.a!.state, 4)))
      yield* settle
      yield* machines.a!.start()
      yield* settle
      yield* machines.a!.crash()
      yield* settle
      assert.deepStrictEqual(yield* Fiber.join(seen), ["stopped", "booting", "ready", "stopped"])
    })
  )

  it.effect("gets a shell again when one is lost, and the guest never notices", () =>
    Effect.gen(function* () {
      const { machines, mock, states } = yield* driverOf(
        { a: offline() },
        { guests: { a: { commands: [["hang", { delay: "1 hour" }]] } } }
      )
      const { a } = machines
      yield* a!.start()
      const machine = yield* mock.machine("a")
      const lost = yield* Effect.forkChild(Effect.flip(a!.execute("hang")))
      yield* settle
      yield* machine.loseShell("the port broke")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(lost))._tag, "ShellLost")
      yield* a!.succeed("true")
      assert.strictEqual(yield* mock.starts("a"), 1)
      assert.notInclude(states("a"), "crashed")
    })
  )

  it.effect("pulls cables only of its own VLANs", () =>
    Effect.gen(function* () {
      const { machines } = yield* driverOf({ a: offline() })
      const error = yield* Effect.flip(machines.a!.block(3))
      assert.include(error.message, "a.block: card must be one that this machine declares (it has none), got 3")
    })
  )

  /** What a guest says to a command while it goes down. */
  const goingDown = (reason: "Rebooting" | "ShuttingDown") => () =>
    Effect.fail(new CommandRejected({ machine: "a", command: "late", reason, detail: "the guest is going down" }))

  it.effect("runs in its next boot what it did not run because it reboots, which is waited for once", () =>
    Effect.gen(function* () {
      const { machines, mock, states } = yield* driverOf(
        { a: offline({ allowReboot: true }) },
        { guests: { a: { commands: [["late", [goingDown("Rebooting"), "ran\n"]]] } } }
      )
      const a = machines.a!
      yield* a.start()
      const running = yield* Effect.forkChild(a.succeed("late"))
      const waiting = yield* Effect.forkChild(a.waitForReboot())
      yield* settle
      const others = yield* Effect.forkChild(a.succeed("true"))
      yield* settle
      assert.deepStrictEqual(states("a"), ["booting", "ready", "booting"])
      assert.notInclude(yield* (yield* mock.machine("a")).commands, "true")
      yield* (yield* mock.machine("a")).loseShell("the guest rebooted")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(running), "ran\n")
      yield* Fiber.join(others)
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(states("a"), ["booting", "ready", "booting", "ready"])
      const next = yield* Effect.forkChild(Effect.flip(a.waitForReboot({ timeout: "10 seconds" })))
      yield* TestClock.adjust("10 seconds")
      yield* TestClock.adjust("1 second")
      assert.include(
        (yield* Fiber.join(next)).message,
        "waited 10s for the guest to reboot; last seen: it has not rebooted"
      )
      // One that happened while nobody waited is not missed.
      yield* (yield* mock.machine("a")).loseShell("the guest rebooted")
      yield* TestClock.adjust("1 second")
      yield* a.waitForReboot()
    })
  )

  it.effect("is given up when it began to reboot and does not come back", () =>
    Effect.gen(function* () {
      const { handles, machines } = yield* driverOf(
        { a: offline({ allowReboot: true }) },
        { guests: { a: { commands: [["late", goingDown("Rebooting")]] } } }
      )
      yield* machines.a!.start()
      const running = yield* Effect.forkChild(Effect.flip(machines.a!.succeed("late")))
      yield* TestClock.adjust("5 minutes")
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(running)
      assert.strictEqual(error._tag, "BootFailed")
      assert.include(error.message, "it did not come back after its reboot within 5m")
      assert.deepInclude(handles()[0]?.summary(), { state: "crashed", came: "booted", failed: undefined })
    })
  )

  it.effect("says at once that it runs no command any more where it powers off", () =>
    Effect.gen(function* () {
      const commands: MockGuest["commands"] = [["too late", goingDown("ShuttingDown")]]
      const { machines } = yield* driverOf(
        { a: offline(), b: offline({ allowReboot: true }) },
        { guests: { b: { commands } } }
      )
      assert.strictEqual((yield* Effect.flip(machines.b!.succeed("too late")))._tag, "CommandRejected")
      assert.strictEqual((yield* Effect.flip(machines.a!.waitForReboot()))._tag, "RebootNotAllowed")
    })
  )

  it.effect("did not boot when it ended by itself before its shell answered, and says how", () =>
    Effect.gen(function* () {
      const ends = [
        ["", "the guest powered off"],
        ["[ 1.5] Kernel panic - not syncing: No working init found.\n", "its kernel panicked: No working init found."]
      ] as const
      for (const [console, reason] of ends) {
        const { machines, mock, states } = yield* driverOf(
          { a: offline() },
          { guests: { a: { bootTime: Number.POSITIVE_INFINITY, console } } }
        )
        const starting = yield* Effect.forkChild(Effect.flip(machines.a!.start()))
        yield* (yield* mock.machine("a")).exit()
        yield* TestClock.adjust("1 second")
        const error = yield* Fiber.join(starting)
        assert.strictEqual(error._tag, "BootFailed")
        assert.include(error.message, `a did not boot: ${reason}`)
        assert.deepStrictEqual(states("a"), ["booting", "crashed"])
      }
    })
  )

  it.effect("is refused a reboot that its declaration does not allow", () =>
    Effect.gen(function* () {
      const { machines } = yield* driverOf({ a: offline() })
      assert.include((yield* Effect.flip(machines.a!.reboot())).message, "allowReboot: true")
    })
  )
})

describe("the driver", () => {
  it.effect("starts and joins all machines", () =>
    Effect.gen(function* () {
      const { machines, mock, service } = yield* driverOf({
        a: offline({ autoStart: false }),
        b: offline({ autoStart: false })
      })
      yield* service.startAll()
      assert.isTrue(yield* machines.b!.isUp())
      const joined = yield* Effect.forkChild(service.joinAll())
      yield* (yield* mock.machine("a")).exit()
      yield* settle
      assert.isUndefined(joined.pollUnsafe())
      yield* (yield* mock.machine("b")).exit()
      yield* Fiber.join(joined)
    })
  )

  it.effect("tells a machine the names of others one after the other, the newest at last", () =>
    Effect.gen(function* () {
      const on = { vlans: [1], autoStart: false }
      const slow = { guests: { a: { commands: [[/etc\/hosts/, { delay: "1 second" }]] } } } as const
      const { mock, service } = yield* driverOf({ a: offline(on) }, slow)
      const starting = yield* Effect.forkChild(service.machines.a!.start(), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(starting)
      const told = Effect.map(
        Effect.flatMap(mock.machine("a"), ({ commands }) => commands),
        (commands) => commands.filter((command) => command.includes("vmtest: the machines of this test"))
      )
      const before = (yield* told).length
      yield* Effect.forEach(["b", "c", "d"], (name) => service.machine(name, offline(on)), { concurrency: 3 })
      yield* settle
      assert.strictEqual((yield* told).length, before + 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* told).length, before + 2)
      yield* TestClock.adjust("5 seconds")
      const all = yield* told
      assert.strictEqual(all.length, before + 3)
      for (const command of all.slice(-2))
        for (const name of ["b", "c", "d"]) assert.match(command, new RegExp(`\\s${name}\\b`))
    })
  )

  it.effect("makes machines while the test runs, and tells the others", () =>
    Effect.gen(function* () {
      const { mock, service } = yield* driverOf({ a: offline() })
      yield* service.machines.a!.start()
      const b = yield* service.machine("b", offline())
      yield* b.succeed("true")
      yield* settle
      assert.strictEqual(service.machines.b, b)
      const commands = yield* (yield* mock.machine("a")).commands
      assert.include(commands.at(-1), "/etc/hosts")
      const twin = yield* Effect.flip(service.machine("B", offline()))
      assert.include(twin.message, 'differs from "b" only in case')
      const same = yield* Effect.flip(service.machine("b", offline()))
      assert.strictEqual(same.message, "b: is the name of another machine or host service of this test")
    })
  )

  it.effect("refuses a port of the host that leads to another machine already, also while the test runs", () =>
    Effect.gen(function* () {
      const forwarding = (hostPort: number) => offline({ forwards: [{ hostPort, guestPort: 80 }] })
      const { service } = yield* driverOf({ a: forwarding(8080) })
      const twin = yield* Effect.flip(service.machine("b", forwarding(8080)))
      const words = "b: forwards[0].hostPort must be a port of its own, got 8080, which leads to a already"
      assert.strictEqual(twin.message, words)
      yield* service.machine("b", forwarding(8081))
    })
  )

  const refused = (effect: Effect.Effect<unknown, unknown>) =>
    Effect.map(Effect.exit(effect), (exit) => {
      const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.instanceOf(error, InvalidArgument)
      return error instanceof Error ? error.message : ""
    })

  it.effect("are waited for as an array or a record, and what is neither is refused", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* driverOf({ a: offline(), b: offline() })
      const named = (machine: Machine) => Effect.as(machine.succeed("true"), machine.name)
      for (const those of [machines, Object.values(machines), new Set(Object.values(machines))]) {
        assert.deepStrictEqual(yield* service.waitAll(those, named), ["a", "b"])
      }
      for (const those of [5, undefined, ["a"], new Map(Object.entries(machines)), machines.a!.succeed("true")]) {
        assert.include(yield* refused(service.waitAll(those as never, named)), "driver.waitAll: the argument")
      }
      assert.include(yield* refused(service.waitAll(machines.a as never, named)), '"a" is a single machine')
    })
  )

  it.effect("are waited for by a function that gives Effects, and the subtest fails with any other", () =>
    Effect.gen(function* () {
      const { machines, service, subtests } = yield* driverOf({ a: offline() })
      const bodies = [
        ["nginx", 'the function "nginx" is not a function that returns an Effect'],
        [machines.a!.succeed("true"), "is an Effect, not a function that returns one"],
        [function* () {}, "is a generator function, not a function that returns an Effect; wrap it in Effect.fn"],
        [() => undefined, 'what the function returns, "undefined" is not an Effect'],
        [() => () => Effect.void, "is a function, not an Effect; pass the Effect that it returns"]
      ] as const
      for (const [body, reason] of bodies) {
        const waiting = service.waitAll(machines, untyped<() => Effect.Effect<void>>(body))
        assert.include(yield* refused(waiting), reason)
        yield* service.subtest("soft", waiting, { softFail: true })
        assert.strictEqual(subtests.at(-1)?.status, "failed")
        assert.include(subtests.at(-1)?.failure?.message, "driver.waitAll")
      }
      assert.lengthOf(subtests, bodies.length)
    })
  )

  it.effect("refuses a subtest that is no Effect, and says what to do", () =>
    Effect.gen(function* () {
      const { service, subtests } = yield* driverOf({})
      const given = (part: unknown) => refused(service.subtest("part", part as Effect.Effect<void>))
      assert.include(yield* given(() => Effect.void), "is a function, not an Effect; pass the Effect that it returns")
      assert.include(yield* given(function* () {}), "is a generator function, not an Effect; wrap it in Effect.gen")
      assert.include(yield* given(undefined), 'driver.subtest: the part "undefined" is not an Effect')
      assert.include(yield* given(Promise.resolve(1)), "is a Promise, not an Effect")
      assert.include(
        yield* given(Effect.succeed(Effect.never)),
        'driver.subtest: the value of the part, "Effect" is an Effect that was never run; write return yield*'
      )
      // One to be looked at.
      const exit = yield* service.subtest("looked at", Effect.exit(Effect.fail("seen")))
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(
        subtests.map(({ failure, status }) => [status, failure?.kind]),
        [...[1, 2, 3, 4, 5].map(() => ["failed", "InvalidArgument"]), ["passed", undefined]]
      )
    })
  )

  it.effect("reports subtests, and goes on after a soft failure", () =>
    Effect.gen(function* () {
      const { service, subtests } = yield* driverOf({})
      assert.strictEqual(yield* service.subtest("one", Effect.succeed(1)), 1)
      assert.isUndefined(yield* service.subtest("two", Effect.fail("no"), { softFail: true }))
      assert.strictEqual(yield* Effect.flip(service.subtest("three", Effect.fail("no"))), "no")
      assert.deepStrictEqual(
        subtests.map(({ name, status }) => [name, status]),
        [
          ["one", "passed"],
          ["two", "failed"],
          ["three", "failed"]
        ]
      )
      assert.strictEqual(subtests[1]?.failure?.message, "no")
    })
  )

  it.effect("leaves nothing running when its scope closes", () =>
    Effect.gen(function* () {
      const { mock, states } = yield* Effect.scoped(
        Effect.gen(function* () {
          const driver = yield* driverOf({ a: offline() })
          yield* driver.begin
          return driver
        })
      )
      yield* mock.machine("a")
      assert.deepStrictEqual(states("a"), ["booting", "ready"])
    })
  )
})

describe("a machine made while the test runs", () => {
  it.effect("is refused when there is no address left for it", () =>
    Effect.gen(function* () {
      const idle = offline({ autoStart: false, memory: "64 MiB" })
      const all = Object.fromEntries(Array.from({ length: 254 }, (_, number) => [`m${number}`, idle]))
      const { service } = yield* driverOf(all)
      const error = yield* Effect.flip(service.machine("more", idle))
      assert.strictEqual(error._tag, "InvalidAddresses")
      assert.include(error.message, "a test can have at most 254 machines, got 255")
    }).pipe(Effect.provideService(HostLimits, { memory: 2 ** 40, cpus: 4 }))
  )

  it.live("is on the networks that the test declares, with addresses of its own", () =>
    Effect.gen(function* () {
      const taken = { vlan: "lan", mac: "52:54:00:aa:bb:cc", ipv4: "10.0.0.5" }
      const idle = (vlans: MachineOptions["vlans"]) => offline({ autoStart: false, vlans })
      const networks = { lan: {}, dmz: {} }
      const { service } = yield* driverOf({ a: idle([taken]) }, {}, false, { networks })
      const problemOf = (vlans: MachineOptions["vlans"]) =>
        Effect.map(Effect.flip(service.machine("b", idle(vlans))), ({ _tag, message }) => [_tag, message])
      assert.deepStrictEqual(yield* problemOf(["dmzz"]), [
        "InvalidMachine",
        'b: unknown network "dmzz"; did you mean "dmz"?'
      ])
      assert.deepStrictEqual(yield* problemOf(["lan", { vlan: "dmz", mac: "52:54:00:AA:BB:CC" }]), [
        "InvalidMachine",
        "b: eth2 must have an address of its own, got the MAC address 52:54:00:aa:bb:cc, which eth1 of a has"
      ])
      assert.deepStrictEqual(yield* problemOf([{ vlan: "lan", ipv4: "10.0.0.5/8" }]), [
        "InvalidMachine",
        "b: eth1 must have an address of its own, got 10.0.0.5 on lan, which eth1 of a has"
      ])
      const b = yield* service.machine("b", idle([{ vlan: "dmz", ipv4: "10.0.0.5/8" }]))
      assert.deepStrictEqual(b.interfaces, [
        {
          ...{ device: "eth1", vlan: 2, network: "dmz", mac: "52:54:00:12:02:02" },
          ...{ ipv4: "10.0.0.5", ipv4Prefix: 8, ipv6: "2001:db8:2::2", ipv6Prefix: 64 }
        }
      ])
    })
  )

  it.effect("of a start script is refused on a VLAN where there is no vde_switch", () =>
    Effect.gen(function* () {
      const { service } = yield* driverOf({})
      const { PATH } = process.env
      yield* Effect.addFinalizer(() => Effect.sync(() => (process.env.PATH = PATH)))
      process.env.PATH = "/nowhere"
      const error = yield* Effect.flip(service.machine("m", { image: Image.startScript("/bin/true"), vlans: [1] }))
      assert.strictEqual(error._tag, "ToolMissing")
      assert.include(error.message, "vde_switch")
    })
  )
})
