/**
 * Commands that run beside the test: their output while it comes, their input, signals.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import { ExecuteOptions, type GuestProcess, type Signal } from "../transport/Shell.ts"
import { type CommandRejected, type ShellError, short } from "../transport/ShellError.ts"
import { guard, raceDeath, raceDeathStream, traced } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import { CommandLine } from "./Command.ts"
import type { CommandError, CutShort, DeadlineError, Guest } from "./Guest.ts"
import type { InvalidArgument } from "./MachineError.ts"
import { timed, WaitOptions } from "./Timeout.ts"
import { wait } from "./Wait.ts"

/** How a command is started. */
export const SpawnOptions = Fields.options(
  {
    ...ExecuteOptions.fields,
    /**
     * Whether the command outlives the scope it was started in, until it ends by itself or the test does. Default false: the end of the
     * scope kills its process group.
     */
    detached: Schema.optional(Schema.Boolean)
  },
  "{ detached: true }"
)

/** How a command is started. */
export interface SpawnOptions extends Schema.Schema.Type<typeof SpawnOptions> {}

/** A command under way in a guest. It takes one of the ten places for commands until it ends. */
export interface SpawnedCommand {
  readonly command: string
  /** What it writes, once: a second reader would steal from the first. A reader that pauses slows the command down. */
  readonly stdout: Stream.Stream<Uint8Array, CutShort | ShellError>
  /** As `stdout`. */
  readonly stderr: Stream.Stream<Uint8Array, CutShort | ShellError>
  /**
   * Writes to its standard input, waiting while the command does not read. What is written after the command ended is dropped; after
   * `end`, or beside a `stdin` that was given, fails with `CommandRejected`.
   */
  readonly write: (data: string | Uint8Array) => Effect.Effect<void, CutShort | CommandRejected | InvalidArgument>
  /** Ends its standard input. */
  readonly end: () => Effect.Effect<void, CutShort>
  /** Sends a signal to its process group, `"INT"` or `"SIGINT"`; nothing happens when it has ended. Default `"TERM"`. */
  readonly signal: (signal?: Signal | `SIG${Signal}`) => Effect.Effect<void, CutShort | InvalidArgument>
  /**
   * Waits for its end and gives its exit code: 0 to 255, 128 + n after death by signal n. A command that writes more than some 1 MiB does
   * not end before somebody reads `stdout` and `stderr`.
   */
  readonly wait: (options?: WaitOptions) => Effect.Effect<number, CutShort | ShellError | DeadlineError>
}

/** Starting commands, for a machine. */
export interface SpawnMethods {
  /** Starts a command and gives a handle on it. Without a `timeout` it may run as long as it likes. */
  readonly spawn: {
    (
      command: string,
      options: SpawnOptions & { readonly detached: true }
    ): Effect.Effect<SpawnedCommand, CommandError | InvalidArgument>
    (
      command: string,
      options?: SpawnOptions
    ): Effect.Effect<SpawnedCommand, CommandError | InvalidArgument, Scope.Scope>
  }
}

const signals = ["HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP"] satisfies ReadonlyArray<Signal>

const AnySignal = Schema.declare<Signal | `SIG${Signal}`>(
  (value): value is Signal | `SIG${Signal}` => signals.some((known) => value === known || value === `SIG${known}`),
  { expected: `one of ${Decode.alternatives(signals.map((name) => JSON.stringify(name)))}` }
)

/** What its methods take. */
export const parameters = Arguments.of<SpawnMethods>({
  spawn: Arguments.takes({ command: CommandLine, options: Schema.optional(SpawnOptions) })
})

/** What the methods of a spawned command take. */
export const spawnedParameters = Arguments.of<SpawnedCommand>({
  write: Arguments.takes({ data: Fields.Content }),
  end: Arguments.takes({}),
  signal: Arguments.takes({ signal: Schema.optional(AnySignal) }),
  wait: Arguments.takes({ options: Schema.optional(WaitOptions) })
})

/** The handle of the shell, with the errors of a machine. */
const handle = (guest: Guest, process: GuestProcess): SpawnedCommand => {
  const doing = (what: string) => `${what} ${JSON.stringify(short(process.command))}`
  /** What nobody has begun to read. */
  const unread = new Set(["stdout", "stderr"])
  const output = (name: "stdout" | "stderr"): SpawnedCommand["stdout"] =>
    Stream.suspend(() => {
      unread.delete(name)
      return raceDeathStream(guest, doing("reading"), process[name])
    })
  const attributes = { command: short(process.command) }
  const within = <A, E>(name: string, what: string, effect: Effect.Effect<A, E>): Effect.Effect<A, E | CutShort> =>
    traced(guest, { name, attributes }, guest.conditions.guard(raceDeath(guest, doing(what), effect)))
  const spawned: SpawnedCommand = {
    command: process.command,
    stdout: output("stdout"),
    stderr: output("stderr"),
    write: (data) => within("write", "writing to", process.write(data)),
    end: () => within("end", "writing to", process.end),
    signal: (signal = "TERM") => {
      const name = signals.find((known) => signal === known || signal === `SIG${known}`) ?? "TERM"
      return within("signal", `sending ${name} to`, process.signal(name))
    },
    wait: (options) =>
      wait(guest, {
        name: "wait",
        attributes,
        awaited: `${JSON.stringify(short(process.command))} to end`,
        options,
        until: process.wait,
        lastSeen: Effect.sync(() =>
          unread.size === 0
            ? "it runs"
            : `it runs, and nobody reads its ${[...unread].join(" and ")}: after some 1 MiB it waits for that`
        )
      })
  }
  return Arguments.checked(guest.name, spawnedParameters, spawned, "spawn().")
}

/** The spawn methods of a guest. */
export const make = (guest: Guest): SpawnMethods => {
  const spawn = Effect.fnUntraced(function* (command: string, options: SpawnOptions = {}) {
    const { detached = false, ...rest } = options
    const all = timed(rest)
    const shell = yield* guest.shell
    const scope = detached ? guest.scope : yield* Effect.scope
    const process = yield* guard(
      guest,
      { name: "spawn", doing: `starting ${JSON.stringify(short(command))}`, attributes: { command: short(command) } },
      Scope.provide(shell.spawn(command, { timeout: Duration.infinity, ...all }), scope)
    )
    return handle(guest, process)
  })
  // Only a command that is not detached asks for a scope.
  return Arguments.checked<SpawnMethods>(guest.name, parameters, { spawn: spawn as SpawnMethods["spawn"] })
}
