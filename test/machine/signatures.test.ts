import { describe, expectTypeOf, it } from "@effect/vitest"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { DriverService } from "../../src/driver/Driver.ts"
import type { SpawnedCommand } from "../../src/guest/Spawn.ts"
import type { Machine } from "../../src/machine/Machine.ts"

type ErrorOf<A> =
  A extends Effect.Effect<infer _A, infer E, infer _R>
    ? E
    : A extends Stream.Stream<infer _A, infer E, infer _R>
      ? E
      : never

type Tag<E> = E extends { readonly _tag: infer T } ? T : never

/** The tags of what a method, an effect or a stream fails with. */
type Tags<A> = A extends (...args: infer _Args extends ReadonlyArray<unknown>) => infer R
  ? Tag<ErrorOf<R>>
  : Tag<ErrorOf<A>>

type CutShort = "MachineDied" | "BootFailed" | "PollingConditionFailed"
type Unavailable = CutShort | "MachineNotRunning"
type Untimed = "ShellLost" | "ShellNotReady" | "CommandRejected"
type Command = Unavailable | Untimed | "CommandTimeout"
type Deadline = "WaitTimeout" | "InvalidArgument"
type Control = "QmpError" | "RestError" | "TransportError" | "Unsupported"
type Display = Command | Control | "DisplayUnavailable" | "HostFileError"
type Read = Display | "ToolMissing" | "OcrFailed"

/** What each method fails with: no tag that cannot happen, for a script that handles them all would have to handle it too. */
interface Expected {
  start: CutShort
  shutdown: Unavailable | Deadline
  crash: never
  reboot: Unavailable | Deadline | "RebootNotAllowed"
  waitForReboot: Unavailable | Deadline | "RebootNotAllowed"
  switchRoot: Unavailable | Untimed | Deadline | "CommandFailed" | "NotInInitrd"
  // In whatever way it ended.
  waitForShutdown: Deadline | "PollingConditionFailed"
  isUp: never
  pause: Unavailable | Control
  resume: Unavailable | Control
  state: "PollingConditionFailed"
  execute: Command | "InvalidArgument"
  executeBytes: Command | "InvalidArgument"
  executeStream: Command | "InvalidArgument"
  succeed: Command | "InvalidArgument" | "CommandFailed"
  fail: Command | "InvalidArgument" | "CommandFailed"
  // As another user, who is asked for first, within a minute.
  waitUntilSucceeds: Command | Deadline
  waitUntilFails: Command | Deadline
  sleep: Unavailable | Untimed | "InvalidArgument"
  spawn: Command | "InvalidArgument"
  systemctl: Command | "InvalidArgument"
  waitForUnit: Command | Deadline | "UnitFailed" | "NoSystemd" | "NoUserManager"
  getUnitInfo: Command | "CommandFailed" | "InvalidArgument"
  getUnitProperty: Command | "CommandFailed" | "InvalidArgument"
  requireUnitState: Command | "CommandFailed" | "InvalidArgument" | "UnitFailed"
  startJob: Command | "CommandFailed" | "InvalidArgument"
  stopJob: Command | "CommandFailed" | "InvalidArgument"
  journal: Command | "CommandFailed" | "InvalidArgument"
  waitForFile: Unavailable | Untimed | Deadline
  waitUntilFileIsGone: Unavailable | Untimed | Deadline
  readFile: Command | "CommandFailed" | "InvalidArgument"
  readFileBytes: Command | "CommandFailed" | "InvalidArgument"
  writeFile: Command | "CommandFailed" | "InvalidArgument"
  copyFromHost: Command | "CopyFailed" | "HostFileError" | "InvalidArgument"
  copyFromMachine: Command | "CopyFailed" | "HostFileError" | "InvalidArgument"
  waitForOpenPort: Unavailable | Untimed | Deadline | "NoWayToConnect"
  waitForClosedPort: Unavailable | Untimed | Deadline | "NoWayToConnect"
  waitForOpenUnixSocket: Unavailable | Untimed | Deadline
  console: Unavailable
  getConsoleLog: Unavailable
  waitForConsoleText: Unavailable | Deadline | "ConsoleEnded"
  sendConsole: Unavailable | Control | "InvalidArgument"
  getTtyText: Command | "CommandFailed" | "InvalidArgument"
  waitUntilTtyMatches: Unavailable | Untimed | Deadline | "CommandFailed"
  dumpTtyContents: Command | "CommandFailed" | "HostFileError" | "InvalidArgument"
  screenshot: Display | "InvalidArgument"
  getScreenText: Read | "InvalidArgument"
  getScreenTextVariants: Read | "InvalidArgument"
  findText: Read | "InvalidArgument"
  waitForText: Read | Deadline
  clickText: Read | Deadline
  waitForImage: Display | Deadline | "ReferenceMissing"
  expectScreenshot: Display | "InvalidArgument" | "ReferenceMissing" | "ScreenDiffers" | "WaitTimeout"
  recordVideo: Display | "InvalidArgument" | "ToolMissing"
  sendKey: Exclude<Display, "HostFileError"> | "KeysLost" | "InvalidArgument"
  sendChars: Exclude<Display, "HostFileError"> | "KeysLost" | "InvalidArgument"
  mouseMove: Display | "InvalidArgument"
  mouseClick: Display | "InvalidArgument"
  mouseDrag: Display | "InvalidArgument"
  waitForX: Unavailable | Untimed | Deadline
  getWindowNames: Command | "DisplayUnavailable" | "InvalidArgument"
  waitForWindow: Unavailable | Untimed | Deadline | "DisplayUnavailable"
  qmp: Unavailable | Control | "InvalidArgument"
  waitForQmpEvent: Unavailable | Control | Deadline
  qmpEvents: Unavailable | Control
  sendMonitorCommand: Unavailable | Control | "InvalidArgument"
  shellInteract: Command | "NoTerminal"
  consoleInteract: Unavailable | Control | "NoTerminal"
  block: Unavailable | Control | "InvalidArgument"
  unblock: Unavailable | Control | "InvalidArgument"
  link: never
  forwardPort: Unavailable | Control | "InvalidArgument"
  hotplug: Unavailable | Control | "PlugFailed" | "InvalidArgument"
  unplug: Unavailable | Control | "PlugFailed" | Deadline
  snapshot: Unavailable | "Unsupported" | "SaveFailed" | "SnapshotFailed" | "InvalidArgument"
  restore: CutShort | "Unsupported" | "NoSuchSnapshot" | "InvalidArgument"
  fork:
    | Unavailable
    | "Unsupported"
    | "SaveFailed"
    | "SnapshotFailed"
    | "NoSuchSnapshot"
    | "InvalidMachine"
    | "InvalidAddresses"
    | "InvalidArgument"
  xDisplay: never
  name: never
  interfaces: never
}

type Of<A> = { [Key in keyof A]: Tags<A[Key]> }

describe("the signatures of a machine", () => {
  it("have every failure that can happen, and none that cannot", () => {
    expectTypeOf<Of<Machine>>().toEqualTypeOf<{ readonly [Key in keyof Expected]: Expected[Key] }>()
    expectTypeOf<Of<Omit<SpawnedCommand, "command">>>().toEqualTypeOf<{
      readonly stdout: CutShort | Untimed | "CommandTimeout"
      readonly stderr: CutShort | Untimed | "CommandTimeout"
      readonly write: CutShort | "CommandRejected" | "InvalidArgument"
      readonly end: CutShort
      readonly signal: CutShort | "InvalidArgument"
      readonly wait: CutShort | Untimed | "CommandTimeout" | Deadline
    }>()
    expectTypeOf<Of<Pick<DriverService, "machine" | "startAll" | "joinAll" | "pollingCondition">>>().toEqualTypeOf<{
      readonly machine:
        | "InvalidMachine"
        | "ImageUnavailable"
        | "InvalidAddresses"
        | "ToolMissing"
        | "StateUnusable"
        | "BackendUnavailable"
      readonly startAll: CutShort
      readonly joinAll: Deadline | "PollingConditionFailed"
      readonly pollingCondition: never
    }>()
  })
})
