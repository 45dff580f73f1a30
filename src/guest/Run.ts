/**
 * Running commands on a guest's shell, for the methods of a machine.
 *
 * **Example** (A method that is one command)
 *
 * ```ts
 * const kernel = (guest: Guest) => Effect.map(execute(guest, "uname -r"), ({ stdout }) => stdout.trim())
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type {
  BytesResult,
  CollectOptions,
  CommandEvent,
  CommandResult,
  ExecuteOptions,
  ShellService
} from "../transport/Shell.ts"
import { CommandTimeout, named, ShellError, ShellLost, short } from "../transport/ShellError.ts"
import { guard, guardStream } from "./Action.ts"
import { Deadlines } from "./Deadlines.ts"
import type { CommandError, Guest, Unavailable } from "./Guest.ts"
import type { Timed } from "./Timeout.ts"

const actionOf = (command: string, user: string | undefined) => ({
  name: "execute",
  doing: `running ${JSON.stringify(short(command))}`,
  command,
  attributes: { command: short(command), user }
})

/** A command's options with the timeout in force, unless it has one. */
const withTimeout = <O extends Timed<ExecuteOptions>>(options: O | undefined) =>
  Effect.map(Deadlines, ({ command }) => ({ ...options, timeout: options?.timeout ?? command }))

/** Uses the shell of a ready guest for one command, under `guard`. */
const onShell = <A, E>(
  guest: Guest,
  command: string,
  options: Timed<CollectOptions> | undefined,
  use: (shell: ShellService, options: CollectOptions) => Effect.Effect<A, E>
): Effect.Effect<A, E | Unavailable> =>
  Effect.gen(function* () {
    const shell = yield* guest.shell
    return yield* guard(guest, actionOf(command, options?.user), use(shell, yield* withTimeout(options)))
  })

/** Runs a command on the guest's shell. */
export const execute = (
  guest: Guest,
  command: string,
  options?: Timed<CollectOptions>
): Effect.Effect<CommandResult, CommandError> =>
  onShell(guest, command, options, (shell, all) => shell.execute(command, all))

/** As `execute`, in bytes. */
export const executeBytes = (
  guest: Guest,
  command: string,
  options?: Timed<CollectOptions>
): Effect.Effect<BytesResult, CommandError> =>
  onShell(guest, command, options, (shell, all) => shell.executeBytes(command, all))

/** Runs a command and gives its output while it runs, under the same rules as `guard`. */
export const executeStream = (
  guest: Guest,
  command: string,
  options?: Timed<ExecuteOptions>
): Stream.Stream<CommandEvent, CommandError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const shell = yield* guest.shell
      return guardStream(
        guest,
        actionOf(command, options?.user),
        shell.executeStream(command, yield* withTimeout(options))
      )
    })
  )

/** A command that was given no timeout cannot time out: whatever waits for it ends it. */
export const withoutTimeout = <A, E, R>(
  commands: Effect.Effect<A, E, R>
): Effect.Effect<A, Exclude<E, CommandTimeout>, R> =>
  Effect.catch(commands, (error) =>
    Predicate.isTagged(error, "CommandTimeout") ? Effect.die(error) : Effect.fail(error as Exclude<E, CommandTimeout>)
  )

const isShellError = Schema.is(ShellError)

const relabelled = (error: ShellError, command: string): ShellError => {
  switch (error._tag) {
    case "ShellLost":
      return new ShellLost({ ...error, command, stdout: "", stderr: "" })
    case "CommandTimeout":
      return new CommandTimeout({ ...error, command, stdout: "", stderr: "" })
    default:
      return named(error, command)
  }
}

/** Replaces the script and its output in the shell's errors by what the script was run for, which is what the test knows. */
export const relabel =
  (doing: string) =>
  <E>(error: E): E =>
    // The same class, with the same fields.
    isShellError(error) ? (relabelled(error, doing) as typeof error) : error
