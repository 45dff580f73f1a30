/** What the nouns of a machine (units, files, ports, …) are built on: one running guest, and how to wait on it. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { BackendService, Console, Hypervisor } from "../backends/Backend.ts"
import type {
  BytesResult,
  CollectOptions,
  CommandEvent,
  CommandResult,
  ExecuteOptions,
  ShellService
} from "../transport/Shell.ts"
import { CommandTimeout, named, ShellError, ShellLost, short } from "../transport/ShellError.ts"
import { Deadlines } from "./Deadlines.ts"
import { disconnect } from "./Disconnect.ts"
import {
  type BootFailed,
  type InvalidArgument,
  MachineDied,
  type MachineNotRunning,
  WaitTimeout
} from "./MachineError.ts"
import type { MachineEvent } from "./MachineEvent.ts"
import { explainPause, pausedMessage } from "./Paused.ts"
import type { PollingConditionFailed, PollingConditions } from "./PollingCondition.ts"
import { type Timed, timeoutOf } from "./Timeout.ts"

export { short } from "../transport/ShellError.ts"

/** What ends whatever is under way on a machine: it died, did not come up, or a polling condition broke. */
export type CutShort = MachineDied | BootFailed | PollingConditionFailed

/** The machine cannot be asked: it is off, did not come up, or died, or a polling condition broke while it was waited for. */
export type Unavailable = CutShort | MachineNotRunning

/** What any command on a machine can fail with, apart from what it was run for. */
export type CommandError = Unavailable | ShellError

/** What a command can fail with that may take for ever. */
export type UntimedError = Exclude<CommandError, CommandTimeout>

/** What any wait can fail with, apart from how its machine is asked: `WaitTimeout` at its deadline, `InvalidArgument` when that is none. */
export type DeadlineError = WaitTimeout | InvalidArgument

/** What any wait that asks the guest can fail with. */
export type WaitError = UntimedError | DeadlineError

export interface WaitOptions {
  /** How long to wait. Default 5 minutes (`Deadlines`), three times that under emulation. */
  readonly timeout?: Duration.Input
}

export interface Guest {
  readonly name: string
  readonly backend: BackendService
  readonly emit: (event: MachineEvent) => Effect.Effect<void>
  /**
   * The shell of a ready machine, under the polling conditions; starts one that was never started, and waits for one that boots. A boot has
   * a deadline of its own (`Deadlines`), and so has a reboot.
   */
  readonly shell: Effect.Effect<ShellService, Unavailable>
  /** The hypervisor of a running machine, booting or not; starts one that was never started. */
  readonly hypervisor: Effect.Effect<Hypervisor, Unavailable>
  /** The console of the machine as it runs, or as it ran last; starts one that was never started. */
  readonly console: Effect.Effect<Console, Unavailable>
  /** To be told when a command found the shell gone. */
  readonly shellLost: Effect.Effect<void>
  /** Fails when the machine ends unasked. */
  readonly died: Effect.Effect<never, MachineDied | BootFailed>
  readonly conditions: PollingConditions
  /** Whether the test has paused it. */
  readonly isPaused: Effect.Effect<boolean>
  readonly consoleTail: Effect.Effect<string>
  /** The folder for pictures and copied files; there from the first use on. */
  readonly output: string
  readonly fs: FileSystem.FileSystem
  /** As long as the test: for what outlives the scope it was started in. */
  readonly scope: Scope.Scope
}

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isFailure(exit)) return Cause.prettyErrors(exit.cause)[0]?.message.split("\n")[0] ?? "interrupted"
  const value = exit.value
  return Predicate.hasProperty(value, "exitCode") ? `exit code ${value.exitCode}` : ""
}

/** Tells that an action starts; gives what tells how it ended. */
const tell = Effect.fnUntraced(function* (guest: Guest, action: string) {
  const started = yield* Clock.currentTimeMillis
  yield* guest.emit({ _tag: "ActionStarted", machine: guest.name, action })
  return (exit: Exit.Exit<unknown, unknown>) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      guest.emit({
        _tag: "ActionEnded",
        machine: guest.name,
        action,
        millis: now - started,
        outcome: outcomeOf(exit)
      })
    )
})

/** Tells when an action starts and how it ends. */
export const action = <A, E, R>(guest: Guest, action: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(tell(guest, action), (ended) => Effect.onExit(effect, ended))

/** Lets an effect lose against the machine's death; `doing` completes "while the test was …". */
export const raceDeath = <A, E, R>(
  guest: Guest,
  doing: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | MachineDied | BootFailed, R> =>
  Effect.raceFirst(
    // When a hypervisor dies its sockets break first: what broke them is the better news, if it comes at once.
    Effect.catch(explainPause(guest.isPaused, disconnect(effect)), (error) =>
      isLoss(error)
        ? guest.shellLost.pipe(Effect.andThen(Effect.sleep("500 millis")), Effect.andThen(Effect.fail(error)))
        : Effect.fail(error)
    ),
    Effect.mapError(guest.died, (error) =>
      error._tag === "MachineDied" ? new MachineDied({ ...error, doing }) : error
    )
  )

/** Lets an effect lose against the machine's death and against the test's polling conditions, and tells of it. */
export const guard = <A, E, R>(
  guest: Guest,
  doing: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | CutShort, R> => action(guest, doing, guest.conditions.guard(raceDeath(guest, doing, effect)))

/** Lets a stream lose against the machine's death and against the test's polling conditions. */
export const raceDeathStream = <A, E>(
  guest: Guest,
  doing: string,
  stream: Stream.Stream<A, E>
): Stream.Stream<A, E | CutShort> =>
  stream.pipe(
    // Of a hypervisor that died, its sockets are heard first.
    Stream.catch((error) => Stream.fromEffect(raceDeath(guest, doing, Effect.fail(error)))),
    Stream.interruptWhen(guest.conditions.guard(raceDeath(guest, doing, Effect.never)))
  )

const losses = new Set(["ShellLost", "TransportError", "ShellNotReady"])
/** Whether this may be the first that is heard of a machine's end. What QEMU answers, it says alive; its console just closes. */
const isLoss = (error: unknown): boolean =>
  Predicate.hasProperty(error, "_tag") &&
  (losses.has(String(error._tag)) || (Predicate.hasProperty(error, "class") && error.class === "ConsoleClosed"))

/** Uses the shell of a ready guest for one command, under `guard`. */
const onShell = <A, E>(
  guest: Guest,
  command: string,
  options: Timed<CollectOptions> | undefined,
  use: (shell: ShellService, options: CollectOptions) => Effect.Effect<A, E>
): Effect.Effect<A, E | Unavailable> =>
  Effect.gen(function* () {
    const shell = yield* guest.shell
    return yield* guard(guest, running(command), use(shell, yield* withTimeout(options)))
  })

const running = (command: string): string => `running ${JSON.stringify(short(command))}`

/** A command's options with the timeout in force, unless it has one. */
const withTimeout = <O extends Timed<ExecuteOptions>>(options: O | undefined) =>
  Effect.map(Deadlines, ({ command }) => ({ ...options, timeout: options?.timeout ?? command }))

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

/** Runs a command and gives what it says while it says it, under the same rules as `guard`. */
export const executeStream = (
  guest: Guest,
  command: string,
  options?: Timed<ExecuteOptions>
): Stream.Stream<CommandEvent, CommandError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const shell = yield* guest.shell
      const ended = yield* tell(guest, running(command))
      let last: CommandEvent | undefined
      const events = shell.executeStream(command, yield* withTimeout(options)).pipe(
        Stream.tap((event) =>
          Effect.sync(() => {
            last = event
          })
        )
      )
      return raceDeathStream(guest, running(command), events).pipe(
        Stream.onExit((exit) => ended(Exit.map(exit, () => last)))
      )
    })
  )

interface Wait<A, E> {
  /** Completes "waited 5s for …". */
  readonly awaited: string
  readonly options: WaitOptions | undefined
  /** Answers when it holds. */
  readonly until: Effect.Effect<A, E>
  /** Asked at the deadline, for at most five seconds: how things stand. */
  readonly lastSeen: Effect.Effect<string, unknown>
}

/** Waits on the guest, raced against its death, the polling conditions and the deadline. */
export const wait = <A, E>(
  guest: Guest,
  { awaited, lastSeen, options, until }: Wait<A, E>
): Effect.Effect<A, E | CutShort | DeadlineError> =>
  Effect.gen(function* () {
    const timeout = yield* timeoutOf(guest, options)
    const started = yield* Clock.currentTimeMillis
    const timedOut = Effect.gen(function* () {
      const waited = Duration.millis((yield* Clock.currentTimeMillis) - started)
      const asked = disconnect(lastSeen).pipe(
        Effect.timeoutOrElse({
          duration: "5 seconds",
          orElse: () => Effect.succeed("the guest does not answer within 5 seconds, asked how things stand")
        }),
        Effect.catch((error) => Effect.succeed(String(error)))
      )
      const seen = (yield* guest.isPaused) ? pausedMessage : yield* asked
      const console = yield* guest.consoleTail
      return yield* new WaitTimeout({ machine: guest.name, awaited, waited, lastSeen: seen, console })
    })
    return yield* guard(
      guest,
      `waiting for ${awaited}`,
      Effect.timeoutOrElse(disconnect(until), { duration: timeout, orElse: () => timedOut })
    )
  })

/** Asks the guest again and again, until its shell is lost: between two questions nothing is under way that would hear of it. */
export const asking = <A, E>(
  guest: Guest,
  command: string,
  ask: (shell: ShellService) => Effect.Effect<A, E>
): Effect.Effect<A, E | ShellLost | Unavailable> =>
  Effect.flatMap(guest.shell, (shell) => {
    const lost = Effect.gen(function* () {
      const reason = yield* shell.lost
      const console = yield* guest.consoleTail
      return yield* new ShellLost({ machine: guest.name, command, reason, stdout: "", stderr: "", console })
    })
    return Effect.raceFirst(disconnect(ask(shell)), lost)
  })

/** What is run for root without a time of its own is never late: it is ended by what waits for it. */
export const neverLate = <A, E, R>(commands: Effect.Effect<A, E, R>): Effect.Effect<A, Exclude<E, CommandTimeout>, R> =>
  Effect.catch(commands, (error) =>
    Predicate.isTagged(error, "CommandTimeout") ? Effect.die(error) : Effect.fail(error as Exclude<E, CommandTimeout>)
  )

const isShellError = Schema.is(ShellError)

const inOtherWords = (error: ShellError, command: string): ShellError => {
  switch (error._tag) {
    case "ShellLost":
      return new ShellLost({ ...error, command, stdout: "", stderr: "" })
    case "CommandTimeout":
      return new CommandTimeout({ ...error, command, stdout: "", stderr: "" })
    default:
      return named(error, command)
  }
}

/** The failures of a shell, told of what its command was run for: the script and what it printed say nothing to who asked for that. */
export const relabel =
  (doing: string) =>
  <E>(error: E): E =>
    // The same class, of the same fields.
    isShellError(error) ? (inOtherWords(error, doing) as typeof error) : error

/** Waits that stand in a guest leave it this many commands at once, which may be what ends them. */
const keptForCommands = 2

const places = new WeakMap<ShellService, Semaphore.Semaphore>()
const placesIn = (shell: ShellService): Semaphore.Semaphore => {
  const found = places.get(shell) ?? Semaphore.makeUnsafe(Math.max(1, shell.lanes - keptForCommands))
  places.set(shell, found)
  return found
}

/** Waits with one command that loops in the guest and ends when the condition holds. */
export const waitInGuest = (
  guest: Guest,
  wanted: {
    readonly awaited: string
    readonly options: WaitOptions | undefined
    readonly loop: string
    readonly look: string
  }
): Effect.Effect<CommandResult, WaitError> => {
  let queues = false
  const command = `waiting for ${wanted.awaited}`
  const stand = (shell: ShellService) => {
    queues = true
    return placesIn(shell).withPermits(1)(
      Effect.suspend(() => {
        queues = false
        return shell.execute(wanted.loop, { timeout: Duration.infinity })
      })
    )
  }
  return wait(guest, {
    awaited: wanted.awaited,
    options: wanted.options,
    until: Effect.mapError(neverLate(asking(guest, command, stand)), relabel(command)),
    lastSeen: Effect.map(
      Effect.flatMap(guest.shell, (shell) => shell.execute(wanted.look, { timeout: "5 seconds" })),
      ({ stderr, stdout }) =>
        (queues ? "so many waits stand in the guest that this one has not begun\n" : "") + stdout + stderr
    )
  })
}
