/**
 * Commands in a guest.
 *
 * They run as root, with `set -euo pipefail`, in bash if the guest has it. Standard output, standard error and the exit status arrive
 * separately and whole. The default `timeout` is 15 minutes. It starts when the guest is ready: a machine that boots or reboots is waited for
 * until the deadline of its boot (`Deadlines`), even if the command's timeout is shorter.
 *
 * **Example** (Commands that must succeed, or may)
 *
 * ```ts
 * yield* web.succeed("systemctl start nginx", "test -e /run/nginx.pid")
 * const { exitCode, stderr } = yield* web.execute("nginx -t", { timeout: "10 seconds" })
 * yield* web.waitUntilSucceeds("curl -sf http://localhost", { schedule: Schedule.spaced("1 second") })
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import { section } from "../host/Evidence.ts"
import * as Fields from "../host/Fields.ts"
import {
  type BytesResult,
  CollectOptions,
  type CommandEvent,
  type CommandResult,
  ExecuteOptions,
  type ShellService
} from "../transport/Shell.ts"
import { short } from "../transport/ShellError.ts"
import { traced } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import type { CommandError, DeadlineError, Guest, UntimedError } from "./Guest.ts"
import * as NewUnits from "./internal/newUnits.ts"
import type { InvalidArgument } from "./MachineError.ts"
import { execute, executeBytes, executeStream, withoutTimeout } from "./Run.ts"
import { Pause, PollOptions, timed } from "./Timeout.ts"
import { poll, untilShellLost, wait } from "./Wait.ts"

/** A command failed that had to succeed (`wanted` is `"success"`), or the other way round (`"failure"`). */
export class CommandFailed extends Schema.TaggedError<CommandFailed>()("CommandFailed", {
  machine: Schema.String,
  command: Schema.String,
  wanted: Schema.Literals(["success", "failure"]),
  exitCode: Schema.Number,
  stdout: Schema.String,
  stderr: Schema.String,
  /** What may be the reason, where the test has done something that explains the output. */
  hint: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const hint = this.hint === undefined ? "" : ` (${this.hint})`
    const end =
      this.wanted === "success" ? `failed with exit code ${this.exitCode}` : "succeeded, but was expected to fail"
    return `${this.machine}: \`${short(this.command)}\` ${end}${hint}${section("stderr", this.stderr)}${section("stdout", this.stdout)}`
  }
}

/** One or more commands, then perhaps options. */
export type Commands = ReadonlyArray<string> | readonly [...commands: ReadonlyArray<string>, options: CollectOptions]

/** Options of waits that run a command again and again; by default 50 ms after it ended. */
export const RetryOptions = Fields.options(
  { ...ExecuteOptions.fields, ...PollOptions.fields },
  '{ timeout: "5 seconds" }'
)

/** Options of waits that run a command again and again; by default 50 ms after it ended. */
export interface RetryOptions extends Schema.Schema.Type<typeof RetryOptions> {}

/** When to run a command again, by default. */
const retrySchedule = Schedule.spaced("50 millis")

/** The commands of a machine. */
export interface CommandMethods {
  /** Runs a command and returns its exit code and output (UTF-8, invalid bytes replaced). A non-zero exit code is not an error. */
  readonly execute: (
    command: string,
    options?: CollectOptions
  ) => Effect.Effect<CommandResult, CommandError | InvalidArgument>
  /** As `execute`, with the output as bytes. */
  readonly executeBytes: (
    command: string,
    options?: CollectOptions
  ) => Effect.Effect<BytesResult, CommandError | InvalidArgument>
  /** The output of a command while it runs, then its exit code. A consumer that stops early ends the command; one that pauses slows it down. */
  readonly executeStream: (
    command: string,
    options?: ExecuteOptions
  ) => Stream.Stream<CommandEvent, CommandError | InvalidArgument>
  /** Runs commands one after the other and returns their joined standard output, untrimmed. The first that fails is a `CommandFailed`. */
  readonly succeed: (...commands: Commands) => Effect.Effect<string, CommandError | CommandFailed | InvalidArgument>
  /** Runs commands that must fail and returns their joined standard output. The first that succeeds is a `CommandFailed`. */
  readonly fail: (...commands: Commands) => Effect.Effect<string, CommandError | CommandFailed | InvalidArgument>
  /** Runs a command until it succeeds, again 50 ms after it failed, and returns its standard output. */
  readonly waitUntilSucceeds: (
    command: string,
    options?: RetryOptions
  ) => Effect.Effect<string, CommandError | DeadlineError>
  /** Runs a command until it fails, again 50 ms after it succeeded, and returns its standard output. */
  readonly waitUntilFails: (
    command: string,
    options?: RetryOptions
  ) => Effect.Effect<string, CommandError | DeadlineError>
  /** Waits in the guest's own time, which stops while the guest is paused. The duration must be finite, and zero or more. */
  readonly sleep: (duration: Duration.Input) => Effect.Effect<void, UntimedError | InvalidArgument>
}

/** A command that is blank was meant to be another. */
export const CommandLine = Fields.text("a command, a string that is not blank", (command) => command.trim() !== "")

const SomeCommands = Schema.Array(CommandLine).check(
  Schema.makeFilter((commands: ReadonlyArray<string>) => commands.length > 0, { expected: "at least one command" })
)

/** Commands, then options if the last argument is not a command. */
const commands = Arguments.takes(
  { commands: SomeCommands, options: Schema.optional(CollectOptions) },
  {
    named: (given) => {
      const last = given.length > 1 ? given.at(-1) : undefined
      return last === undefined || typeof last === "string"
        ? { commands: given }
        : { commands: given.slice(0, -1), options: last }
    }
  }
)
const oneCommand = Arguments.takes({ command: CommandLine, options: Schema.optional(CollectOptions) })
const retried = Arguments.takes({ command: CommandLine, options: Schema.optional(RetryOptions) })

/** What its methods take. */
export const parameters = Arguments.of<CommandMethods>({
  execute: oneCommand,
  executeBytes: oneCommand,
  executeStream: Arguments.takes(
    { command: CommandLine, options: Schema.optional(ExecuteOptions) },
    { gives: "stream" }
  ),
  succeed: commands,
  fail: commands,
  waitUntilSucceeds: retried,
  waitUntilFails: retried,
  sleep: Arguments.takes({ duration: Pause })
})

const split = (args: Commands): { readonly commands: Array<string>; readonly options: CollectOptions } => {
  const commands: Array<string> = []
  let options: CollectOptions = {}
  for (const arg of args) {
    if (typeof arg === "string") commands.push(arg)
    else options = arg
  }
  return { commands, options }
}

const describe = ({ exitCode, stderr, stdout }: CommandResult) =>
  [`exit code ${exitCode}`, stderr.trim(), stdout.trim()].filter((text) => text !== "").join("\n")

/** The command methods of a guest. */
export const make = (guest: Guest): CommandMethods => {
  const runAll = Effect.fnUntraced(function* (
    wanted: "success" | "failure",
    commands: ReadonlyArray<string>,
    given: CollectOptions
  ) {
    const options = timed(given)
    let output = ""
    for (const command of commands) {
      const result = yield* execute(guest, command, options)
      if ((result.exitCode === 0) !== (wanted === "success")) {
        const hint = wanted === "success" ? NewUnits.explain(guest, result.stderr + result.stdout) : ""
        return yield* new CommandFailed({
          machine: guest.name,
          command,
          wanted,
          ...result,
          ...(hint !== "" && { hint })
        })
      }
      output += result.stdout
    }
    return output
  })
  const expecting =
    (name: string, wanted: "success" | "failure") =>
    (...args: Commands) => {
      const { commands, options } = split(args)
      const attributes = { command: short(commands.join("; ")) }
      return traced(guest, { name, attributes }, runAll(wanted, commands, options))
    }

  const retrying =
    (wanted: "succeed" | "fail") =>
    (command: string, options: RetryOptions = {}) => {
      const { schedule = retrySchedule, timeout, ...rest } = options
      return Effect.suspend(() => {
        let last = "the command is still running"
        const attempt = Effect.fnUntraced(function* (shell: ShellService) {
          const [took, result] = yield* Effect.timed(shell.execute(command, { ...rest, timeout: Duration.infinity }))
          if ((result.exitCode === 0) === (wanted === "succeed")) return result.stdout
          last = `${describe(result)}\n(after ${Math.round(Duration.toMillis(took))} ms)`
          return undefined
        })
        return wait(guest, {
          name: wanted === "succeed" ? "waitUntilSucceeds" : "waitUntilFails",
          attributes: { command: short(command) },
          awaited: `${JSON.stringify(short(command))} to ${wanted}`,
          options: timeout === undefined ? {} : { timeout },
          until: untilShellLost(guest, command, (shell) => poll(attempt(shell), schedule)),
          lastSeen: Effect.sync(() => last)
        })
      })
    }

  return Arguments.checked<CommandMethods>(guest.name, parameters, {
    execute: (command, options) => execute(guest, command, timed(options)),
    executeBytes: (command, options) => executeBytes(guest, command, timed(options)),
    executeStream: (command, options) => executeStream(guest, command, timed(options)),
    succeed: expecting("succeed", "success"),
    fail: expecting("fail", "failure"),
    waitUntilSucceeds: retrying("succeed"),
    waitUntilFails: retrying("fail"),
    sleep: (duration) => {
      const seconds = Duration.toSeconds(Duration.fromInputUnsafe(duration))
      const slept = execute(guest, `sleep ${seconds}`, { timeout: Duration.infinity })
      return Effect.asVoid(traced(guest, { name: "sleep" }, withoutTimeout(slept)))
    }
  })
}
