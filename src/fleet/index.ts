/**
 * Test files on many hosts.
 *
 * @since 0.1.0
 */

export * as DatabaseUrl from "./DatabaseUrl.ts"
export * as Executor from "./Executor.ts"
export * as Fleet from "./Fleet.ts"
export {
  DatabaseUnusable,
  FileNotPortable,
  HostLost,
  NobodyServes,
  NoSuchRun,
  OtherVersion,
  RunCancelled
} from "./FleetError.ts"
export * as Job from "./Job.ts"
export * as Store from "./Store.ts"
export * as Worker from "./Worker.ts"
