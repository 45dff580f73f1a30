/**
 * The journal of a guest.
 *
 * **Example** (The first error of a unit)
 *
 * ```ts
 * const errors = web.journal({ unit: "nginx" }).pipe(Stream.filter(({ priority }) => priority <= 3))
 * const first = yield* Stream.runHead(errors)
 * ```
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Fields from "../host/Fields.ts"
import { quote } from "../host/Quote.ts"
import type { ShellService } from "../transport/Shell.ts"
import { CommandRejected, isGoingDown, ShellLost } from "../transport/ShellError.ts"
import { raceDeathStream, tracedStream } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import { CommandFailed } from "./Command.ts"
import type { CommandError, Guest } from "./Guest.ts"
import { type InvalidArgument, MachineDied } from "./MachineError.ts"
import { relabel } from "./Run.ts"
import { fullName } from "./systemd/unitStates.ts"

/** One entry. A field without a value is `""`. */
export interface JournalEntry {
  /** When the journal received it, by the guest's clock. */
  readonly time: DateTime.Utc
  readonly message: string
  /** The unit that it is about, of the system or of a user. */
  readonly unit: string
  /** The name that the program gave. */
  readonly identifier: string
  /** As in syslog: from 0 (emergency) to 7 (debug); 6 is information. */
  readonly priority: number
  /** Every field by its name in the journal (`_PID`, `_UID`, `CODE_FILE`, …); several values of one field are lines. */
  readonly fields: Readonly<Record<string, string>>
}

/** A name that some unit can have, and that `systemctl` does not take for a pattern. */
export const UnitName = Fields.text(
  "the name of a unit, of letters, digits and :_.\\@- (systemd-escape makes one of any text)",
  /^[A-Za-z0-9:_.\\@-]{1,255}$/
)

/** Which entries of the journal. */
export const JournalOptions = Fields.options(
  {
    /** Only entries about this unit. Default: all units. */
    unit: Schema.optional(UnitName),
    /** The user whose unit it is; without a unit, only entries of this user's processes. */
    user: Schema.optional(Schema.String),
    /** How many of the existing entries. Default: all since the guest booted. */
    lines: Schema.optional(Fields.whole(0)),
    /** Whether to wait for new entries. Default true. */
    follow: Schema.optional(Schema.Boolean)
  },
  '{ unit: "sshd" }'
)

/** Which entries of the journal. */
export interface JournalOptions extends Schema.Schema.Type<typeof JournalOptions> {}

/** The journal of a machine. */
export interface JournalMethods {
  /**
   * The entries of the journal since the guest booted, then new ones. The stream ends when the machine powers off, and fails with
   * `MachineDied` if the machine ends in another way.
   *
   * It fails with `ShellLost` if the guest reboots, and with `CommandFailed` if the journal cannot be read or somebody in the guest ends its
   * `journalctl`. A guest without a journal has no entries.
   */
  readonly journal: (
    options?: JournalOptions
  ) => Stream.Stream<JournalEntry, CommandError | CommandFailed | InvalidArgument>
}

/** Exit code of {@link command} for an unknown user; `journalctl` uses 0 and 1. */
const unknownUser = 90
/** Exit code of a shell that finds no `journalctl`. */
const missing = 127
/** How many characters of standard error are kept. */
const keptStderr = 10_000
/** How long a guest that is shutting down may take: its end explains the journal's. */
const shutdownGrace = "60 seconds"
/** Exit codes above this: a signal ended the command. */
const signalled = 128

/** Succeeds in a guest that is shutting down, whose systemd ends everything, `journalctl` too. */
const isShuttingDown =
  'case "$(systemctl is-system-running 2>/dev/null)" in running|degraded|starting|initializing|maintenance) exit 1 ;; esac'

/**
 * A `journalctl` for root. Entries of a user's unit are found by their fields: `--user` would show those of the user who asks, and only if
 * journals are kept separately.
 */
export const command = (options: {
  readonly unit?: string | undefined
  readonly user?: string | undefined
  readonly lines?: number | undefined
  readonly follow?: boolean | undefined
  readonly output: "cat" | "json" | "short-precise"
}): string => {
  const { follow = false, lines, output, unit, user } = options
  const flags = `-b -q --no-pager --all -o ${output} -n ${lines ?? "all"}${follow ? " -f" : ""}`
  if (user === undefined) return `journalctl ${flags}${unit === undefined ? "" : ` -u ${quote(unit)}`}`
  const name = unit === undefined ? undefined : fullName(unit)
  const matches =
    name === undefined
      ? "_UID=$u"
      : ["_SYSTEMD_USER_UNIT", "USER_UNIT"].map((field) => `_UID=$u ${field}=${quote(name)}`).join(" + ")
  return `u=$(id -u -- ${quote(user)}) || exit ${unknownUser}\njournalctl ${flags} ${matches}`
}

const FieldsOfEntry = Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown))
const decode = Schema.decodeUnknownOption(FieldsOfEntry)

/** A field is a text, an array of bytes if it is not text, or an array of several values; one that was too long is null. */
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
  error instanceof MachineDied && error.exitCode === 0 && error.ended !== "reset" && error.ended !== "panic"

/** What its method takes. */
export const parameters = Arguments.of<JournalMethods>({
  journal: Arguments.takes({ options: Schema.optional(JournalOptions) }, { gives: "stream" })
})

/** The journal methods of a guest. */
export const make = (guest: Guest): JournalMethods =>
  Arguments.checked<JournalMethods>(guest.name, parameters, {
    journal: (options = {}) => {
      const { follow = true, lines, unit, user } = options
      const doing = "reading the journal"
      const script = command({ unit, user, lines, follow, output: "json" })
      let stderr = ""
      const text = new TextDecoder()
      const isGuestEnding = Effect.flatMap(guest.shellNow, (shell) =>
        shell.execute(isShuttingDown, { timeout: "1 minute" })
      ).pipe(
        Effect.map(({ exitCode }) => exitCode === 0),
        Effect.catchIf(isGoingDown, () => Effect.succeed(true))
      )
      /** Fails if it went wrong, and did not just end with the guest. */
      const ended = Effect.fnUntraced(function* (shell: ShellService, exitCode: number) {
        if (exitCode === 0 || exitCode === missing) return
        if (exitCode === unknownUser) {
          const detail = `the user ${user} does not exist`
          return yield* new CommandRejected({ machine: guest.name, command: doing, reason: "UnknownUser", detail })
        }
        // The guest's end explains it better, and comes soon.
        if (exitCode > signalled && (yield* isGuestEnding)) {
          const end = yield* Effect.timeoutOption(shell.lost, shutdownGrace)
          if (end._tag === "Some") {
            const said = { stdout: "", stderr: "", console: yield* guest.consoleTail }
            return yield* new ShellLost({ machine: guest.name, command: doing, reason: end.value, ...said })
          }
        }
        const failed = { wanted: "success", exitCode, stdout: "", stderr } as const
        return yield* new CommandFailed({ machine: guest.name, command: script, ...failed })
      })
      const read = Effect.map(guest.shell, (shell) =>
        shell.executeStream(script, { timeout: "Infinity" }).pipe(
          Stream.mapEffect((event) => {
            if (event._tag === "Exit") return Effect.as(ended(shell, event.exitCode), new Uint8Array())
            if (event._tag === "Stdout") return Effect.succeed(event.bytes)
            stderr = (stderr + text.decode(event.bytes, { stream: true })).slice(-keptStderr)
            return Effect.succeed(new Uint8Array())
          })
        )
      )
      return Stream.unwrap(read).pipe(
        // The error must show neither the script nor entries in JSON.
        Stream.mapError(relabel(doing)),
        Stream.decodeText(),
        Stream.splitLines,
        Stream.map(entryOf),
        Stream.filter((entry) => entry !== undefined),
        (all) => raceDeathStream(guest, doing, all),
        // After an orderly shutdown there are no more entries.
        Stream.catchIf(isPowerOff, () => Stream.empty),
        (all) => tracedStream(guest, { name: "journal", attributes: { unit, user } }, all)
      )
    }
  })
