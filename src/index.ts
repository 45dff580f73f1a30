/**
 * Integration tests on real virtual machines.
 *
 * A test script needs `test` and `Image`; an application that embeds vmtest also `Driver`, and the modules of the host it runs on.
 *
 * @since 0.1.0
 */
export * as Backend from "./backends/Backend.ts"
export * as Mock from "./backends/Mock.ts"
export * as Qemu from "./backends/Qemu.ts"
export { Driver, type DriverService, type ForkError, type SubtestOptions } from "./driver/Driver.ts"
export * as DriverLayer from "./driver/DriverLayer.ts"
export * as Failure from "./driver/Failure.ts"
export { ForkFailed } from "./driver/ForkFailed.ts"
export { ImageUnavailable } from "./driver/ImageUnavailable.ts"
export * as RunEvent from "./driver/RunEvent.ts"
export * as Runner from "./driver/Runner.ts"
export * as SavedTest from "./driver/SavedTest.ts"
export * as SnapshotStore from "./driver/SnapshotStore.ts"
export { isTestCase, type TestCase, type TestOptions, type TestServices, test } from "./driver/TestCase.ts"
export type { SubtestResult, TestResult } from "./driver/TestResult.ts"
export * as RunDirectory from "./host/RunDirectory.ts"
export * as Image from "./images/Image.ts"
export * as ImageStore from "./images/ImageStore.ts"
export { CommandFailed } from "./machine/Command.ts"
export { ConsoleEnded } from "./machine/Console.ts"
export { HostFileError } from "./machine/Copy.ts"
export { type DeadlineSettings, Deadlines } from "./machine/Deadlines.ts"
export { NoTerminal } from "./machine/Interact.ts"
export type { JournalEntry, JournalOptions } from "./machine/Journal.ts"
export { type KeyOptions, KeysLost } from "./machine/Keyboard.ts"
export { NotInInitrd, RebootNotAllowed } from "./machine/Life.ts"
export type { CommandError, Machine, Unavailable, WaitError, WaitOptions } from "./machine/Machine.ts"
export { BootFailed, InvalidArgument, MachineDied, MachineNotRunning, WaitTimeout } from "./machine/MachineError.ts"
export type { MachineEvent, MachineState } from "./machine/MachineEvent.ts"
export { HostLimits, InvalidMachine, type MachineOptions, type WarmUp } from "./machine/MachineSpec.ts"
export type { Button, ClickOptions, Point } from "./machine/Mouse.ts"
export { InvalidInterval, PollingConditionFailed } from "./machine/PollingCondition.ts"
export { NoWayToConnect } from "./machine/Port.ts"
export { type Recording, RecordingFailed, type RecordOptions } from "./machine/Recording.ts"
export { type Box, type FoundText, OcrFailed, type ReadOptions } from "./machine/Screen.ts"
export {
  type CompareOptions,
  type ExpectScreenshotOptions,
  ReferenceMissing,
  ScreenDiffers,
  UpdateReferences
} from "./machine/ScreenImage.ts"
export type { SocketOptions, SocketType } from "./machine/Socket.ts"
export type { SpawnedCommand, SpawnOptions } from "./machine/Spawn.ts"
export { NoSystemd, UnitFailed } from "./machine/Unit.ts"
export { type DisplayMethods, DisplayUnavailable, type XOptions } from "./machine/X11.ts"
export { AddressesExhausted, type Interface } from "./network/Addresses.ts"
export { VlanFailed } from "./network/Vlan.ts"
export * as TerminalReport from "./report/TerminalReport.ts"
export { QmpError } from "./transport/Qmp.ts"
export type {
  BytesResult,
  CollectOptions,
  CommandEvent,
  CommandOutput,
  CommandResult,
  ExecuteOptions,
  Signal
} from "./transport/Shell.ts"
export { CommandRejected, CommandTimeout, ShellLost, ShellNotReady, TransportError } from "./transport/ShellError.ts"
