/**
 * What can go wrong between a test and a command in a guest.
 *
 * Every error names the machine; those about a command carry the command and what it had said so far, as strings of
 * UTF-8 with replacement characters.
 *
 * **Example** (A command that may take too long)
 *
 * ```ts
 * const logs = shell.execute("journalctl --follow", { timeout: "5 seconds" }).pipe(
 *   Effect.map(({ stdout }) => stdout),
 *   Effect.catchTag("CommandTimeout", ({ stdout }) => Effect.succeed(stdout))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { section } from "../host/Evidence.ts"

/** A command on one line, short enough for a message. */
export const short = (command: string): string => {
  const line = command.trim().replace(/\s*\n\s*/g, "; ")
  return line.length > 100 ? `${line.slice(0, 99)}…` : line
}

/** `running "sleep 100"`; a wait that is not a command is named as it is: `waiting for the file /tmp/x`. */
const underWay = (command: string): string => {
  const line = short(command)
  return /^(waiting|reading|copying) /.test(line) || line === "waiting" ? line : `running "${line}"`
}

/** The command ran longer than its timeout. Its whole process group was killed in the guest. */
export class CommandTimeout extends Schema.TaggedError<CommandTimeout>()("CommandTimeout", {
  machine: Schema.String,
  command: Schema.String,
  timeout: Schema.Duration,
  stdout: Schema.String,
  stderr: Schema.String,
  /** why the guest could not end it, where the host knows */
  because: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const because = this.because === undefined ? "" : ` (${this.because})`
    return (
      `${this.machine}: "${short(this.command)}" did not end within ${Duration.format(this.timeout)}${because}` +
      section("stdout so far", this.stdout) +
      section("stderr so far", this.stderr)
    )
  }
}

/** The guest's shell went away or stopped answering while it ran a command: the guest died, rebooted or froze. */
export class ShellLost extends Schema.TaggedError<ShellLost>()("ShellLost", {
  machine: Schema.String,
  command: Schema.String,
  reason: Schema.String,
  stdout: Schema.String,
  stderr: Schema.String,
  /** the last lines of the guest's console */
  console: Schema.String
}) {
  override get message() {
    return (
      `${this.machine}: lost the shell while ${underWay(this.command)}: ${this.reason}` +
      section("stdout so far", this.stdout) +
      section("stderr so far", this.stderr) +
      section("console", this.console)
    )
  }
}

/** The guest's bootstrap shell did not answer within the boot timeout, or is gone for good. */
export class ShellNotReady extends Schema.TaggedError<ShellNotReady>()("ShellNotReady", {
  machine: Schema.String,
  /** the command that was waiting for it, if one was */
  command: Schema.optionalKey(Schema.String),
  reason: Schema.String,
  waited: Schema.Duration,
  /** the last lines of the guest's console */
  console: Schema.String
}) {
  override get message() {
    return (
      `${this.machine}: ${this.command === undefined ? "" : `could not run "${short(this.command)}": `}` +
      `no shell after ${Duration.format(this.waited)}: ${this.reason}` +
      section("console", this.console)
    )
  }
}

/**
 * The command was not run: an option was invalid, the guest does not have the user or folder, or it is going down (`Rebooting`,
 * `ShuttingDown`).
 */
export class CommandRejected extends Schema.TaggedError<CommandRejected>()("CommandRejected", {
  machine: Schema.String,
  command: Schema.String,
  reason: Schema.Literals([
    "UnknownUser",
    "MissingDirectory",
    "InvalidTimeout",
    "InvalidEnvironment",
    "InvalidCommand",
    "OutputTooLarge",
    "NoSpace",
    "Rebooting",
    "ShuttingDown",
    "Busy",
    "Closed"
  ]),
  detail: Schema.String,
  /** the last 64 KiB of what it said; of `OutputTooLarge` only, since others did not run */
  stdout: Schema.optionalKey(Schema.String),
  stderr: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const ran = this.reason === "OutputTooLarge" ? "stopped" : "could not run"
    return `${this.machine}: ${ran} "${short(this.command)}": ${this.detail}`
  }
}

/** A socket to the guest or the hypervisor could not be opened, or broke. */
export class TransportError extends Schema.TaggedError<TransportError>()("TransportError", {
  machine: Schema.String,
  socket: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: ${this.reason} (${this.socket})`
  }
}

/** Everything a command in a guest can fail with. A connection that breaks is a `ShellLost`, and a `ShellNotReady` for the next command. */
export type ShellError = CommandTimeout | ShellLost | ShellNotReady | CommandRejected

/** The error of a step that was taken for the sake of another command, as that one's. */
export const named = (error: ShellError, command: string): ShellError => {
  switch (error._tag) {
    case "CommandTimeout":
      return new CommandTimeout({ ...error, command })
    case "ShellLost":
      return new ShellLost({ ...error, command })
    case "ShellNotReady":
      return new ShellNotReady({ ...error, command })
    case "CommandRejected":
      return new CommandRejected({ ...error, command })
  }
}

/** The `reason` of what was lost because the guest rebooted. */
export const rebootedReason = "the guest rebooted"

/** Whether a command was not run because the guest is going down. */
export const isGoingDown = (error: unknown): error is CommandRejected =>
  error instanceof CommandRejected && (error.reason === "Rebooting" || error.reason === "ShuttingDown")

/** The schema of {@link ShellError}. */
export const ShellError = Schema.Union([CommandTimeout, ShellLost, ShellNotReady, CommandRejected])
