import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Decoder, encodeCall, type Message } from "../../src/guest/systemd/dbus.ts"
import { fullName, unitPath } from "../../src/guest/systemd/unitStates.ts"
import * as Unit from "../../src/guest/Unit.ts"
import type { ShellService } from "../../src/transport/Shell.ts"
import { ShellLost } from "../../src/transport/ShellError.ts"
import { guestOn, shellOf } from "../machine/support.ts"
import { body, message, type Plain } from "./fixtures/dbus.ts"

describe("the bytes of D-Bus", () => {
  it("a call is read back as it was made", () => {
    const call = {
      path: "/org/freedesktop/systemd1",
      interface: "org.freedesktop.DBus.Properties",
      member: "Get",
      args: ["org.freedesktop.systemd1.Manager", "NJobs"]
    }
    const { args, ...header } = call
    const [decoded] = new Decoder().push(encodeCall(1, call))
    assert.deepInclude(decoded, { type: "call", ...header, body: args })
  })

  it("what systemd 252 returned for a LoadUnit is read", () => {
    const recorded = [
      "6c020101330000000100000037000000050175000100000007017300180000006f72672e667265656465736b746f702e73797374656d6431",
      "000000000000000008016700016f00002e0000002f6f72672f667265656465736b746f702f73797374656d64312f756e69742f6e67696e78",
      "5f32657365727669636500"
    ].join("")
    assert.deepInclude(new Decoder().push(Buffer.from(recorded, "hex"))[0], {
      type: "return",
      replySerial: 1,
      body: ["/org/freedesktop/systemd1/unit/nginx_2eservice"]
    })
  })

  it("messages are found in pieces of any size", () => {
    const bytes = Buffer.concat([
      message({ type: 4, path: "/a", interface: "b.c", member: "D", signature: "s", body: body("s", ["ü"]) }),
      message({ type: 2, reply: 7, signature: "a{sv}", body: body("a{sv}", [new Map([["N", ["u", 3] as const]])]) }),
      message({ type: 3, reply: 8, error: "x.y.Z", signature: "s", body: body("s", ["why"]) })
    ])
    const whole = new Decoder().push(bytes)
    assert.lengthOf(whole, 3)
    assert.deepStrictEqual(whole[0]?.body, ["ü"])
    assert.deepStrictEqual(whole[1]?.body, [new Map([["N", 3]])])
    assert.deepInclude(whole[2], { type: "error", replySerial: 8, errorName: "x.y.Z", body: ["why"] })
    for (let size = 1; size < 40; size++) {
      const decoder = new Decoder()
      const messages: Array<Message> = []
      for (let at = 0; at < bytes.length; at += size) messages.push(...decoder.push(bytes.subarray(at, at + size)))
      assert.deepStrictEqual(messages, [...whole])
    }
  })

  it("values of every type come out as they went in", () => {
    const cases: ReadonlyArray<readonly [string, ReadonlyArray<Plain>]> = [
      ["ybnqiuxtd", [200, true, -3, 65535, -70000, 4_000_000_000, -5_000_000_000, 5_000_000_000, 0.5]],
      ["sog", ["", "/", "a(sv)"]],
      ["as", [[]]],
      ["asu", [["a", "bcd", ""], 7]],
      [
        "a(so)y",
        [
          [
            ["x", "/x"],
            ["longer", "/longer"]
          ],
          1
        ]
      ],
      ["a{sas}", [new Map([["k", ["a", "b"]]])]],
      ["(u(st))", [[1, ["x", 9]]]],
      ["at", [[1, 2, 3]]],
      ["a(yt)", [[]]]
    ]
    for (const [signature, values] of cases) {
      const [decoded] = new Decoder().push(message({ type: 4, path: "/", signature, body: body(signature, values) }))
      assert.deepStrictEqual<unknown>(decoded?.body, values, signature)
    }
  })

  it("bytes that are none are refused", () => {
    assert.throws(() => new Decoder().push(Buffer.alloc(16)))
  })
})

describe("the object of a unit", () => {
  it("has its name, escaped", () => {
    assert.strictEqual(unitPath("nginx.service"), "/org/freedesktop/systemd1/unit/nginx_2eservice")
    assert.strictEqual(unitPath("-.mount"), "/org/freedesktop/systemd1/unit/_2d_2emount")
    assert.strictEqual(unitPath("9p@a\\x2db.service"), "/org/freedesktop/systemd1/unit/_39p_40a_5cx2db_2eservice")
  })
  it("is a service where the name does not say", () => {
    assert.strictEqual(fullName("nginx"), "nginx.service")
    assert.strictEqual(fullName("getty@tty1"), "getty@tty1.service")
    assert.strictEqual(fullName("multi-user.target"), "multi-user.target")
  })
})

interface State {
  readonly active: string
  readonly sub?: string
  readonly job?: number
  readonly jobs?: number
  readonly load?: string
  /** Of the manager: SystemState. */
  readonly system?: string
  /** Of the unit: whether it was started. */
  readonly started?: boolean
  /** Properties of the service; others are those of a service of Type=notify that was not restarted. */
  readonly service?: Readonly<Record<string, readonly [string, Plain]>>
}

const notifying: Readonly<Record<string, readonly [string, Plain]>> = {
  Type: ["s", "notify"],
  Result: ["s", "success"],
  RemainAfterExit: ["b", false],
  ExecMainCode: ["i", 1],
  NRestarts: ["u", 0]
}

/** A service manager behind a bridge: answers calls with the state that is set, and says what it is told to say. */
const manager = Effect.gen(function* () {
  let state: State = { active: "inactive", sub: "dead" }
  let opened = 0
  let looks = 0
  /** Whether its journal knows of a start that is done. */
  let hasRun = false
  let current: Queue.Queue<Uint8Array, ShellLost> | undefined
  const send = (bytes: Buffer) => current !== undefined && Queue.offerUnsafe(current, bytes)
  const shell: ShellService = {
    ...shellOf((command) =>
      Effect.succeed({
        exitCode: command.includes("MESSAGE_ID=") && !hasRun ? 1 : 0,
        stdout: "LoadState=loaded\nResult=exit-code\n",
        stderr: ""
      })
    ),
    spawn: (command) =>
      Effect.gen(function* () {
        opened++
        const output = yield* Queue.unbounded<Uint8Array, ShellLost>()
        current = output
        const decoder = new Decoder()
        let serial = 0
        const write = (data: string | Uint8Array) =>
          Effect.sync(() => {
            const bytes = Buffer.from(data as Uint8Array)
            if (bytes[0] === 0) {
              Queue.offerUnsafe(output, Buffer.from("OK 1234\r\n"))
              return
            }
            for (const call of decoder.push(bytes)) {
              serial++
              if (call.member === "Get") {
                const of: Readonly<Record<string, readonly [string, Plain]>> = {
                  NJobs: ["u", state.jobs ?? 0],
                  SystemState: ["s", state.system ?? "running"],
                  ...notifying,
                  ...state.service
                }
                const value = of[String(call.body[1])] as Plain
                send(message({ type: 2, reply: serial, signature: "v", body: body("v", [value]) }))
                continue
              }
              looks++
              const properties = new Map<string, readonly [string, Plain]>([
                ["Id", ["s", "web.service"]],
                ["LoadState", ["s", state.load ?? "loaded"]],
                ["ActiveState", ["s", state.active]],
                ["SubState", ["s", state.sub ?? "running"]],
                ["Job", ["(uo)", [state.job ?? 0, "/"]]],
                ["InactiveExitTimestampMonotonic", ["t", state.started === true ? 1000 : 0]]
              ])
              send(message({ type: 2, reply: serial, signature: "a{sv}", body: body("a{sv}", [properties]) }))
            }
          })
        return {
          command,
          stdout: Stream.fromQueue(output),
          stderr: Stream.empty,
          write,
          end: Effect.void,
          signal: () => Effect.void,
          wait: Effect.never
        }
      })
  }
  const signal = (path: string, member: string, signature: string, values: ReadonlyArray<Plain>) =>
    send(message({ type: 4, path, interface: "x", member, signature, body: body(signature, values) }))
  return {
    shell,
    opened: () => opened,
    looks: () => looks,
    remember: () => {
      hasRun = true
    },
    set: (next: State) => {
      state = next
    },
    /** As systemd announces a change; it may say less than it is. */
    announce: (active: string) =>
      signal("/org/freedesktop/systemd1/unit/web_2eservice", "PropertiesChanged", "sa{sv}as", [
        "org.freedesktop.systemd1.Unit",
        new Map([
          ["ActiveState", ["s", active]],
          ["SubState", ["s", "running"]]
        ]),
        []
      ]),
    jobRemoved: () => signal("/org/freedesktop/systemd1", "JobRemoved", "uoss", [1, "/", "web.service", "done"]),
    lose: (reason: string) =>
      Effect.suspend(() =>
        Queue.fail(
          current as Queue.Queue<Uint8Array, ShellLost>,
          new ShellLost({ machine: "box", command: "bridge", reason, stdout: "", stderr: "", console: "" })
        )
      )
  }
})

const settle = TestClock.adjust(1)

describe("waiting for a unit over the manager's own bus", () => {
  const start = Effect.gen(function* () {
    const systemd = yield* manager
    const { guest } = yield* guestOn(systemd.shell)
    const units = Unit.make(guest)
    const wait = Effect.forkChild(Effect.exit(units.waitForUnit("web")), { startImmediately: true })
    return { systemd, units, wait }
  })

  it.effect("is over at once when it is active", () =>
    Effect.gen(function* () {
      const { systemd, wait } = yield* start
      systemd.set({ active: "active" })
      const waiting = yield* wait
      yield* settle
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(waiting)))
    })
  )

  it.effect("is over with the signal, without another question", () =>
    Effect.gen(function* () {
      const { systemd, wait } = yield* start
      systemd.set({ active: "activating", job: 4, jobs: 1 })
      const waiting = yield* wait
      yield* settle
      assert.strictEqual(systemd.looks(), 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(systemd.looks(), 1)
      systemd.announce("active")
      yield* settle
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(waiting)))
      assert.strictEqual(systemd.looks(), 1)
    })
  )

  it.effect("looks again before it believes that a unit failed", () =>
    Effect.gen(function* () {
      const { systemd, wait } = yield* start
      systemd.set({ active: "activating", job: 4, jobs: 1 })
      const waiting = yield* wait
      yield* settle
      systemd.announce("failed")
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      systemd.set({ active: "failed", sub: "failed" })
      systemd.announce("failed")
      yield* settle
      const exit = yield* Fiber.join(waiting)
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(exit), "web is failed (failed), result exit-code")
    })
  )

  it.effect("believes that a unit is inactive when the last job of the manager is gone", () =>
    Effect.gen(function* () {
      const { systemd, wait } = yield* start
      systemd.set({ active: "inactive", sub: "dead", jobs: 2 })
      const waiting = yield* wait
      yield* settle
      systemd.set({ active: "inactive", sub: "dead", jobs: 1 })
      systemd.jobRemoved()
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      systemd.set({ active: "inactive", sub: "dead" })
      systemd.jobRemoved()
      yield* settle
      assert.include(String(yield* Fiber.join(waiting)), "no job is pending")
    })
  )

  it.effect("believes that a unit is unknown whatever is pending for others, once the boot is over", () =>
    Effect.gen(function* () {
      const { systemd, wait } = yield* start
      const unknown = { active: "inactive", sub: "dead", load: "not-found" }
      systemd.set({ ...unknown, jobs: 2, system: "starting" })
      const waiting = yield* wait
      yield* settle
      // A program of the boot may install it.
      assert.isUndefined(waiting.pollUnsafe())
      systemd.set({ ...unknown, jobs: 2, system: "degraded" })
      systemd.jobRemoved()
      yield* settle
      assert.include(String(yield* Fiber.join(waiting)), "web is inactive (dead)")
    })
  )

  it.effect("waits for an unknown unit that has a job of its own, and for a scope, which programs make", () =>
    Effect.gen(function* () {
      const { systemd, units, wait } = yield* start
      const unknown = { active: "inactive", sub: "dead", load: "not-found", jobs: 1 }
      systemd.set({ ...unknown, job: 4 })
      const waiting = yield* wait
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      systemd.set(unknown)
      const scope = yield* Effect.forkChild(Effect.exit(units.waitForUnit("session-1.scope")))
      yield* settle
      assert.isUndefined(scope.pollUnsafe())
    })
  )

  /** A wait that begins in this state. */
  const inState = (state: State, options?: Unit.WaitForUnitOptions) =>
    Effect.gen(function* () {
      const { systemd, units } = yield* start
      systemd.set(state)
      const waiting = yield* Effect.forkChild(Effect.exit(units.waitForUnit("web", options)), {
        startImmediately: true
      })
      yield* settle
      return { systemd, waiting }
    })

  const oneshot = { Type: ["s", "oneshot"] } as const
  const simple = { Type: ["s", "simple"] } as const

  it.effect(
    "is over when a oneshot has ended well, and not when it never ran, was killed, or should have remained",
    () =>
      Effect.gen(function* () {
        const over = { active: "inactive", sub: "dead", started: true, service: oneshot }
        assert.isTrue(Exit.isSuccess(yield* Fiber.join((yield* inState(over)).waiting)))
        const not: ReadonlyArray<State> = [
          { ...over, started: false },
          { ...over, service: { ...oneshot, ExecMainCode: ["i", 2] } },
          { ...over, service: { ...oneshot, RemainAfterExit: ["b", true] } },
          { ...over, service: { ...oneshot, Type: ["s", "notify"] } }
        ]
        for (const state of not) {
          const exit = yield* Fiber.join((yield* inState(state)).waiting)
          assert.include(String(exit), "web is inactive (dead)", JSON.stringify(state))
        }
        const again = yield* inState({ ...over, job: 4, jobs: 1 })
        assert.isUndefined(again.waiting.pollUnsafe())
      })
  )

  it.effect("is over when a oneshot has ended well that systemd has forgotten, and the journal has not", () =>
    Effect.gen(function* () {
      const { systemd, units } = yield* start
      systemd.remember()
      systemd.set({ active: "inactive", sub: "dead", service: oneshot })
      yield* units.waitForUnit("web")
      systemd.set({ active: "inactive", sub: "dead", service: simple })
      assert.include(String(yield* Effect.flip(units.waitForUnit("web"))), "web is inactive (dead)")
    })
  )

  it.effect("is not over before a simple service has been active for a while", () =>
    Effect.gen(function* () {
      const { systemd, waiting } = yield* inState({ active: "activating", job: 4, jobs: 1, service: simple })
      systemd.announce("active")
      yield* TestClock.adjust("200 millis")
      assert.isUndefined(waiting.pollUnsafe())
      systemd.set({ active: "failed", sub: "failed", service: simple })
      systemd.announce("failed")
      yield* settle
      assert.include(String(yield* Fiber.join(waiting)), "web is failed (failed)")
    })
  )

  it.effect("is not over in a restart loop, whose restarts are told at the deadline", () =>
    Effect.gen(function* () {
      const loop = (restarts: number) =>
        ({ active: "activating", sub: "auto-restart", service: { ...simple, NRestarts: ["u", restarts] } }) as const
      const { systemd, units } = yield* start
      systemd.set(loop(1))
      const waiting = yield* Effect.forkChild(Effect.flip(units.waitForUnit("web", { timeout: "10 seconds" })), {
        startImmediately: true
      })
      yield* settle
      for (let restarts = 2; restarts <= 10; restarts++) {
        systemd.announce("active")
        yield* TestClock.adjust("900 millis")
        systemd.set(loop(restarts))
        systemd.announce("activating")
        yield* settle
      }
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(waiting)
      assert.include(error.message, "activating (auto-restart)")
      assert.include(error.message, "systemd has restarted it 10 times")
    })
  )

  it.effect("counts no state of a guest that is shutting down: it is that of the boot before", () =>
    Effect.gen(function* () {
      for (const active of ["active", "inactive", "failed"]) {
        const { waiting } = yield* inState({ active, system: "stopping" })
        yield* TestClock.adjust("1 minute")
        assert.isUndefined(waiting.pollUnsafe(), active)
      }
    })
  )

  it.effect("for any state is over when the unit is in it, and at once when it cannot get there by itself", () =>
    Effect.gen(function* () {
      const ends = (state: State, wanted: NonNullable<Unit.WaitForUnitOptions["state"]>) =>
        Effect.map(inState(state, { state: wanted }), ({ waiting }) => waiting)
      const reached: ReadonlyArray<readonly [State, NonNullable<Unit.WaitForUnitOptions["state"]>]> = [
        [{ active: "failed", sub: "failed" }, "failed"],
        [{ active: "inactive", sub: "dead" }, "inactive"],
        [{ active: "deactivating", sub: "stop-sigterm", job: 3, jobs: 1 }, "deactivating"]
      ]
      for (const [state, wanted] of reached) {
        assert.isTrue(Exit.isSuccess(yield* Fiber.join(yield* ends(state, wanted))), wanted)
      }
      const refused: ReadonlyArray<readonly [State, NonNullable<Unit.WaitForUnitOptions["state"]>, string]> = [
        [
          { active: "inactive", sub: "dead" },
          "failed",
          "inactive (dead), result exit-code, and no job is pending; expected failed"
        ],
        [{ active: "failed", sub: "failed" }, "inactive", "failed (failed), result exit-code; expected inactive"],
        [{ active: "inactive", sub: "dead", load: "not-found" }, "inactive", "expected inactive"],
        [{ active: "inactive", sub: "dead" }, "activating", "expected activating"]
      ]
      for (const [state, wanted, message] of refused) {
        assert.include(String(yield* Fiber.join(yield* ends(state, wanted))), message)
      }
      const { systemd, waiting } = yield* inState({ active: "active" }, { state: "inactive" })
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(waiting.pollUnsafe())
      // Its file may be gone by then, as that of a unit of systemd-run is.
      systemd.set({ active: "inactive", sub: "dead", load: "not-found" })
      systemd.announce("inactive")
      yield* settle
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(waiting)))
    })
  )

  it.effect("for a state that a unit only passes through takes the signal's word", () =>
    Effect.gen(function* () {
      const { systemd, waiting } = yield* inState({ active: "active" }, { state: "reloading" })
      systemd.announce("reloading")
      yield* settle
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(waiting)))
    })
  )

  it.effect("shares one connection between waits, one after the other and at once", () =>
    Effect.gen(function* () {
      const { systemd, wait } = yield* start
      systemd.set({ active: "activating", job: 1, jobs: 1 })
      const waiting = [yield* wait, yield* wait]
      yield* settle
      systemd.announce("active")
      yield* settle
      for (const fiber of waiting) assert.isTrue(Exit.isSuccess(yield* Fiber.join(fiber)))
      yield* TestClock.adjust("30 seconds")
      systemd.set({ active: "active" })
      yield* Fiber.join(yield* wait)
      assert.strictEqual(systemd.opened(), 1)
      yield* TestClock.adjust("2 minutes")
      const last = yield* wait
      yield* settle
      yield* Fiber.join(last)
      assert.strictEqual(systemd.opened(), 2)
    })
  )

  it.effect("ends what waits in the guest for a user's manager with the last wait that needs it", () =>
    Effect.gen(function* () {
      let opened = 0
      let open = 0
      const shell = shellOf(() => Effect.never)
      const never = (command: string) =>
        Effect.acquireRelease(
          Effect.sync(() => [opened++, open++]),
          () => Effect.sync(() => void open--)
        ).pipe(
          Effect.andThen(shell.spawn(command)),
          Effect.map((process) => ({ ...process, stdout: Stream.never, wait: Effect.never }))
        )
      const { guest } = yield* guestOn({ ...shell, spawn: never })
      const units = Unit.make(guest)
      const waits = ["1 second", "10 seconds"].map((timeout) =>
        units.waitForUnit("web", { user: "alice", timeout: timeout as "1 second" })
      )
      const waiting = yield* Effect.forEach(waits, (wait) => Effect.forkChild(Effect.flip(wait)))
      yield* TestClock.adjust("7 seconds")
      assert.strictEqual((yield* Fiber.join(waiting[0]!))._tag, "WaitTimeout")
      assert.deepStrictEqual([opened, open], [1, 1])
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual((yield* Fiber.join(waiting[1]!))._tag, "WaitTimeout")
      assert.deepStrictEqual([opened, open], [1, 0])
      yield* Effect.forkChild(Effect.flip(waits[0]!))
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual([opened, open], [2, 1])
    })
  )

  it.effect("fails when the guest loses the connection, and the next wait makes another", () =>
    Effect.gen(function* () {
      const { systemd, wait } = yield* start
      systemd.set({ active: "activating", job: 1, jobs: 1 })
      const waiting = yield* wait
      yield* settle
      yield* systemd.lose("the guest rebooted")
      yield* TestClock.adjust("1 second")
      assert.include(
        String(yield* Fiber.join(waiting)),
        'lost the shell while running "waitForUnit web": the guest rebooted'
      )
      systemd.set({ active: "active" })
      const next = yield* wait
      yield* settle
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(next)))
      assert.strictEqual(systemd.opened(), 2)
    })
  )

  it.effect("is not told of a connection that was lost while nobody waited", () =>
    Effect.gen(function* () {
      const { systemd, wait } = yield* start
      systemd.set({ active: "active" })
      const first = yield* wait
      yield* settle
      yield* Fiber.join(first)
      yield* systemd.lose("the guest rebooted")
      yield* settle
      const second = yield* wait
      yield* settle
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(second)))
    })
  )

  it.effect("says so, too, of a guest that froze", () =>
    Effect.gen(function* () {
      const systemd = yield* manager
      const { guest } = yield* guestOn({ ...systemd.shell, execute: () => Effect.never })
      systemd.set({ active: "activating", sub: "start", job: 1, jobs: 1 })
      const waiting = yield* Effect.forkChild(
        Effect.flip(Unit.make(guest).waitForUnit("web", { timeout: "10 seconds" })),
        { startImmediately: true }
      )
      yield* settle
      yield* TestClock.adjust("15 seconds")
      const error = yield* Fiber.join(waiting)
      assert.match(error.message, /activating \(start\) for (10s|9s 99\dms)\n {2}the guest did not answer/)
    })
  )

  it.effect("says at the deadline what it saw, and for how long", () =>
    Effect.gen(function* () {
      const { systemd, units } = yield* start
      systemd.set({ active: "activating", sub: "start", job: 1, jobs: 1 })
      const waiting = yield* Effect.forkChild(Effect.flip(units.waitForUnit("web", { timeout: "10 seconds" })), {
        startImmediately: true
      })
      yield* TestClock.adjust("4 seconds")
      systemd.set({ active: "activating", sub: "start-post", job: 1, jobs: 1 })
      systemd.announce("activating")
      yield* settle
      yield* TestClock.adjust("6 seconds")
      const error = yield* Fiber.join(waiting)
      assert.match(error.message, /activating \(start-post\) for (6s|5s 99\dms)/)
    })
  )
})
