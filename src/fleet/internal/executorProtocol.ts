/** What a worker and the process that runs its jobs tell each other, as lines of JSON on a socket. */
import type { JobOptions, PlannedTest } from "../Job.ts"

/** What to run. Folders are the worker's. */
export interface Task {
  readonly file: string
  /** The unpacked bundle. */
  readonly module: string
  readonly root: string
  /** Where its files are. */
  readonly files: string
  /** Where it runs. */
  readonly cwd: string
  readonly output: string
  readonly tests: ReadonlyArray<PlannedTest>
  readonly options: JobOptions
  readonly trace?: { readonly traceId: string; readonly spanId: string; readonly sampled: boolean } | undefined
}

/** From the worker. */
export type Order =
  | { readonly _tag: "Run"; readonly task: Task; readonly lease: number }
  /** The job is the worker's for so many milliseconds from now; nothing more is to be heard of it after that. */
  | { readonly _tag: "Lease"; readonly millis: number }
  | { readonly _tag: "Stop" }

/** To the worker. `line` and `outcome` are JSON already. */
export type Answer =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Told"; readonly line: string }
  | { readonly _tag: "Done"; readonly outcome: string }
  /** It was stopped, or the worker was silent for too long; its machines are gone. */
  | { readonly _tag: "Stopped"; readonly why: string }
