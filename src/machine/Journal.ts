/**
 * The journal of a guest.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { CommandRejected } from "../transport/ShellError.ts"
import { type CommandError, type Guest, quote, streamOrLoss } from "./internal/Guest.ts"
import { InvalidArgument, MachineDied } from "./MachineError.ts"

/** One entry. What a field does not have is `""`. */
export interface JournalEntry {
  /** When the journal received it, by the guest's clock. */
  readonly time: DateTime.Utc
  readonly message: string
  /** The unit it is about, of the system or of a user. */
  readonly unit: string
  /** The name that the program gave itself. */
  readonly identifier: string
  /** From 0, an emergency, to 7, debugging, as in syslog; 6 is information. */
  readonly priority: number
  /** Every field by the journal's own name (`_PID`, `_UID`, `CODE_FILE`, …); several values of one are lines. */
  readonly fields: Readonly<Record<string, string>>
}

/** What of the journal. */
export interface JournalOptions {
  /** Only what is about this unit; of everything if absent. */
  readonly unit?: string
  /** The user whose unit it is; without a unit, only what this user's processes wrote. */
  readonly user?: string
  /** How many of the entries that are already there. Default all since the guest booted. */
  readonly lines?: number
  /** Whether to wait for more. Default true. */
  readonly follow?: boolean
}

/** The journal of a machine. */
export interface JournalMethods {
  /**
   * The entries of the journal since the guest booted, then those that come. It ends with a machine that powers off, and fails with
   * `MachineDied` when the machine ends otherwise.
   *
   * A guest that reboots meanwhile is a `ShellLost`; a guest without a journal gives none.
   */
  readonly journal: (options?: JournalOptions) => Stream.Stream<JournalEntry, CommandError | InvalidArgument>
}

/** Exit code of {@link command}; `journalctl` has 0 and 1. */
const unknownUser = 90

/**
 * A `journalctl` for root. The journal of a user's unit is found by its fields: `--user` would look for that of the user who asks, and
 * only where journals are kept apart.
 */
export const command = (options: {
  readonly unit?: string | undefined
  readonly user?: string | undefined
  readonly lines?: number | undefined
  readonly follow?: boolean | undefined
  readonly output: "cat" | "json"
}): string => {
  const { follow = false, lines, output, unit, user } = options
  const flags = `-b -q --no-pager --all -o ${output} -n ${lines ?? "all"}${follow ? " -f" : ""}`
  if (user === undefined) return `journalctl ${flags}${unit === undefined ? "" : ` -u ${quote(unit)}`}`
  const name = unit === undefined || /\.[a-z]+$/.test(unit) ? unit : `${unit}.service`
  const matches =
    name === undefined
      ? "_UID=$u"
      : ["_SYSTEMD_USER_UNIT", "USER_UNIT"].map((field) => `_UID=$u ${field}=${quote(name)}`).join(" + ")
  return `u=$(id -u -- ${quote(user)}) || exit ${unknownUser}\njournalctl ${flags} ${matches}`
}

const Fields = Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown))
const decode = Schema.decodeUnknownOption(Fields)

/** A field is a text, bytes where it is none, or an array of several; a field that was too long is null. */
const text = (value: unknown): string => {
  if (typeof value === "string") return value
  if (!Array.isArray(value)) return ""
  return value.every((byte) => typeof byte === "number")
    ? Buffer.from(value).toString("utf8")
    : value.map(text).join("\n")
}

const entryOf = (line: string): JournalEntry | undefined => {
  const decoded = decode(line)
  if (decoded._tag === "None") return undefined
  const fields = Object.fromEntries(Object.entries(decoded.value).map(([name, value]) => [name, text(value)]))
  return {
    time: DateTime.makeUnsafe(Number(fields.__REALTIME_TIMESTAMP ?? 0) / 1000),
    message: fields.MESSAGE ?? "",
    unit: fields.USER_UNIT ?? fields.UNIT ?? fields._SYSTEMD_USER_UNIT ?? fields._SYSTEMD_UNIT ?? "",
    identifier: fields.SYSLOG_IDENTIFIER ?? "",
    priority: Number(fields.PRIORITY ?? 6),
    fields
  }
}

const isPowerOff = (error: unknown): boolean =>
  error instanceof MachineDied && error.exitCode === 0 && error.ended !== "reset"

/** The journal methods of a guest. */
export const make = (guest: Guest): JournalMethods => ({
  journal: (options = {}) => {
    const { follow = true, lines, unit, user } = options
    const invalid = (argument: string, value: string, reason: string) =>
      Stream.fail(new InvalidArgument({ machine: guest.name, argument, value, reason }))
    if (unit !== undefined && !/^[A-Za-z0-9:_.\\@-]{1,255}$/.test(unit)) {
      return invalid("unit", unit, "is not a unit name: letters, digits and :_.\\@-")
    }
    if (lines !== undefined && (!Number.isInteger(lines) || lines < 0)) {
      return invalid("lines", String(lines), "is not a number of entries")
    }
    const script = command({ unit, user, lines, follow, output: "json" })
    const entries = Effect.map(guest.shell, (shell) => shell.executeStream(script, { timeout: "Infinity" }))
    return Stream.unwrap(entries).pipe(
      Stream.flatMap((event): Stream.Stream<Uint8Array, CommandRejected> => {
        if (event._tag === "Stdout") return Stream.succeed(event.bytes)
        if (event._tag !== "Exit" || event.exitCode !== unknownUser) return Stream.empty
        const detail = `there is no user ${user}`
        return Stream.fail(new CommandRejected({ machine: guest.name, command: script, reason: "UnknownUser", detail }))
      }),
      Stream.decodeText(),
      Stream.splitLines,
      Stream.map(entryOf),
      Stream.filter((entry) => entry !== undefined),
      (all) => streamOrLoss(guest, "reading the journal", all),
      // A machine that was shut down in order has no more to say.
      Stream.catchIf(isPowerOff, () => Stream.empty)
    )
  }
})
