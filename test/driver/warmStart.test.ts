import * as Fs from "node:fs"
import * as Path from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { MachineShape, SavedMachine } from "../../src/backends/Backend.ts"
import { Backend } from "../../src/backends/Backend.ts"
import { SaveFailed } from "../../src/backends/BackendError.ts"
import * as Mock from "../../src/backends/mock/Mock.ts"
import type { DriverService } from "../../src/driver/Driver.ts"
import type { RunEvent } from "../../src/driver/RunEvent.ts"
import * as Runner from "../../src/driver/Runner.ts"
import { type TestCase, test } from "../../src/driver/TestCase.ts"
import { make as makeRunDirectory, RunDirectory } from "../../src/host/RunDirectory.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import type { MachineOptions } from "../../src/machine/MachineSpec.ts"
import type * as NetworkSpec from "../../src/network/NetworkSpec.ts"
import { BootProgressListener } from "../../src/transport/Shell.ts"
import { collecting, temporaryFolder } from "./storeSupport.ts"
import { type DriverOfOptions, driverOf, imageStore, offline } from "./support.ts"

/** How each machine became ready, in the order of the events. */
const readiness = (events: ReadonlyArray<RunEvent>) =>
  events.flatMap((event) =>
    event._tag === "MachineEvent" && event.event._tag === "MachineState" && event.event.state === "ready"
      ? [`${event.event.machine} ${event.event.detail === "" ? "booted" : event.event.detail}`]
      : []
  )

/** What is told of a machine, each state with its detail. */
const toldOf = (name: string, events: ReadonlyArray<RunEvent>) =>
  events.flatMap((event) =>
    event._tag === "MachineEvent" && event.event._tag === "MachineState" && event.event.machine === name
      ? [`${event.event.state} ${event.event.detail}`.trim()]
      : []
  )

const slow = { bootTime: "50 millis" } as const

/** A run with these machines started, as `body` leaves it. */
const inRun = <A, E>(
  folder: string,
  machines: Readonly<Record<string, MachineOptions>>,
  body: (driver: Effect.Success<ReturnType<typeof driverOf>>) => Effect.Effect<A, E>,
  options: Mock.MockOptions & DriverOfOptions = {}
) => {
  const { layer, lines } = collecting()
  return Effect.gen(function* () {
    const driver = yield* driverOf(machines, { guests: () => slow, ...options }, { folder }, options)
    const exit = yield* Effect.exit(Effect.andThen(driver.begin, body(driver)))
    yield* driver.finished
    return { result: yield* exit, lines, ready: readiness(driver.events), events: driver.events }
  }).pipe(Effect.scoped, Effect.provide(layer))
}

const nothing = () => Effect.void

/** Runs tests in one run, and gives what came of each. */
const runAll = (tests: ReadonlyArray<TestCase>, folder: string, options: Mock.MockOptions = {}) =>
  Effect.gen(function* () {
    const mock = yield* Mock.make(options)
    const results = yield* Runner.run(tests, { output: Path.join(folder, "output"), snapshots: { folder } }).pipe(
      Effect.provideService(Backend, mock.backend),
      Effect.provideServiceEffect(RunDirectory, makeRunDirectory({ base: folder })),
      Effect.provideService(ImageStore, imageStore)
    )
    return results.map(({ failure, status }) => (failure === undefined ? status : `${status}: ${failure.message}`))
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

/** A machine that shares the snapshots of all that are like it. */
const alike = (options: Partial<MachineOptions> = {}) => offline({ snapshot: "shared", ...options })

describe("machines that start from a snapshot", () => {
  it.live("start from one of their own name and addresses, unless they share", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      assert.deepStrictEqual((yield* inRun(folder, { a: offline() }, nothing)).ready, ["a booted"])
      const both = yield* inRun(folder, { a: offline(), b: offline() }, nothing)
      assert.sameMembers([...both.ready], ["a forked", "b booted"])
      // Shared snapshots are apart from both.
      assert.sameMembers([...(yield* inRun(folder, { a: alike() }, nothing)).ready], ["a booted"])
      assert.sameMembers([...(yield* inRun(folder, { b: alike() }, nothing)).ready], ["b forked"])
    })
  )

  it.live("start from one with all the addresses that are declared of them, and with cards of the same MTU", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const readyWith = (vlans: MachineOptions["vlans"], networks: NetworkSpec.Networks = { lan: {} }) =>
        Effect.map(inRun(folder, { a: offline({ vlans }) }, nothing, { networks }), ({ ready }) => ready.join())
      for (const card of [{}, { ipv4: "10.0.0.5" }, { ipv6: "fd00::5" }, { mac: "52:54:00:aa:bb:cc" }]) {
        assert.strictEqual(yield* readyWith([{ vlan: "lan", ...card }]), "a booted", JSON.stringify(card))
        assert.strictEqual(yield* readyWith([{ vlan: 1, ...card }]), "a forked", JSON.stringify(card))
      }
      const prefix = yield* readyWith([{ vlan: "lan", ipv4: "10.0.0.5/8" }])
      const mtu = yield* readyWith(["lan"], { lan: { mtu: 9000 } })
      assert.deepStrictEqual([prefix, mtu], ["a booted", "a booted"])
    })
  )

  it.live("tell how long they were saved for later runs, which is no part of the test's time", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const excluded = (events: ReadonlyArray<RunEvent>) =>
        events.flatMap((event) =>
          event._tag === "MachineEvent" && event.event._tag === "MachineState" && event.event.state === "ready"
            ? [event.event.excludedMillis ?? 0]
            : []
        )
      const guests = { a: { saveTime: "20 millis" } } as const
      const [first = 0] = excluded((yield* inRun(folder, { a: offline() }, nothing, { guests })).events)
      assert.isAtLeast(first, 20)
      assert.deepStrictEqual(excluded((yield* inRun(folder, { a: offline() }, nothing)).events), [0])
    })
  )

  it.live("are all but the first of a shape, in this run and the next", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const first = yield* inRun(folder, { a: alike() }, ({ service }) =>
        Effect.gen(function* () {
          const b = yield* service.machine("b", alike())
          yield* b.start()
          const other = yield* service.machine("other", alike({ memory: "96 MiB" }))
          yield* other.start()
        })
      )
      assert.deepStrictEqual(first.ready, ["a booted", "b forked", "other booted"])
      const second = yield* inRun(folder, { c: alike(), d: alike({ memory: "96 MiB" }) }, nothing)
      assert.sameMembers([...second.ready], ["c forked", "d forked"])
      assert.deepStrictEqual([...first.lines, ...second.lines], [])
    })
  )

  it.live("are not told to boot, but by a stream of states not to have been ready yet", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: offline() }, nothing)
      const { events, result } = yield* inRun(folder, { a: offline() }, ({ machines }) =>
        Effect.gen(function* () {
          const { a } = machines
          yield* a!.crash()
          const untilReady = Stream.takeUntil(a!.state, (now) => now === "ready")
          const states = yield* Effect.forkChild(Stream.runCollect(untilReady), { startImmediately: true })
          yield* a!.start()
          return yield* Fiber.join(states)
        })
      )
      assert.deepStrictEqual(result, ["stopped", "booting", "ready"])
      const forked = ["booting forked", "ready forked"]
      assert.deepStrictEqual(toldOf("a", events), [...forked, "stopped", ...forked])
      const broken = yield* inRun(folder, { a: offline() }, nothing, { breaks: () => true })
      assert.deepStrictEqual(toldOf("a", broken.events), ["booting forked", "booting", "ready"])
    })
  )

  it.live("wait for the first when all start at once", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const { ready } = yield* inRun(folder, { a: alike(), b: alike(), c: alike() }, nothing)
      assert.deepStrictEqual(
        ready.map((line) => line.split(" ")[1]),
        ["booted", "forked", "forked"]
      )
    })
  )

  it.live("are saved when the guest has settled, and are told their names whether they booted or not", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: offline() }, ({ mock }) =>
        Effect.gen(function* () {
          const commands = yield* (yield* mock.machine("a")).commands
          assert.isTrue(commands.some((command) => command.includes("is-system-running --wait")))
          assert.isTrue(commands.some((command) => command.includes("/proc/sys/kernel/hostname")))
        })
      )
      yield* inRun(folder, { a: offline() }, ({ mock }) =>
        Effect.gen(function* () {
          const commands = yield* (yield* mock.machine("a")).commands
          assert.isFalse(commands.some((command) => command.includes("is-system-running")))
          assert.isTrue(commands.some((command) => command.includes("/proc/sys/kernel/hostname")))
        })
      )
    })
  )

  it.live("are saved all the same when a guest does not settle in time", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const guests = () => ({ commands: [[/is-system-running/, { delay: "1 hour" }]] as const })
      const first = yield* inRun(folder, { a: offline() }, nothing, { guests, timeScale: 0.01 })
      assert.deepStrictEqual(first.ready, ["a booted"])
      assert.deepStrictEqual((yield* inRun(folder, { a: offline() }, nothing)).ready, ["a forked"])
    })
  )

  it.live("boot when asked to, when the test says so, and where the backend cannot, without a word", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: offline() }, nothing)
      const asked = yield* inRun(folder, { a: offline({ snapshot: false }) }, nothing)
      const unable = yield* inRun(folder, { a: offline() }, nothing, { capabilities: ["pause"] })
      process.env.VMTEST_SNAPSHOTS = "off"
      const off = yield* inRun(folder, { a: offline() }, nothing)
      delete process.env.VMTEST_SNAPSHOTS
      for (const { lines, ready } of [asked, unable, off]) {
        assert.deepStrictEqual(ready, ["a booted"])
        assert.deepStrictEqual(lines, [])
      }
    })
  )

  it.live("boot again when they have disks that were written to, and start as new when they have none", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const again = ({ machines }: Effect.Success<ReturnType<typeof driverOf>>) =>
        Effect.forEach(Object.values(machines), (machine) => Effect.andThen(machine.crash(), machine.start()))
      const with1 = offline({ disks: ["1 MiB"] })
      assert.deepStrictEqual((yield* inRun(folder, { a: with1 }, again)).ready, ["a booted", "a booted"])
      assert.deepStrictEqual((yield* inRun(folder, { a: with1 }, again)).ready, ["a forked", "a booted"])
      assert.deepStrictEqual((yield* inRun(folder, { a: offline() }, again)).ready, ["a booted", "a forked"])
    })
  )
})

describe("a boot that takes long", () => {
  it.live("settles and is saved off the test's clock", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const settling: Mock.Rule = [/is-system-running/, { delay: "2 seconds" }]
      const body = ({ a }: Readonly<Record<string, Machine>>) => a!.succeed("true")
      const machines = { a: offline() }
      const late = { guests: { a: { commands: [settling], saveTime: "500 millis" } } } as const
      assert.deepStrictEqual(yield* runAll([test("t", { machines, timeout: "1500 millis" }, body)], folder, late), [
        "passed"
      ])
      // What the guest does by itself is on it.
      const slowly = { guests: { a: { bootTime: "3 seconds" } } } as const
      const cold = { a: offline({ snapshot: false }) }
      assert.deepStrictEqual(
        (yield* runAll([test("t", { machines: cold, timeout: "1500 millis" }, body)], folder, slowly)).map((line) =>
          line.replace(/ for [12]s$/, "")
        ),
        ["timedOut: the test timed out after 1s 500ms while starting a"]
      )
    })
  )

  it.effect("says what it waits for, after 10 s, 20 s, 40 s, and then every 30 s", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const jobs = "nginx.service\nssh.service\n"
      const commands: ReadonlyArray<Mock.Rule> = [
        [/is-system-running/, { delay: "75 seconds" }],
        [/list-jobs/, jobs]
      ]
      const done = yield* Effect.forkChild(
        inRun(folder, { a: offline() }, nothing, { timeScale: 3, guests: { a: { commands, saveTime: "12 seconds" } } })
      )
      const passing = (step: Duration.Input, times: number, pause: Duration.Input) =>
        Effect.repeat(Effect.andThen(TestClock.adjust(step), TestClock.withLive(Effect.sleep(pause))), { times })
      // The clock of the test goes on while files of the host are read: slowly until the guest settles, and again when it is saved, after 75 s.
      const all = Effect.andThen(
        Effect.andThen(passing("1 millis", 250, "4 millis"), passing("1 second", 72, "5 millis")),
        Effect.forever(passing("10 millis", 100, "2 millis"))
      )
      yield* Effect.raceFirst(Fiber.await(done), all)
      const { events, ready } = yield* Fiber.join(done)
      assert.deepStrictEqual(ready, ["a booted"])
      const told = events.flatMap((event) =>
        event._tag === "MachineEvent" && event.event._tag === "StillBooting" ? [event.event.detail] : []
      )
      const settling =
        "its shell answers, and it is saved for later runs when systemd has started nginx.service, ssh.service"
      const saving = "its guest is ready, and is saved for later runs"
      const seen = told.flatMap((line) => {
        const [, detail = "", seconds = ""] = /^(.*); it has taken (\d+) s so far$/.exec(line) ?? []
        return detail === settling || detail === saving ? [[detail, Number(seconds)]] : []
      })
      assert.deepStrictEqual(seen, [...[10, 20, 40, 70].map((second) => [settling, second]), [saving, 10]])
    })
  )

  it.live("is told as the machine's, of one that goes on from a snapshot as well", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const open: DriverOfOptions["open"] = (shell) =>
        Layer.unwrap(
          Effect.gen(function* () {
            const tell = yield* BootProgressListener
            yield* tell({ machine: "its guest", waited: Duration.seconds(10), console: "Restarting system\n" })
            return shell
          })
        )
      for (const how of ["booted", "forked"]) {
        const { events, lines, ready } = yield* inRun(folder, { a: offline() }, nothing, { open })
        assert.deepStrictEqual(ready, [`a ${how}`])
        const told = events.flatMap((event) =>
          event._tag === "MachineEvent" && event.event._tag === "StillBooting" ? [event.event] : []
        )
        const detail = "no shell after 10 s; the console said last:\nRestarting system"
        assert.deepStrictEqual(told, [{ _tag: "StillBooting", machine: "a", detail }])
        assert.deepStrictEqual(lines, [])
      }
    })
  )
})

describe("a snapshot that does not load", () => {
  it.live("is dropped with one warning when it does not load, and the machine boots", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: alike() }, nothing)
      const manifestOf = ({ directory }: SavedMachine) =>
        Fs.readFileSync(Path.join(directory, "..", "manifest.json"), "utf8")
      const id = Fs.readdirSync(Path.join(folder, "entries"))[0]!
      const old = manifestOf({ directory: Path.join(folder, "entries", id, "machine") })
      const broken = yield* inRun(folder, { a: alike(), b: alike(), c: alike() }, nothing, {
        breaks: (from) => !Fs.existsSync(from.directory) || manifestOf(from) === old
      })
      assert.deepStrictEqual(broken.ready.map((line) => line.split(" ")[1]).sort(), ["booted", "forked", "forked"])
      assert.lengthOf(broken.lines, 1)
      assert.match(broken.lines[0]!, /discarding the snapshot of .* \(.*out of sorts: no such card\); booting instead/)
      // What was made instead loads again.
      assert.deepStrictEqual((yield* inRun(folder, { a: alike() }, nothing)).ready, ["a forked"])
    })
  )

  it.live("stays when the host is to blame: the machine boots with one warning, and its warm-up is run", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const warmed: Array<string> = []
      const warmUp = ({ name }: Machine) => Effect.sync(() => void warmed.push(name))
      for (const [machines, script] of [
        [{ a: offline() }, undefined],
        [{ a: offline({ memory: "96 MiB", warmUp }) }, "1"]
      ] as const) {
        const options = script === undefined ? {} : { script }
        yield* inRun(folder, machines, nothing, options)
        const failing = { ...options, breaks: () => true, damaged: false }
        const { lines, ready } = yield* inRun(folder, machines, nothing, failing)
        assert.deepStrictEqual(ready, ["a booted"])
        assert.deepStrictEqual(lines, [
          "could not resume a from its snapshot (could not resume from there: it is out of sorts: no such card); booting instead"
        ])
        const again = yield* inRun(folder, machines, nothing, options)
        assert.deepStrictEqual([again.ready, again.lines], [["a forked"], []])
      }
      assert.deepStrictEqual(warmed, ["a", "a"])
    })
  )

  it.live("is dropped when a boot takes less time than it was given", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: offline() }, nothing)
      const slowly = { breaks: () => true, damaged: false, breakTime: "2 seconds" } as const
      const { lines, ready } = yield* inRun(folder, { a: offline() }, nothing, slowly)
      assert.deepStrictEqual([ready, lines.length], [["a booted"], 2])
      assert.match(
        lines[1]!,
        /^discarding the snapshot of .* \(it did not come up in the time in which a boots\); booting instead$/
      )
      assert.deepStrictEqual((yield* inRun(folder, { a: offline() }, nothing)).ready, ["a booted"])
    })
  )

  it.live("leaves nothing on the disks of the machine that boots instead", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const contents: Array<string> = []
      const look = ({ mock }: Effect.Success<ReturnType<typeof driverOf>>) =>
        Effect.map(mock.machine("a"), ({ shape }) => {
          for (const { path } of shape.disks ?? []) contents.push(Fs.readFileSync(path, "latin1").replaceAll("\0", ""))
          assert.strictEqual(Fs.statSync(shape.disks![0]!.path).size, 2 ** 20)
        })
      const warmUp = (machine: Machine) => machine.succeed("prepare")
      const machines = { a: offline({ disks: ["1 MiB", "1 MiB"], warmUp }) }
      yield* inRun(folder, machines, nothing, { script: "1" })
      // As a hypervisor that has put the disks in their place when it finds that the state does not load.
      const breaks = (_: SavedMachine, { disks }: MachineShape) => {
        for (const { path } of disks ?? []) Fs.writeFileSync(path, "of the saved machine")
        return true
      }
      const { ready } = yield* inRun(folder, machines, look, { script: "1", breaks })
      assert.deepStrictEqual([ready, contents], [["a booted"], ["", ""]])
    })
  )

  it.live("is dropped with one warning when it is damaged", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: alike() }, nothing)
      const entry = Path.join(folder, "entries", Fs.readdirSync(Path.join(folder, "entries"))[0]!, "machine")
      const file = Path.join(entry, Fs.readdirSync(entry)[0]!)
      Fs.chmodSync(file, 0o600)
      Fs.writeFileSync(file, Fs.readFileSync(file, "utf8").replace("mock", "mick"))
      const damaged = yield* inRun(folder, { a: alike(), b: alike() }, nothing)
      assert.deepStrictEqual(damaged.ready.map((line) => line.split(" ")[1]).sort(), ["booted", "forked"])
      assert.lengthOf(damaged.lines, 1)
    })
  )

  it.live("is not even made: one warning, and all machines boot", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const guests = (shape: { readonly name: string }) => ({
        saveError: new SaveFailed({ machine: shape.name, directory: "there", reason: "no space left" })
      })
      const { lines, ready } = yield* inRun(folder, { a: alike(), b: alike(), c: alike() }, nothing, { guests })
      assert.deepStrictEqual([...ready].sort(), ["a booted", "b booted", "c booted"])
      assert.lengthOf(lines, 1)
      assert.include(lines[0]!, "no space left")
      assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "entries")), [])
      assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "tmp")), [])
    })
  )

  it.live("has nowhere to be: one warning, and all machines boot", () =>
    Effect.gen(function* () {
      const { lines, ready } = yield* inRun("/proc/nowhere", { a: offline(), b: offline() }, nothing)
      assert.deepStrictEqual([...ready].sort(), ["a booted", "b booted"])
      assert.lengthOf(lines, 1)
    })
  )
})

describe("a warm-up", () => {
  const counting = () => {
    const runs: Array<string> = []
    const warmUp = (machine: Machine) =>
      Effect.andThen(
        machine.succeed("prepare"),
        Effect.sync(() => void runs.push(machine.name))
      )
    return { runs, warmUp }
  }

  it.live("is run once for a script, and again when that changes", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const { runs, warmUp } = counting()
      const machines = { a: offline({ warmUp }) }
      const first = yield* inRun(folder, machines, nothing, { script: "1" })
      const second = yield* inRun(folder, machines, nothing, { script: "1" })
      assert.deepStrictEqual([first.ready, second.ready, runs], [["a booted"], ["a forked"], ["a"]])
      // The machine as it was before its warm-up is there already.
      const third = yield* inRun(folder, machines, nothing, { script: "2" })
      assert.deepStrictEqual([third.ready, runs], [["a forked"], ["a", "a"]])
    })
  )

  it.live("goes by its key, if it has one, and runs each time where neither is known", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const { runs, warmUp } = counting()
      for (const script of ["1", "2"]) {
        yield* inRun(folder, { a: offline({ warmUp: { run: warmUp, key: "x" } }) }, nothing, { script })
      }
      assert.lengthOf(runs, 1)
      yield* inRun(folder, { a: offline({ warmUp: { run: warmUp, key: "y" } }) }, nothing, { script: "1" })
      assert.lengthOf(runs, 2)
      const { lines } = yield* inRun(folder, { a: offline({ warmUp }) }, nothing)
      yield* inRun(folder, { a: offline({ warmUp }) }, nothing)
      assert.lengthOf(runs, 4)
      assert.include(lines.join(), "its result is kept only with a key")
    })
  )

  it.live("is run for each machine of a name, for it may write the name anywhere", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const { runs, warmUp } = counting()
      const machines = { a: offline({ warmUp }), b: offline({ warmUp }) }
      yield* inRun(folder, machines, nothing, { script: "1" })
      assert.sameMembers(runs, ["a", "b"])
      const second = yield* inRun(folder, machines, nothing, { script: "1" })
      assert.sameMembers([...second.ready], ["a forked", "b forked"])
      assert.lengthOf(runs, 2)
    })
  )

  it.live("is that of its own test, and of forks that declare machines", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const runs: Array<string> = []
      const machine = (what: string) =>
        offline({
          warmUp: (guest) =>
            Effect.andThen(
              guest.succeed(what),
              Effect.sync(() => void runs.push(what))
            )
        })
      const declares = (what: string) => (driver: DriverService) =>
        driver.fork((_, inside) => Effect.flatMap(inside.machine("late", machine(what)), (late) => late.start()))
      const tests = ["one", "two", "three"].map((name, index) => ({
        ...test(name, { machines: { a: machine(`${index}`) } }, (_, driver) =>
          Effect.andThen(declares(`${index} first`)(driver), declares(`${index} second`)(driver))
        ),
        script: "1"
      }))
      const wanted = tests.flatMap((_, index) => [`${index}`, `${index} first`, `${index} second`])
      assert.deepStrictEqual(yield* runAll(tests, folder), ["passed", "passed", "passed"])
      assert.deepStrictEqual(runs, wanted)
      yield* runAll([{ ...tests[0]!, script: "2" }, ...tests], folder)
      assert.deepStrictEqual(runs, [...wanted, ...wanted.slice(0, 3)])
    })
  )

  it.live("is run again when a file or a folder of the host has changed that it copies, without a warning", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const app = Path.join(folder, "app")
      Fs.mkdirSync(app)
      Fs.writeFileSync(Path.join(app, "file"), "1")
      const runs: Array<string> = []
      const warmUp = (machine: Machine) =>
        Effect.andThen(
          // The mock takes no archive.
          Effect.ignore(machine.copyFromHost(app, "/srv/app")),
          Effect.sync(() => void runs.push("warmed"))
        )
      const machines = { a: offline({ warmUp: { run: warmUp, key: "k" } }) }
      const guests = () => ({ commands: [[/./, {}]] as const })
      const went = Effect.map(inRun(Path.join(folder, "store"), machines, nothing, { guests }), ({ lines }) => {
        assert.deepStrictEqual(lines, [])
        return runs.length
      })
      assert.deepStrictEqual([yield* went, yield* went], [1, 1])
      Fs.writeFileSync(Path.join(app, "file"), "2")
      assert.deepStrictEqual([yield* went, yield* went], [2, 2])
      Fs.writeFileSync(Path.join(app, "more"), "")
      assert.deepStrictEqual([yield* went, yield* went], [3, 3])
    })
  )

  it.live("is done before anybody else can use the machine, also without snapshots", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      for (const capabilities of [undefined, ["pause"]] as const) {
        yield* inRun(
          folder,
          {
            a: offline({ warmUp: (machine) => Effect.andThen(Effect.sleep("100 millis"), machine.succeed("prepare")) })
          },
          ({ machines, mock }) =>
            Effect.gen(function* () {
              yield* machines.a!.succeed("use")
              const commands = yield* (yield* mock.machine("a")).commands
              assert.isBelow(commands.indexOf("prepare"), commands.indexOf("use"))
              assert.isAtLeast(commands.indexOf("prepare"), 0)
            }),
          { script: "1", ...(capabilities === undefined ? {} : { capabilities }) }
        )
        Fs.rmSync(folder, { recursive: true, force: true })
      }
    })
  )

  it.live("that gives no Effect, or one that nobody ran, fails as well", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      for (const [warmUp, words] of [
        [() => undefined, 'what the warm-up returns, "undefined" is not an Effect; write (machine) => Effect.gen'],
        [() => Effect.succeed(Effect.never), 'the value of the warm-up, "Effect" is an Effect that was never run']
      ] as const) {
        const machines = { a: offline({ warmUp: warmUp as () => Effect.Effect<void> }) }
        const error = yield* Effect.flip(Effect.sandbox(inRun(folder, machines, nothing, { script: "1" })))
        assert.include(String(Cause.squash(error)), words)
      }
    })
  )

  it.live("that fails is a failure to boot, and nothing of it is kept", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const failing = offline({ warmUp: (machine) => machine.succeed("false") })
      const guests = () => ({ commands: [["false", { exitCode: 1, stderr: "no" }]] as const })
      const error = yield* Effect.flip(inRun(folder, { a: failing }, nothing, { guests, script: "1" }))
      assert.strictEqual(error._tag, "BootFailed")
      assert.match(error.message, /its warm-up failed: /)
      assert.lengthOf(Fs.readdirSync(Path.join(folder, "entries")), 1)
      assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "tmp")), [])
    })
  )
})

describe("driver.fork", () => {
  it.live("fails when the value of its body is an Effect that nobody ran", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: offline() }, ({ service }) =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(Effect.sandbox(service.fork(() => Effect.succeed(Effect.never))))
          assert.include(String(Cause.squash(error)), "the value of driver.fork's body, ")
        })
      )
    })
  )

  it.live("runs an effect on forks of all machines, gives its result, and throws them away", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: alike(), b: alike(), off: offline({ autoStart: false }) }, (driver) =>
        Effect.gen(function* () {
          const { mock, service } = driver
          const original = yield* mock.machine("a")
          const result = yield* service.fork((machines, inside) =>
            Effect.gen(function* () {
              assert.deepStrictEqual(Object.keys(machines).sort(), ["a", "b", "off"])
              assert.isFalse(yield* machines.off!.isUp())
              assert.notStrictEqual(yield* mock.machine("a"), original)
              yield* machines.a!.succeed("only in the fork")
              return yield* inside.fork(({ b }) => Effect.as(b!.succeed("deeper"), 42))
            })
          )
          assert.strictEqual(result, 42)
          assert.notInclude(yield* original.commands, "only in the fork")
          // Thrown away at once, not at the end of the test.
          assert.strictEqual(driver.live(), 2)
          yield* service.machines.a!.succeed("true")
          assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "tmp")), [])
          const forked = readiness(driver.events).filter((line) => line.includes("fork "))
          assert.includeMembers(forked, ["a (fork 1) forked", "b (fork 1) forked"])
        })
      )
    })
  )

  it.live("is under the conditions of the test, and has conditions of its own", () =>
    Effect.gen(function* () {
      const guests = () => ({ commands: [["hang", { delay: "1 hour" }]] as const })
      const body = ({ machines: { a }, service }: Effect.Success<ReturnType<typeof driverOf>>) =>
        Effect.gen(function* () {
          yield* a!.start()
          const dark = Effect.delay(Effect.succeed(false), "50 millis")
          const own = yield* service.fork((machines, inside) =>
            Effect.andThen(inside.pollingCondition("the fork is lit", dark), Effect.flip(machines.a!.succeed("hang")))
          )
          assert.include(own.message, '"the fork is lit" no longer holds')
          const outer = service.fork((machines) =>
            Effect.andThen(service.pollingCondition("the light is on", dark), machines.a!.succeed("hang"))
          )
          assert.include((yield* Effect.flip(outer)).message, '"the light is on" no longer holds')
          yield* a!.succeed("true")
        }).pipe(Effect.timeout("10 seconds"))
      yield* inRun(yield* temporaryFolder, { a: offline({ snapshot: false }) }, body, { guests })
    })
  )

  it.live("and fork() take no addresses, and a fork that has ended is not started again with all the others", () =>
    Effect.gen(function* () {
      const idle = offline({ autoStart: false, snapshot: false, memory: "64 MiB" })
      const all = Object.fromEntries(Array.from({ length: 253 }, (_, number) => [`m${number}`, idle]))
      const machines = { ...all, a: offline({ snapshot: false, memory: "64 MiB" }) }
      yield* inRun(yield* temporaryFolder, machines, ({ machines: { a }, live, service }) =>
        Effect.gen(function* () {
          const snapshot = yield* a!.snapshot()
          const first = yield* a!.fork({ from: snapshot })
          const second = yield* a!.fork({ from: snapshot })
          assert.deepStrictEqual([first.name, second.name], ["a-fork1", "a-fork2"])
          yield* service.fork(({ a }) => a!.fork())
          assert.strictEqual((yield* Effect.flip(a!.fork({ from: snapshot, identity: true })))._tag, "InvalidAddresses")
          yield* first.crash()
          yield* service.startAll()
          assert.isFalse(yield* first.isUp())
          assert.strictEqual(live(), 255)
        })
      )
    })
  )

  it.live("leaves the ports of the host to the originals", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const forwards = [{ hostPort: 8080, guestPort: 80 }]
      yield* inRun(folder, { a: offline({ forwards }) }, ({ mock, service }) =>
        Effect.gen(function* () {
          assert.lengthOf((yield* mock.machine("a")).shape.forwards, 1)
          yield* service.fork(() =>
            Effect.gen(function* () {
              assert.deepStrictEqual((yield* mock.machine("a")).shape.forwards, [])
            })
          )
        })
      )
    })
  )

  it.live("fails as the effect does, and with the machine that cannot be saved", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: offline() }, ({ service }) =>
        Effect.gen(function* () {
          assert.strictEqual(yield* Effect.flip(service.fork(() => Effect.fail("no"))), "no")
          yield* service.fork(({ a }) => a!.crash())
          assert.isTrue(yield* service.machines.a!.isUp())
        })
      )
      const guests = (shape: { readonly name: string }) => ({
        saveError: new SaveFailed({ machine: shape.name, directory: "there", reason: "no space left" })
      })
      yield* inRun(
        yield* temporaryFolder,
        { a: offline({ snapshot: false }) },
        ({ service }) =>
          Effect.gen(function* () {
            const error = yield* Effect.flip(service.fork(() => Effect.void))
            assert.strictEqual(error._tag, "ForkFailed")
            assert.match(error.message, /could not fork the machines: a: .*no space left/)
          }),
        { guests }
      )
      yield* inRun(
        folder,
        { a: offline() },
        ({ service }) =>
          Effect.map(Effect.flip(service.fork(() => Effect.void)), ({ _tag }) =>
            assert.strictEqual(_tag, "Unsupported")
          ),
        { capabilities: ["pause"] }
      )
    })
  )

  it.live("runs several at once, saved together where they ask together", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: alike(), b: alike() }, ({ service }) =>
        Effect.gen(function* () {
          let most = 0
          const results = yield* Effect.forEach(
            [1, 2, 3, 4, 5],
            (number) =>
              service.fork(({ a }) =>
                Effect.gen(function* () {
                  most = Math.max(most, Fs.readdirSync(Path.join(folder, "tmp")).length)
                  yield* a!.succeed("true")
                  return number * 2
                })
              ),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(results, [2, 4, 6, 8, 10])
          assert.isAtMost(most, 2)
          assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "tmp")), [])
        })
      )
    })
  )

  it.live("lets machines go on that are saved by somebody else, paused and resumed meanwhile", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const guests = () => ({ saveTime: "100 millis" as const })
      const body = ({ machines: { a, b }, service }: Effect.Success<ReturnType<typeof driverOf>>) =>
        Effect.gen(function* () {
          const go = Effect.forEach([a!, b!], (machine) => machine.succeed("true")).pipe(Effect.timeout("5 seconds"))
          const fork = service.fork(({ b }) => b!.succeed("true"))
          yield* Effect.all([fork, b!.snapshot(), a!.snapshot(), fork, b!.snapshot()], { concurrency: "unbounded" })
          yield* go
          yield* a!.pause()
          const taking = yield* Effect.forkChild(a!.snapshot(), { startImmediately: true })
          yield* Effect.sleep("30 millis")
          yield* a!.resume()
          yield* Fiber.join(taking)
          yield* go
          const again = yield* Effect.forkChild(a!.snapshot(), { startImmediately: true })
          yield* Effect.sleep("30 millis")
          yield* a!.pause()
          yield* Fiber.join(again)
          assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.timeout(a!.succeed("true"), "100 millis"))))
          yield* a!.resume()
          yield* go
        })
      const machines = { a: offline({ snapshot: false }), b: offline({ snapshot: false }) }
      yield* inRun(folder, machines, body, { guests })
    })
  )

  it.live("leaves a machine paused that the test has paused, and lets the others go on", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* inRun(folder, { a: offline(), b: offline() }, ({ service }) =>
        Effect.gen(function* () {
          const { a, b } = service.machines
          yield* a!.pause()
          yield* service.fork(({ b }) => b!.succeed("true"))
          yield* b!.succeed("true")
          const waits = yield* Effect.exit(Effect.timeout(a!.succeed("true"), "100 millis"))
          assert.strictEqual(waits._tag, "Failure")
          yield* a!.resume()
          yield* a!.succeed("true")
        })
      )
    })
  )
})
