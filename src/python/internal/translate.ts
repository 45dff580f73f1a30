/** The errors of methods as the exceptions of the NixOS test driver, in its words where scripts compare them. */
import * as Duration from "effect/Duration"
import type { CommandFailed } from "../../guest/Command.ts"
import type { CopyFailed } from "../../guest/CopyFailed.ts"
import type { WaitTimeout } from "../../guest/MachineError.ts"
import type { PollingConditionFailed } from "../../guest/PollingCondition.ts"
import type { UnitFailed } from "../../guest/Unit.ts"
import * as Thrown from "../../host/Thrown.ts"
import type { QmpError } from "../../transport/qmp/Qmp.ts"
import type { CommandTimeout } from "../../transport/ShellError.ts"
import type { NotAvailable } from "../PythonError.ts"
import type { ErrorKind } from "./protocol.ts"

/** What a script sees of an error. */
export interface Translated {
  readonly kind: ErrorKind
  readonly message: string
  readonly class?: string
}

type Known =
  | CommandFailed
  | CommandTimeout
  | CopyFailed
  | WaitTimeout
  | UnitFailed
  | QmpError
  | NotAvailable
  | PollingConditionFailed

/** The arguments of the call that failed, for words that repeat them. */
type Arguments = Readonly<Record<string, unknown>>

const failed = (message: string): Translated => ({ kind: "RequestedAssertionFailed", message })

const table: {
  readonly [Tag in Known["_tag"]]: (error: Extract<Known, { readonly _tag: Tag }>, args: Arguments) => Translated
} = {
  CommandFailed: ({ command, exitCode, wanted }) =>
    failed(
      wanted === "success"
        ? `command \`${command}\` failed (exit code ${exitCode})`
        : `command \`${command}\` unexpectedly succeeded`
    ),
  // What `timeout` exits with.
  CommandTimeout: ({ command }) => failed(`command \`${command}\` failed (exit code 124)`),
  CopyFailed: ({ message }) => failed(message),
  WaitTimeout: ({ waited }, { timeout }) =>
    failed(
      `action timed out after ${Duration.toSeconds(waited).toFixed(2)} seconds (timeout=${typeof timeout === "number" ? timeout : "None"})`
    ),
  UnitFailed: ({ state, unit }, args) => {
    const name = typeof args.unit === "string" ? args.unit : unit
    return failed(
      state === "inactive"
        ? `unit "${name}" is inactive and there are no pending jobs`
        : `unit "${name}" reached state "${state}"`
    )
  },
  QmpError: (error) => ({ kind: "QMPAPIError", message: error.desc, class: error.class }),
  NotAvailable: ({ message }) => ({ kind: "NotAvailable", message }),
  PollingConditionFailed: ({ message }) => ({ kind: "PollingConditionError", message })
}

const isKnown = (error: unknown): error is Known =>
  typeof error === "object" && error !== null && "_tag" in error && String(error._tag) in table

/** What a script sees of an error. */
export const translate = (error: unknown, args: Arguments): Translated => {
  if (isKnown(error)) {
    // The table pairs each tag with the function for it; that the two agree is lost when the tag is looked up.
    const of = table[error._tag] as (error: Known, args: Arguments) => Translated
    return of(error, args)
  }
  return { kind: "MachineError", message: Thrown.messageOf(error) }
}
