/**
 * Integration tests on real virtual machines.
 *
 * A test script needs `test` and `Image`; an application that embeds vmtest also `Driver`, and the modules of the host it runs on.
 *
 * @since 0.1.0
 */
export { InvalidAccelerator } from "./backends/Accelerator.ts"
// TypeScript does not look into namespaces for the names of inferred types.
export type { Backend as BackendTag, BackendService } from "./backends/Backend.ts"
export * as Backend from "./backends/Backend.ts"
export {
  type ControlError,
  PlugFailed,
  SaveFailed,
  UnsuitableHypervisor,
  Unsupported
} from "./backends/BackendError.ts"
export * as Backends from "./backends/Backends.ts"
export { BackendUnavailable, HypervisorMissing, KvmUnusable } from "./backends/Backends.ts"
export * as CloudHypervisor from "./backends/cloudhypervisor/CloudHypervisor.ts"
export { InvalidVariable } from "./backends/Environment.ts"
export * as Firecracker from "./backends/firecracker/Firecracker.ts"
export * as Mock from "./backends/mock/Mock.ts"
export * as Qemu from "./backends/qemu/Qemu.ts"
export { type Config, defineConfig } from "./cli/Config.ts"
export { type DeclareError, Driver, type DriverService, type ForkError, type SubtestOptions } from "./driver/Driver.ts"
export type { MachineClass, MachineLayerError } from "./driver/DriverLayer.ts"
export * as DriverLayer from "./driver/DriverLayer.ts"
export * as FailedTest from "./driver/FailedTest.ts"
export * as Failure from "./driver/Failure.ts"
export { ForkFailed } from "./driver/ForkFailed.ts"
export type {
  HostService,
  HostServiceError,
  HostServiceLink,
  HostServiceOptions,
  HttpHandler,
  Serve,
  TcpHandler
} from "./driver/HostService.ts"
export { ImageUnavailable } from "./driver/ImageUnavailable.ts"
export type { Network, Side } from "./driver/Network.ts"
export * as Overview from "./driver/Overview.ts"
export * as RunEvent from "./driver/RunEvent.ts"
export * as Runner from "./driver/Runner.ts"
export * as SavedTest from "./driver/SavedTest.ts"
export * as SnapshotStore from "./driver/SnapshotStore.ts"
export { SoftFailures } from "./driver/SoftFailure.ts"
export { StateUnusable } from "./driver/StatePlaces.ts"
export { type SuiteOptions, type SuiteTest, suite } from "./driver/Suite.ts"
export {
  isTestCase,
  type Location as ScriptLocation,
  type TestCase,
  type TestFunction,
  type TestOptions,
  type TestServices,
  test
} from "./driver/TestCase.ts"
export type { SubtestResult, TestResult } from "./driver/TestResult.ts"
export { ForkedFiberFailed, UncaughtError } from "./driver/UncaughtError.ts"
export { asValue, UnrunEffect } from "./driver/UnrunEffect.ts"
export { CommandFailed, type Commands, type RetryOptions } from "./guest/Command.ts"
export { ConsoleEnded } from "./guest/Console.ts"
export type { CopyError } from "./guest/Copy.ts"
export { CopyFailed } from "./guest/CopyFailed.ts"
export { type DeadlineSettings, Deadlines } from "./guest/Deadlines.ts"
export type { WriteOptions } from "./guest/File.ts"
export type { UntimedError } from "./guest/Guest.ts"
export { HostFileError } from "./guest/HostFile.ts"
export { NoTerminal } from "./guest/Interact.ts"
export type { JournalEntry, JournalOptions } from "./guest/Journal.ts"
export { BootFailed, InvalidArgument, MachineDied, MachineNotRunning, WaitTimeout } from "./guest/MachineError.ts"
export type { MachineEvent, MachineState } from "./guest/MachineEvent.ts"
export { PollingConditionFailed, type PollingConditionOptions } from "./guest/PollingCondition.ts"
export { type AddressAndOptions, NoWayToConnect, type PortOptions } from "./guest/Port.ts"
export type { SocketOptions, SocketType } from "./guest/Socket.ts"
export type { SpawnedCommand, SpawnOptions } from "./guest/Spawn.ts"
export type { TerminalError } from "./guest/Terminal.ts"
export type { GuestPollOptions, PollOptions } from "./guest/Timeout.ts"
export { NoSystemd, NoUserManager, UnitFailed, type UnitOptions, type WaitForUnitOptions } from "./guest/Unit.ts"
export { CacheUnwritable } from "./host/Cache.ts"
export { ProcessFailed, SpawnFailed, ToolMissing } from "./host/HostProcess.ts"
export type { RunDirectory as RunDirectoryTag } from "./host/RunDirectory.ts"
export * as RunDirectory from "./host/RunDirectory.ts"
export * as Image from "./images/Image.ts"
export { type ImageError, NoBackend } from "./images/ImageError.ts"
export type { ImageStore as ImageStoreTag } from "./images/ImageStore.ts"
export * as ImageStore from "./images/ImageStore.ts"
export type { Plugged } from "./machine/Hotplug.ts"
export { NotInInitrd, type PauseError, RebootNotAllowed } from "./machine/Life.ts"
export type { CardReference, ForwardPortOptions, Link } from "./machine/Link.ts"
export type {
  CommandError,
  CutShort,
  DeadlineError,
  Machine,
  Unavailable,
  WaitError,
  WaitOptions
} from "./machine/Machine.ts"
export { HostLimits, InvalidMachine, type MachineOptions, type WarmUp } from "./machine/MachineSpec.ts"
export {
  type ForkError as MachineForkError,
  type ForkIdentity,
  type ForkOptions,
  NoSuchSnapshot,
  type RestoreError,
  type Snapshot,
  type SnapshotError,
  SnapshotFailed
} from "./machine/Snapshot.ts"
export { type Changes as StartChange, StartChanges } from "./machine/StartChanges.ts"
export { type Interface, InvalidAddresses } from "./network/Addresses.ts"
export type { Fate, Packet } from "./network/Capture.ts"
export { CaptureFailed } from "./network/Capture.ts"
export type { Card } from "./network/Card.ts"
export { HostServiceFailed } from "./network/HostCard.ts"
export type { ImpairmentOptions, Rate, Share } from "./network/Impairment.ts"
export type { NetworkOptions, NetworkSpec, Networks } from "./network/NetworkSpec.ts"
export { FabricUnavailable, VlanFailed } from "./network/Vlan.ts"
export { type PythonScript, python } from "./python/Python.ts"
export {
  InterpreterDied,
  NotAvailable,
  ProtocolBroken,
  PythonSyntaxError,
  ScriptRaised,
  ScriptUnreadable
} from "./python/PythonError.ts"
export * as HtmlReport from "./report/HtmlReport.ts"
export * as Junit from "./report/Junit.ts"
export * as RecordedRun from "./report/RecordedRun.ts"
export * as Reports from "./report/Reports.ts"
export * as RunRecord from "./report/RunRecord.ts"
export * as TerminalReport from "./report/TerminalReport.ts"
export type { DisplayError, InputError } from "./screen/Display.ts"
export { type KeyOptions, KeysLost } from "./screen/Keyboard.ts"
export type { KeyboardLayout } from "./screen/KeyboardLayout.ts"
export type { Button, ClickOptions, ClickTextOptions, DragOptions, Point } from "./screen/Mouse.ts"
export { type Recording, RecordingFailed, type RecordOptions } from "./screen/Recording.ts"
export {
  type Box,
  type FoundText,
  OcrFailed,
  type ReadError,
  type ReadOptions,
  type WaitForTextOptions
} from "./screen/Screen.ts"
export {
  type CompareOptions,
  type ExpectScreenshotOptions,
  ReferenceMissing,
  ScreenDiffers,
  UpdateReferences,
  type WaitForImageOptions
} from "./screen/ScreenImage.ts"
export {
  type DisplayMethods,
  DisplayUnavailable,
  type WaitForWindowOptions,
  type WaitForXOptions,
  type XOptions
} from "./screen/X11.ts"
export { QmpError, type QmpEvent } from "./transport/qmp/Qmp.ts"
export { RestError } from "./transport/RestError.ts"
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
