/** What a project with `declaration: true` may export of vmtest: inferred types, which have to be named by what `vmtest` exports. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import {
  Driver,
  DriverLayer,
  type DriverService,
  Failure,
  HostLimits,
  Image,
  ImageStore,
  type Machine,
  Mock,
  Qemu,
  RunDirectory,
  Runner,
  SavedTest,
  SnapshotStore,
  TerminalReport,
  test
} from "vmtest"

/** Every method and property of a machine, as it is. */
export const members = (machine: Machine) => ({ ...machine })

/** What each gives. */
export const results = (machine: Machine) => ({
  name: machine.name,
  interfaces: machine.interfaces,
  state: machine.state,
  console: machine.console,
  start: machine.start(),
  shutdown: machine.shutdown(),
  crash: machine.crash(),
  reboot: machine.reboot(),
  waitForReboot: machine.waitForReboot(),
  switchRoot: machine.switchRoot(),
  waitForShutdown: machine.waitForShutdown(),
  isUp: machine.isUp(),
  pause: machine.pause(),
  resume: machine.resume(),
  execute: machine.execute("true"),
  executeBytes: machine.executeBytes("true"),
  executeStream: machine.executeStream("true"),
  succeed: machine.succeed("true", "true", { timeout: "1 second" }),
  fail: machine.fail("false"),
  waitUntilSucceeds: machine.waitUntilSucceeds("true"),
  waitUntilFails: machine.waitUntilFails("false"),
  sleep: machine.sleep("1 second"),
  spawn: machine.spawn("cat"),
  systemctl: machine.systemctl("status"),
  waitForUnit: machine.waitForUnit("nginx"),
  getUnitInfo: machine.getUnitInfo("nginx"),
  getUnitProperty: machine.getUnitProperty("nginx", "ActiveState"),
  requireUnitState: machine.requireUnitState("nginx"),
  startJob: machine.startJob("nginx"),
  stopJob: machine.stopJob("nginx"),
  journal: machine.journal(),
  waitForFile: machine.waitForFile("/x"),
  waitUntilFileIsGone: machine.waitUntilFileIsGone("/x"),
  readFile: machine.readFile("/x"),
  readFileBytes: machine.readFileBytes("/x"),
  writeFile: machine.writeFile("/x", ""),
  copyFromHost: machine.copyFromHost("x", "/x"),
  copyFromMachine: machine.copyFromMachine("/x"),
  waitForOpenPort: machine.waitForOpenPort(80),
  waitForClosedPort: machine.waitForClosedPort(80, "web", { timeout: "1 second" }),
  waitForOpenUnixSocket: machine.waitForOpenUnixSocket("/x"),
  getConsoleLog: machine.getConsoleLog(),
  waitForConsoleText: machine.waitForConsoleText(/x/),
  sendConsole: machine.sendConsole("x"),
  screenshot: machine.screenshot(),
  getScreenText: machine.getScreenText(),
  getScreenTextVariants: machine.getScreenTextVariants(),
  waitForText: machine.waitForText("x"),
  findText: machine.findText("x"),
  expectScreenshot: machine.expectScreenshot("x.png"),
  waitForImage: machine.waitForImage("x.png"),
  recordVideo: machine.recordVideo(),
  sendKey: machine.sendKey("ret"),
  sendChars: machine.sendChars("x"),
  mouseMove: machine.mouseMove({ x: 1, y: 1 }),
  mouseClick: machine.mouseClick({ x: 1, y: 1 }),
  mouseDrag: machine.mouseDrag({ x: 1, y: 1 }, { x: 2, y: 2 }),
  clickText: machine.clickText("x"),
  waitForX: machine.waitForX(),
  getWindowNames: machine.getWindowNames(),
  waitForWindow: machine.waitForWindow("x"),
  xDisplay: machine.xDisplay(),
  getTtyText: machine.getTtyText(1),
  waitUntilTtyMatches: machine.waitUntilTtyMatches(1, "x"),
  dumpTtyContents: machine.dumpTtyContents(1),
  qmp: machine.qmp("query-status", undefined, Schema.Struct({ status: Schema.String })),
  waitForQmpEvent: machine.waitForQmpEvent(Schema.Struct({ event: Schema.String })),
  qmpEvents: machine.qmpEvents,
  sendMonitorCommand: machine.sendMonitorCommand("info"),
  block: machine.block(),
  unblock: machine.unblock("eth1"),
  link: machine.link("eth1").impair({ latency: "10 millis", loss: "1 %", rate: "1 Mbit/s", direction: "both" }),
  forwardPort: machine.forwardPort({ guestPort: 80 }),
  hotplug: machine.hotplug({ type: "usb-storage", size: "1 GiB" }),
  unplug: machine.unplug("stick"),
  snapshot: machine.snapshot(),
  restore: machine.restore("x"),
  fork: machine.fork(),
  shellInteract: machine.shellInteract(),
  consoleInteract: machine.consoleInteract()
})

/** The compiler says when one is missing. */
export const complete: Readonly<Record<keyof Machine, unknown>> = results({} as Machine)

/** Of a command that was spawned, and a recording. */
export const handles = (machine: Machine) =>
  Effect.gen(function* () {
    const spawned = yield* machine.spawn("cat")
    yield* spawned.write("x")
    yield* spawned.end()
    yield* spawned.signal("TERM")
    const recording = yield* machine.recordVideo()
    return { spawned, recording, exitCode: yield* spawned.wait(), path: yield* recording.stop }
  })

/** What a program makes of them. */
export const program = (machine: Machine) =>
  Effect.gen(function* () {
    const all = results(machine)
    const command = yield* all.execute
    const unit = yield* all.getUnitInfo
    yield* all.waitForUnit
    yield* all.waitForOpenPort
    const found = yield* all.clickText
    const fork = yield* all.fork
    const snapshot = yield* all.snapshot
    return { command, unit, found, fork, snapshot }
  })

export const driverMembers = (driver: DriverService) => ({ ...driver })

export const driverResults = Effect.gen(function* () {
  const driver = yield* Driver
  const machine = yield* driver.machine("web", { image: Image.tiny() })
  yield* driver.startAll()
  yield* driver.joinAll()
  yield* driver.subtest("x", machine.succeed("true"), { softFail: true })
  yield* driver.pollingCondition("x", machine.succeed("true"))
  const all = yield* driver.waitAll([machine], (one) => one.waitForUnit("nginx"))
  const forked = yield* driver.fork((machines) => machines.web!.execute("true"))
  yield* driver.log("x")
  return { driver, machine, all, forked }
})

export const images = { tiny: Image.tiny({}), debian: Image.debian({}), disk: Image.disk({ path: "x" }) }

export const declared = { image: images.tiny, memory: "512 MiB", disks: ["1 GiB"] } as const

export const suite = test("x", { machines: { web: declared } }, ({ web }) => web.succeed("true"))

export class Web extends DriverLayer.Machine<Web>()("web", { image: images.tiny }) {}
export const web = Layer.provide(Web.layer, DriverLayer.layer({ name: "x" }))

export const run = Runner.run([suite], { output: "x" })

/** Of the modules of the host: what they make. */
export const made = {
  backend: Qemu.layer,
  mock: Mock.make(),
  mockLayer: Mock.layer(),
  host: DriverLayer.host,
  driver: DriverLayer.make(),
  folders: RunDirectory.layer(),
  limits: HostLimits,
  report: TerminalReport.layer(),
  saved: SavedTest.open("x"),
  resumed: SavedTest.resume,
  snapshots: SnapshotStore.make(),
  failure: Failure.fromCause
}

export const stored = Effect.gen(function* () {
  const store = yield* ImageStore.ImageStore
  const images = yield* store.list
  return { store, images }
})
