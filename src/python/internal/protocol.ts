/**
 * What is said between vmtest and a Python script: JSON, one object a line, over a socket of the script's interpreter.
 *
 * vmtest speaks first, with `Begin`; then the script calls, and every call has one `Reply`. Several calls can be under way at once, as a script
 * can have several threads. The other end is `shim.py`.
 */
import * as Schema from "effect/Schema"

/** A call: `target` is a machine, or empty for the driver; `within` is the number of the innermost subtest, or 0. */
export const Call = Schema.Struct({
  t: Schema.Literal("call"),
  id: Schema.Int,
  target: Schema.String,
  method: Schema.String,
  args: Schema.Record(Schema.String, Schema.Unknown),
  within: Schema.Int
})
export interface Call extends Schema.Schema.Type<typeof Call> {}

/** A line of the script's stack, innermost first; line and column from 1. */
const Frame = Schema.Struct({
  file: Schema.String,
  line: Schema.Int,
  column: Schema.Int,
  function: Schema.String
})

/** An exception. */
export interface Raised {
  /** The same for the same exception; 0 if it cannot be known again. */
  readonly number: number
  readonly type: string
  readonly message: string
  readonly frames: ReadonlyArray<typeof Frame.Type>
  /** The call that it came from, or 0. */
  readonly call: number
  /** The argument of `sys.exit`. */
  readonly exit: number | null
  readonly cause: Raised | null
}

/** An exception. */
export const Raised: Schema.Codec<Raised> = Schema.Struct({
  number: Schema.Int,
  type: Schema.String,
  message: Schema.String,
  frames: Schema.Array(Frame),
  call: Schema.Int,
  exit: Schema.NullOr(Schema.Int),
  cause: Schema.NullOr(Schema.suspend((): Schema.Codec<Raised> => Raised))
})

/** What the script says. */
export const FromScript = Schema.Union([
  Call,
  /** The script does not wait for this call any more. */
  Schema.Struct({ t: Schema.Literal("cancel"), id: Schema.Int }),
  /** A line for the report. */
  Schema.Struct({ t: Schema.Literal("log"), line: Schema.String }),
  /** The script is over. */
  Schema.Struct({ t: Schema.Literal("done") }),
  Schema.Struct({ t: Schema.Literal("failed"), raised: Raised })
])
export type FromScript = typeof FromScript.Type

/** A machine, and its folders on the host. */
export const MachineInfo = Schema.Struct({
  name: Schema.String,
  stateDir: Schema.String,
  sharedDir: Schema.String,
  tmpDir: Schema.String,
  /** The command that starts it; null for a machine without a start script. */
  startScript: Schema.NullOr(Schema.String)
})
export interface MachineInfo extends Schema.Schema.Type<typeof MachineInfo> {}

/** The first line that the script's side hears. */
export const Begin = Schema.Struct({
  script: Schema.Struct({
    text: Schema.String,
    file: Schema.String,
    /** What the script imports is looked for here first. */
    folder: Schema.String
  }),
  machines: Schema.Array(MachineInfo),
  vlans: Schema.Array(Schema.Struct({ nr: Schema.Int })),
  outDir: Schema.String,
  /** Seconds; null for no limit. */
  timeout: Schema.NullOr(Schema.Number),
  /** The file in which the lines of a prompt are remembered; null if the script is run and there is no prompt. */
  history: Schema.NullOr(Schema.String),
  /** The command that attaches to breakpoints; null if there are none. */
  debugHook: Schema.NullOr(Schema.String),
  /** The sockets of the SSH backdoors and the commands for them, by machine; null if there are none. */
  vsocks: Schema.NullOr(
    Schema.Record(Schema.String, Schema.Struct({ guest: Schema.String, host: Schema.String, command: Schema.String }))
  ),
  /** What to use instead of names that vmtest does not have, by holder and name. */
  hints: Schema.Record(Schema.String, Schema.Record(Schema.String, Schema.String))
})
export interface Begin extends Schema.Schema.Type<typeof Begin> {}

/** The class of the exception that the script sees. */
export const ErrorKind = Schema.Literals([
  "RequestedAssertionFailed",
  "MachineError",
  "NotAvailable",
  "PollingConditionError",
  "QMPAPIError",
  "TimeoutError",
  "RuntimeError",
  "FileNotFoundError"
])
export type ErrorKind = typeof ErrorKind.Type

/** The answer to a call. */
export const Reply = Schema.Union([
  Schema.Struct({ id: Schema.Int, value: Schema.Unknown }),
  Schema.Struct({
    id: Schema.Int,
    error: Schema.Struct({
      kind: ErrorKind,
      message: Schema.String,
      /** The message of the error itself, with its evidence. */
      told: Schema.optionalKey(Schema.String),
      /** QEMU's error class. */
      class: Schema.optionalKey(Schema.String)
    })
  })
])
export type Reply = typeof Reply.Type
