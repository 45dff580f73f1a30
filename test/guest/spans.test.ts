import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { ControlService, Hypervisor } from "../../src/backends/Backend.ts"
import type { InteractMethods } from "../../src/guest/Interact.ts"
import type { LifeMethods } from "../../src/machine/Life.ts"
import * as Machine from "../../src/machine/Machine.ts"
import * as MachineChecks from "../../src/machine/MachineChecks.ts"
import type { SnapshotMethods } from "../../src/machine/Snapshot.ts"
import { toPng } from "../../src/screen/internal/frame.ts"
import type { CommandResult } from "../../src/transport/Shell.ts"
import { driverOf, offline } from "../driver/support.ts"
import { guestOn, shellOf } from "../machine/support.ts"
import { collectSpans } from "../spans.ts"

const output = mkdtempSync(join(tmpdir(), "vmtest-"))
const reference = join(output, "reference.png")
writeFileSync(reference, toPng({ width: 1, height: 1, data: Uint8Array.of(0, 0, 0, 255) }))
afterAll(() => rmSync(output, { recursive: true }))

/** Says 5 to everything, without a program for X. */
const answer = (command: string): Effect.Effect<CommandResult> =>
  Effect.succeed({ exitCode: /xwininfo -root -tree/.test(command) ? 127 : 0, stdout: "5\n", stderr: "" })

const qmp = {
  execute: () => Effect.void,
  hmp: () => Effect.succeed(""),
  events: Stream.empty,
  waitForEvent: () => Effect.void
}

const control = { qmp, setLink: () => Effect.void } as Partial<Record<keyof ControlService, unknown>> as ControlService

const hypervisor = {
  console: {
    stream: Stream.make("login: \n"),
    log: Effect.succeed("login: \n"),
    tail: () => Effect.succeed("login: "),
    write: () => Effect.void,
    inherited: undefined
  }
} as Partial<Record<keyof Hypervisor, unknown>> as Hypervisor

const machine = Effect.gen(function* () {
  const { guest } = yield* guestOn(shellOf(answer), {
    output,
    hypervisor: Effect.succeed(hypervisor),
    control: Effect.succeed(control),
    console: Effect.succeed(hypervisor.console)
  })
  const specs = yield* MachineChecks.checkAll({ box: offline() })
  // Their spans are tested where they are made.
  const [life, snapshots] = [{} as LifeMethods, {} as SnapshotMethods]
  return Machine.make(guest, life, specs[0]!, [], snapshots, {
    number: 1,
    port: () => Effect.succeed(undefined),
    cards: []
  })
})

type MethodsOf<A> = { [Key in keyof A]: A[Key] extends (...args: never) => unknown ? Key : never }[keyof A]
/** Those without a span of their own: what they give has been read, or has methods with spans. */
type Instant = "getConsoleLog" | "xDisplay" | "link"
type Name = Exclude<
  MethodsOf<Machine.Machine>,
  keyof LifeMethods | keyof SnapshotMethods | keyof InteractMethods | Instant
>
/** The span of a method that is one command. */
const spanOf = (name: string) => (name.startsWith("execute") ? "vmtest.execute" : `vmtest.${name}`)

type Call = (box: Machine.Machine) => Effect.Effect<unknown, unknown, never> | Stream.Stream<unknown, unknown>

/** What a method is called with, and the attributes of its span. How the call ends does not matter. */
const calls: Readonly<Record<Name, readonly [call: Call, attributes: Readonly<Record<string, unknown>>]>> = {
  execute: [(box) => box.execute("uname"), { command: "uname", exit_code: 0 }],
  executeBytes: [(box) => box.executeBytes("uname"), { command: "uname", exit_code: 0 }],
  executeStream: [(box) => box.executeStream("uname"), { command: "uname", exit_code: 0 }],
  succeed: [(box) => box.succeed("uname"), { command: "uname" }],
  fail: [(box) => box.fail("uname"), { command: "uname" }],
  waitUntilSucceeds: [(box) => box.waitUntilSucceeds("true"), { command: "true", awaited: '"true" to succeed' }],
  waitUntilFails: [(box) => box.waitUntilFails("xwininfo -root -tree"), { command: "xwininfo -root -tree" }],
  sleep: [(box) => box.sleep("1 second"), {}],
  spawn: [(box) => Effect.scoped(box.spawn("sleep 5")), { command: "sleep 5" }],
  systemctl: [(box) => box.systemctl("status", { user: "alice" }), { user: "alice" }],
  waitForUnit: [(box) => box.waitForUnit("nginx.service"), { unit: "nginx.service" }],
  getUnitInfo: [(box) => box.getUnitInfo("nginx"), { unit: "nginx" }],
  getUnitProperty: [(box) => box.getUnitProperty("nginx", "Id"), { unit: "nginx" }],
  requireUnitState: [(box) => box.requireUnitState("nginx"), { unit: "nginx" }],
  startJob: [(box) => box.startJob("nginx"), { unit: "nginx" }],
  stopJob: [(box) => box.stopJob("nginx"), { unit: "nginx" }],
  journal: [(box) => box.journal({ unit: "nginx" }), { unit: "nginx" }],
  waitForFile: [(box) => box.waitForFile("/etc/hosts"), { path: "/etc/hosts" }],
  waitUntilFileIsGone: [(box) => box.waitUntilFileIsGone("/etc/hosts"), { path: "/etc/hosts" }],
  readFile: [(box) => box.readFile("/etc/hosts"), { path: "/etc/hosts" }],
  readFileBytes: [(box) => box.readFileBytes("/etc/hosts"), { path: "/etc/hosts" }],
  writeFile: [(box) => box.writeFile("/etc/hosts", ""), { path: "/etc/hosts" }],
  copyFromHost: [(box) => box.copyFromHost("/etc/hostname", "/tmp/x"), { path: "/etc/hostname" }],
  copyFromMachine: [(box) => box.copyFromMachine("/etc/hostname"), { path: "/etc/hostname" }],
  waitForOpenPort: [(box) => box.waitForOpenPort(80), { port: 80, awaited: "port 80 to be open" }],
  waitForClosedPort: [(box) => box.waitForClosedPort(80, "web"), { port: 80, address: "web" }],
  waitForOpenUnixSocket: [(box) => box.waitForOpenUnixSocket("/run/x"), { path: "/run/x" }],
  waitForConsoleText: [(box) => box.waitForConsoleText("login: "), { awaited: '"login: " on the console' }],
  sendConsole: [(box) => box.sendConsole("root\n"), {}],
  screenshot: [(box) => box.screenshot("home"), {}],
  getScreenText: [(box) => box.getScreenText(), {}],
  getScreenTextVariants: [(box) => box.getScreenTextVariants(), {}],
  waitForText: [(box) => box.waitForText("login"), { display: "the X display :0" }],
  findText: [(box) => box.findText("login"), {}],
  expectScreenshot: [(box) => box.expectScreenshot(reference), { path: reference }],
  waitForImage: [(box) => box.waitForImage(reference), { path: reference }],
  recordVideo: [(box) => Effect.scoped(box.recordVideo("video", { format: "apng" })), {}],
  sendKey: [(box) => box.sendKey("ctrl-c"), { key: "ctrl-c" }],
  sendChars: [(box) => box.sendChars("abc"), {}],
  mouseMove: [(box) => box.mouseMove({ x: 1, y: 1 }), {}],
  mouseClick: [(box) => box.mouseClick({ x: 1, y: 1 }), {}],
  mouseDrag: [(box) => box.mouseDrag({ x: 1, y: 1 }, { x: 2, y: 2 }), {}],
  clickText: [(box) => box.clickText("login"), { awaited: '"login" on the X display :0' }],
  waitForX: [(box) => box.waitForX(), { display: ":0" }],
  getWindowNames: [(box) => box.getWindowNames(), { display: ":0" }],
  waitForWindow: [(box) => box.waitForWindow("xterm"), { display: ":0" }],
  getTtyText: [(box) => box.getTtyText(1), { tty: 1 }],
  waitUntilTtyMatches: [(box) => box.waitUntilTtyMatches(1, "login"), { tty: 1 }],
  dumpTtyContents: [(box) => box.dumpTtyContents(1), { tty: 1 }],
  qmp: [(box) => box.qmp("query-status"), { command: "query-status" }],
  waitForQmpEvent: [(box) => box.waitForQmpEvent(Schema.Struct({ event: Schema.Literal("STOP") })), {}],
  sendMonitorCommand: [(box) => box.sendMonitorCommand("info status"), { command: "info status" }],
  block: [(box) => box.block(), {}],
  unblock: [(box) => box.unblock(), {}],
  forwardPort: [(box) => box.forwardPort({ guestPort: 80 }), { port: 80 }],
  hotplug: [(box) => box.hotplug("usb-mouse"), { device: "usb-mouse" }],
  unplug: [(box) => box.unplug("stick"), { device: "stick" }]
}

describe("what a test does with a machine is a span:", () => {
  for (const [name, [call, attributes]] of Object.entries(calls)) {
    it.effect(name, () =>
      Effect.gen(function* () {
        const box = yield* machine
        const { collect, named, spans } = collectSpans()
        const called = call(box)
        yield* collect(Effect.exit(Effect.isEffect(called) ? called : Stream.runDrain(called)))
        const [span] = named(spanOf(name))
        assert.isDefined(span, `spans: ${spans.map((one) => one.name).join(", ")}`)
        assert.strictEqual(span?.status._tag, "Ended")
        const given = Object.fromEntries(span?.attributes ?? [])
        assert.include(given, { "vmtest.machine": "box" })
        for (const [key, value] of Object.entries(attributes)) assert.strictEqual(given[`vmtest.${key}`], value, key)
      })
    )
  }
})

describe("the spans of a test", () => {
  it.effect("are below those that it is run in, and end with its errors", () =>
    Effect.gen(function* () {
      const box = yield* machine
      const { collect, named } = collectSpans()
      yield* box
        .waitForFile("/etc/hosts")
        .pipe(Effect.andThen(box.fail("uname")), Effect.withSpan("a test"), Effect.exit, collect)
      const [[test], [failed], [waited]] = [named("a test"), named("vmtest.fail"), named("vmtest.waitForFile")]
      for (const span of [waited, failed]) {
        assert.isDefined(span)
        assert.strictEqual(span?.traceId, test?.traceId)
        assert.strictEqual(span && Option.getOrUndefined(span.parent), test)
      }
      for (const span of [failed, test]) {
        assert.include(span?.status._tag === "Ended" ? String(span.status.exit) : "", "CommandFailed")
      }
    })
  )

  it.effect("have one for each snapshot, and for what starts from it", () =>
    Effect.gen(function* () {
      const { machines } = yield* driverOf({ box: offline() })
      const { collect, named } = collectSpans()
      const use = Effect.gen(function* () {
        const before = yield* machines.box!.snapshot("before")
        yield* machines.box!.restore(before)
        yield* machines.box!.fork({ from: "before" })
      })
      yield* collect(Effect.scoped(use))
      for (const name of ["snapshot", "restore", "fork"]) {
        const given = Object.fromEntries(named(`vmtest.${name}`)[0]?.attributes ?? [])
        assert.include(given, { "vmtest.machine": "box", "vmtest.snapshot.name": "before" }, name)
      }
    })
  )
})
