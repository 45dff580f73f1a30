/**
 * Processes: fibers with a mailbox, links, monitors and exit signals, as in Erlang.
 *
 * **Details**
 *
 * `spawn` works in any Effect. What concerns the process one is in (`self`, `receive`, `link`, `monitor`, …) needs the
 * service {@link Self}, which every process provides to its own body; {@link run} turns any Effect into a process and gives
 * its result.
 *
 * **Example** (An echo)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Process } from "vmtest/actors"
 *
 * export const program = Process.run(
 *   Effect.gen(function* () {
 *     const me = yield* Process.self
 *     const echo = yield* Process.spawnLink(
 *       Effect.flatMap(Process.receive(), (word) => Process.send(me, `heard ${word}`))
 *     )
 *     yield* Process.send(echo, "hello")
 *     return yield* Process.receive()
 *   })
 * )
 * // gives "heard hello"
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as ExitReason from "./ExitReason.ts"
import { currentSystem, resolve } from "./internal/process/current.ts"
import { ExitMessage, Message } from "./internal/process/mailbox.ts"
import {
  Down,
  demonitor as demonitorProcess,
  type Monitor,
  monitor as monitorProcess
} from "./internal/process/monitor.ts"
import type { Address, Name, Via } from "./internal/process/names.ts"
import * as Names from "./internal/process/names.ts"
import { currentFiber } from "./internal/process/park.ts"
import {
  implOf,
  link as linkProcesses,
  ProcessImpl,
  Self,
  sendExit,
  unlink as unlinkProcesses
} from "./internal/process/process.ts"
import { Receive, type Select, takeMatching } from "./internal/process/receive.ts"
import { self as currentProcess } from "./internal/process/start.ts"
import type { SystemImpl } from "./internal/process/system.ts"
import { Watcher } from "./internal/process/watcher.ts"
import type * as Pid from "./Pid.ts"

export type {
  /** A pid or a name. */
  Address,
  /** One monitor; two of the same process give two `Down` messages. */
  Monitor,
  /** A local name, or one kept by a registry of one's own. */
  Name,
  /** A name kept by a registry of one's own. */
  Via
}
export {
  /** The news, exactly once, that a monitored process ended: `{ _tag: "Down", monitor, pid, reason }`. */
  Down,
  /** An exit signal that a trapping process got as a message: `{ _tag: "Exit", from, reason }`. */
  ExitMessage,
  /** The process that runs the current fiber: `yield* Process.Self` is its pid. */
  Self
}

/** What a process's body may need from its process: itself, and its scope, closed when the process ends for whatever reason. */
export type Provided = Self | Scope.Scope

export interface SpawnOptions {
  /** Shown by observers and in messages. */
  readonly label?: string
}

/** A process that does not trap exits linked to a dead one. */
export class LinkFailed extends Data.TaggedError("LinkFailed")<{ readonly pid: Pid.Any }> {
  override get message() {
    return `cannot link to ${this.pid}: there is no such process`
  }
}

/** No matching message came in time. */
export class ReceiveTimeout extends Data.TaggedError("ReceiveTimeout")<{ readonly waited: Duration.Duration }> {
  override get message() {
    return `no message within ${Duration.format(this.waited)}`
  }
}

const newProcess = (
  body: Effect.Effect<unknown, unknown>,
  system: SystemImpl,
  context: Context.Context<never>,
  parent: ProcessImpl | undefined,
  options: SpawnOptions | undefined
): ProcessImpl => new ProcessImpl({ system, context, parent, kind: "process", label: options?.label, body: () => body })

/** Starts a process that nobody is linked to. It begins at its turn, not in the caller's stack. */
export const spawn = <A, E, R>(
  body: Effect.Effect<A, E, R>,
  options?: SpawnOptions
): Effect.Effect<Pid.Pid, never, Exclude<R, Provided>> =>
  Effect.contextWith((context: Context.Context<Exclude<R, Provided>>) =>
    Effect.sync(() => {
      const process = newProcess(
        body as Effect.Effect<A, E>,
        currentSystem(currentFiber()),
        context,
        undefined,
        options
      )
      process.awaken()
      return process
    })
  )

/** Starts a process linked to this one: when either ends abnormally, the other does too, or finds a message if it traps exits. */
export const spawnLink = <A, E, R>(
  body: Effect.Effect<A, E, R>,
  options?: SpawnOptions
): Effect.Effect<Pid.Pid, never, Exclude<R, Provided> | Self> =>
  Effect.contextWith((context: Context.Context<Exclude<R, Provided> | Self>) =>
    Effect.sync(() => {
      const parent = currentProcess()
      const process = newProcess(body as Effect.Effect<A, E>, parent.system, context, parent, options)
      linkProcesses(parent, process)
      process.awaken()
      return process
    })
  )

/** Starts a process and monitors it. */
export const spawnMonitor = <A, E, R>(
  body: Effect.Effect<A, E, R>,
  options?: SpawnOptions
): Effect.Effect<readonly [Pid.Pid, Monitor], never, Exclude<R, Provided> | Self> =>
  Effect.flatMap(spawn(body, options), (pid) => Effect.map(monitor(pid), (ref) => [pid, ref] as const))

/**
 * Runs an Effect as a process and gives its result.
 *
 * The process ends with the Effect. If it is ended by an exit signal instead, so is this fiber's Effect: it dies of
 * `ExitReason.ExitDefect`. Interrupting this fiber kills the process and waits for its end.
 */
export const run = <A, E, R>(
  body: Effect.Effect<A, E, R>,
  options?: SpawnOptions
): Effect.Effect<A, E, Exclude<R, Provided>> =>
  Effect.contextWith((context: Context.Context<Exclude<R, Provided>>) =>
    Effect.callback<A, E>((resume) => {
      let result: Exit.Exit<A, E> | undefined
      const noted = Effect.onExit(body as Effect.Effect<A, E>, (exit) =>
        Effect.sync(() => {
          result = exit
        })
      )
      const process = newProcess(noted, currentSystem(currentFiber()), context, undefined, options)
      const watcher = new Ended((reason) => {
        const ownEnd =
          result?._tag === "Success" ? reason._tag === "Normal" : result !== undefined && reason._tag === "Crashed"
        resume(ownEnd && result !== undefined ? result : Exit.die(new ExitReason.ExitDefect(reason)))
      })
      process.watch(watcher)
      process.awaken()
      return Effect.andThen(
        Effect.sync(() => sendExit(undefined, process, ExitReason.kill, false)),
        awaitExit(process)
      )
    })
  )

class Ended extends Watcher {
  private readonly ended: (reason: ExitReason.ExitReason) => void
  constructor(ended: (reason: ExitReason.ExitReason) => void) {
    super()
    this.ended = ended
  }
  override get takesFailure() {
    return true
  }
  fire() {}
  down(reason: ExitReason.ExitReason) {
    this.ended(reason)
  }
}

/** Waits for the end of a process, from any fiber, and gives its reason; `NoProcess` when it was gone before. */
export const awaitExit = (pid: Pid.Any): Effect.Effect<ExitReason.ExitReason> =>
  Effect.callback((resume) => {
    const process = implOf(pid)
    if (process.reason !== undefined) return resume(Effect.succeed(ExitReason.noProcess))
    const watcher = new Ended((reason) => resume(Effect.succeed(reason)))
    process.watch(watcher)
    return Effect.sync(() => watcher.unwatch())
  })

/** The pid of this process. */
export const self: Effect.Effect<Pid.Any, never, Self> = Effect.map(Self, (pid) => pid)

/** Puts a message into a mailbox. Always succeeds, also when there is no such process. */
export const send = (address: Address, message: unknown): Effect.Effect<void> =>
  Effect.sync(() => resolve(address, currentFiber())?.deliver(new Message(message)))

/**
 * Puts a message into a process's mailbox without an Effect: for a handler that has nothing else to do, which then needs no
 * fiber to run in.
 */
export const sendUnsafe = (pid: Pid.Any, message: unknown): void => implOf(pid).deliver(new Message(message))

/** Sends an exit signal to another process, or, with one argument, ends this one with a reason, like Erlang's `exit/1`. */
export const exit: {
  (pid: Pid.Any, reason: ExitReason.ExitReason): Effect.Effect<void>
  (reason: ExitReason.ExitReason): Effect.Effect<never>
} = ((...args: [Pid.Any, ExitReason.ExitReason] | [ExitReason.ExitReason]): Effect.Effect<void> => {
  if (args.length === 1) return Exit.die(new ExitReason.ExitDefect(args[0]))
  const [pid, reason] = args
  return Effect.withFiber((fiber) => {
    const from = Context.getOrUndefined(fiber.context, Self)
    const sender = from === undefined ? undefined : implOf(from)
    const target = implOf(pid)
    sendExit(sender, target, reason, false)
    // A process that ends itself does not get to its next step.
    return sender === target && target.pending !== undefined ? Effect.never : Exit.void
  })
}) as never

/**
 * Makes exit signals arrive as messages (`true`) instead of ending this process. The answer is the flag's old value.
 * `Kill` from another process cannot be trapped.
 */
export const trapExit = (flag: boolean): Effect.Effect<boolean, never, Self> =>
  Effect.map(Self, (pid) => {
    const process = implOf(pid)
    const old = process.trapExit
    process.trapExit = flag
    return old
  })

/** Links this process with another. A trapping process finds the `NoProcess` exit of a dead one in its mailbox. */
export const link = (pid: Pid.Any): Effect.Effect<void, LinkFailed, Self> =>
  Effect.flatMap(Self, (me) => {
    const process = implOf(me)
    if (linkProcesses(process, implOf(pid))) return Exit.void
    if (!process.trapExit) return Exit.fail(new LinkFailed({ pid }))
    process.deliver(new Message(new ExitMessage(pid, ExitReason.noProcess)))
    return Exit.void
  })

/** Removes a link. An exit message that has already arrived stays in the mailbox. */
export const unlink = (pid: Pid.Any): Effect.Effect<void, never, Self> =>
  Effect.map(Self, (me) => unlinkProcesses(implOf(me), implOf(pid)))

/** Asks for one {@link Down} message when the process ends; at once, with `NoProcess`, if it is dead already. */
export const monitor = (pid: Pid.Any): Effect.Effect<Monitor, never, Self> =>
  Effect.map(Self, (me) => monitorProcess(implOf(me), implOf(pid)))

/** Takes a monitor back. With `flush`, a `Down` that has already arrived is removed as well. */
export const demonitor = (ref: Monitor, options?: { readonly flush?: boolean }): Effect.Effect<void, never, Self> =>
  Effect.map(Self, (me) => {
    const owner = implOf(me)
    demonitorProcess(owner, ref)
    if (options?.flush !== true) return
    takeMatching(owner, (message) => (message instanceof Down && message.monitor === ref ? message : undefined))
  })

/** Whether the process still runs and has not been told to end. */
export const isAlive = (pid: Pid.Any): Effect.Effect<boolean> => Effect.sync(() => implOf(pid).alive)

/** Who has a name. */
export const whereis = (name: Name): Effect.Effect<Pid.Any | undefined> =>
  Effect.sync(() => Names.whereis(currentSystem(currentFiber()), name))

/** A name was wanted for a process while another has it, or for a process that is dead or has one already. */
export class NameTaken extends Data.TaggedError("NameTaken")<{ readonly name: string }> {
  override get message() {
    return `the name "${this.name}" cannot be given: it is taken, or the process is dead or has a name`
  }
}

/** Gives a process a local name, until it ends. */
export const register = (name: string, pid: Pid.Any): Effect.Effect<void, NameTaken> =>
  Effect.suspend(() => {
    const process = implOf(pid)
    const { names } = process.system
    if (names.has(name) || process.reason !== undefined || process.name !== undefined) {
      return Exit.fail(new NameTaken({ name }))
    }
    process.name = name
    names.set(name, process)
    return Exit.void
  })

/** The process that started this one with a link, its starter, and so on up: the nearest first. */
export const ancestors = (pid: Pid.Any): ReadonlyArray<Pid.Any> => {
  const found: Array<Pid.Any> = []
  for (let parent = implOf(pid).parent; parent !== undefined; parent = parent.parent) found.push(parent)
  return found
}

/**
 * Takes the first message for which `select` gives something other than `undefined`, and waits for one if there is none;
 * the others stay in the mailbox in their order. Without `select`, the first message of all.
 */
export const receive: {
  (): Effect.Effect<unknown, never, Self>
  <A>(select: (message: unknown) => A | undefined): Effect.Effect<A, never, Self>
} = <A>(select?: Select<A>) => new Receive(select)

/** Like {@link receive}, but gives up after a while. A duration of zero only looks at what is there. */
export const receiveWithin = <A>(
  timeout: Duration.Input,
  select: (message: unknown) => A | undefined
): Effect.Effect<A, ReceiveTimeout, Self> =>
  Effect.suspend(() => {
    const waited = Duration.fromInputUnsafe(timeout)
    return new Receive(select, {
      millis: Duration.toMillis(waited),
      failure: Exit.fail(new ReceiveTimeout({ waited }))
    })
  })

/** Whether a message is an exit signal that this process trapped. */
export const isExit = (message: unknown): message is ExitMessage => message instanceof ExitMessage

/** Whether a message is the news of a monitored process's end. */
export const isDown = (message: unknown): message is Down => message instanceof Down
