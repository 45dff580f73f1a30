/**
 * The shell of a machine as its test has it: a command that the guest did not run, because it is rebooting, is run in its next boot.
 *
 * It tells the machine's process, so that later commands wait for that boot, too.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { ShellService } from "../../transport/Shell.ts"
import { CommandRejected, isGoingDown, rebootedReason, type ShellError, ShellLost } from "../../transport/ShellError.ts"
import type { Access } from "./access.ts"
import { ask, type MachineRef } from "./protocol.ts"

/** What the shell needs to know of its machine. */
export interface NextBootOptions {
  readonly ref: MachineRef
  readonly access: Pick<Access, "running" | "untilReady">
  readonly allowReboot: boolean
}

/** How long after the end of a boot the machine's own end may take. */
const deathGrace = "1 second"

/** Which boot of a guest it is: its number, undefined for the next one to be started, and how often it was reset since. */
export interface BootId {
  readonly number: number | undefined
  readonly resets: number
}

/** The guest's boot now. */
export const idOf = ({ access }: Pick<NextBootOptions, "access">): BootId => {
  const boot = access.running()
  return { number: boot?.number, resets: boot?.resets ?? 0 }
}

/** Waits until a guest that goes down, or has rebooted, is ready in the boot after that one; false if there will be none. */
export const untilBack = ({ access, ref }: NextBootOptions, before: BootId): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    const boot = access.running()
    if (boot === undefined || boot.number !== (before.number ?? boot.number)) return Effect.succeed(false)
    return ask(ref, "goingDown", { number: boot.number, resets: before.resets }).pipe(
      Effect.andThen(access.untilReady(boot)),
      Effect.as(true),
      Effect.catch(() => Effect.succeed(false))
    )
  })

/** Whether an error is that of a guest that reboots. */
export const isReboot = ({ ref }: NextBootOptions, error: unknown): boolean => {
  if (error instanceof CommandRejected) return error.reason === "Rebooting"
  if (!(error instanceof ShellLost)) return false
  const { life } = ref
  // The last commands of a boot may be lost before its reset.
  return error.reason === rebootedReason || ("phase" in life && (life.phase === "reset" || life.phase === "return"))
}

/** Such a shell, the same for the same shell. */
export const make = (options: NextBootOptions): ((shell: ShellService) => ShellService) => {
  const known = new WeakMap<ShellService, ShellService>()
  const { allowReboot } = options

  /** Waits for the next boot, or fails with why there will be none. */
  const next = (error: CommandRejected, before: BootId): Effect.Effect<void, ShellError> => {
    if (error.reason === "ShuttingDown" || !allowReboot) return Effect.fail(error)
    // Where no boot follows, the machine's end explains it better.
    const gone = Effect.andThen(Effect.sleep(deathGrace), Effect.fail(error))
    return Effect.flatMap(untilBack(options, before), (back) => (back ? Effect.void : gone))
  }
  const run = <A>(command: Effect.Effect<A, ShellError>): Effect.Effect<A, ShellError> =>
    Effect.suspend(() => {
      const before = idOf(options)
      return Effect.catchIf(command, isGoingDown, (error) => Effect.andThen(next(error, before), run(command)))
    })
  const read = <A>(events: Stream.Stream<A, ShellError>): Stream.Stream<A, ShellError> =>
    Stream.suspend(() => {
      const before = idOf(options)
      return Stream.catchIf(events, isGoingDown, (error) => Stream.unwrap(Effect.as(next(error, before), read(events))))
    })

  const held = (shell: ShellService): ShellService => ({
    ...shell,
    execute: (command, execute) => run(shell.execute(command, execute)),
    executeBytes: (command, execute) => run(shell.executeBytes(command, execute)),
    executeStream: (command, execute) => read(shell.executeStream(command, execute)),
    // What it says comes too late to be run again: whether the guest takes commands is asked first, where another boot may follow.
    spawn: (command, execute) =>
      allowReboot
        ? Effect.andThen(run(shell.execute(":")), shell.spawn(command, execute))
        : shell.spawn(command, execute)
  })
  return (shell) => {
    const found = known.get(shell) ?? held(shell)
    known.set(shell, found)
    return found
  }
}
