/**
 * Commands that run beside the test: their output as it comes, their input, signals.
 *
 * **Example** (A server for a part of a test)
 *
 * ```ts
 * yield* Effect.scoped(
 *   Effect.gen(function* () {
 *     const server = yield* web.spawn("python3 -m http.server 8080")
 *     yield* client.waitForOpenPort(8080, "web")
 *     yield* server.signal("INT")
 *     yield* server.wait()
 *   })
 * )
 * ```
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

/** How to start a command. */
export const SpawnOptions = Fields.options(
  {
    ...ExecuteOptions.fields,
    /**
     * Whether the command continues after its scope has closed, until it ends by itself or the test ends. Default false: closing the scope
     * kills its process group.
     */
    detached: Schema.optional(Schema.Boolean)
  },
  "{ detached: true }"
)

/** How to start a command. */
export interface SpawnOptions extends Schema.Schema.Type<typeof SpawnOptions> {}

/** A command that runs in a guest. It uses one of the guest's ten lanes until it ends. */
export interface SpawnedCommand {
  readonly command: string
  /** Its standard output, to be read once: two readers would share it. A reader that pauses slows the command down. */
  readonly stdout: Stream.Stream<Uint8Array, CutShort | ShellError>
  /** Its standard error, in the same way. */
  readonly stderr: Stream.Stream<Uint8Array, CutShort | ShellError>
  /**
   * Writes to its standard input, and waits until the command reads. After the command has ended, the data is dropped. After `end`, or if
   * the command was started with `stdin`, it fails with `CommandRejected`.
   */
  readonly write: (data: string | Uint8Array) => Effect.Effect<void, CutShort | CommandRejected | InvalidArgument>
  /** Ends its standard input. */
  readonly end: () => Effect.Effect<void, CutShort>
  /** Sends a signal to its process group, such as `"INT"` or `"SIGINT"`; nothing happens if it has ended. Default `"TERM"`. */
  readonly signal: (signal?: Signal | `SIG${Signal}`) => Effect.Effect<void, CutShort | InvalidArgument>
  /**
   * Waits for its end and returns its exit code: 0 to 255; 128 + n if signal n ended it. A command that writes more than about 1 MiB does not
   * end before `stdout` and `stderr` are read.
   */
  readonly wait: (options?: WaitOptions) => Effect.Effect<number, CutShort | ShellError | DeadlineError>
}

/** Starting commands, for a machine. */
export interface SpawnMethods {
  /** Starts a command and returns a handle for it. Default: no `timeout`. */
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

/** The shell's handle, with the errors of a machine. */
const handle = (guest: Guest, process: GuestProcess): SpawnedCommand => {
  const doing = (what: string) => `${what} ${JSON.stringify(short(process.command))}`
  /** The outputs that nobody has started to read. */
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
        once: true,
        lastSeen: Effect.sync(() =>
          unread.size === 0
            ? "it is running"
            : `it is running, but the test does not read its ${[...unread].join(" and ")}: it blocks after writing about 1 MiB`
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
  // Only a command that is not detached needs a scope.
  return Arguments.checked<SpawnMethods>(guest.name, parameters, { spawn: spawn as SpawnMethods["spawn"] })
}
