/** The shell of a scripted guest: commands meet rules, and take their time on the clock. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type {
  BytesResult,
  CollectOptions,
  CommandEvent,
  ExecuteOptions,
  GuestProcess,
  ShellService
} from "../../transport/Shell.ts"
import type { ShellError } from "../../transport/ShellError.ts"
import { CommandRejected, CommandTimeout, ShellLost } from "../../transport/ShellError.ts"
import type { Answer, MockGuest, MockMachine, Reply } from "./Mock.ts"

/** Why the shell went away. */
export interface Lost {
  readonly reason: string
}

type Answering = (command: string, options: ExecuteOptions) => Effect.Effect<Reply, ShellError>

/** vmtest's own scripts that give a guest its name; without them no machine is ready. */
const preparation = /^set \+eu\n[\s\S]*\/proc\/sys\/kernel\/hostname/

/** A guest's rules as one function; it remembers which of a rule's answers were given. */
export const answers = (guest: MockGuest): Answering => {
  const rules = (guest.commands ?? []).map(([matches, given]) => ({
    matches,
    queue: Array.isArray(given) ? ([...given] as Array<Answer>) : [given as Answer]
  }))
  return (command, options) => {
    const rule = rules.find(({ matches }) => isMatch(matches, command))
    const unmatched = preparation.test(command) ? undefined : guest.otherwise
    const answer = rule === undefined ? unmatched : rule.queue.length > 1 ? rule.queue.shift() : rule.queue[0]
    const given = typeof answer === "function" ? answer(command, options) : (answer ?? {})
    return Effect.map(Effect.isEffect(given) ? given : Effect.succeed(given), toReply)
  }
}

const isMatch = (matches: string | RegExp | ((command: string) => boolean), command: string): boolean => {
  if (typeof matches === "string") return matches.trim() === command.trim()
  return typeof matches === "function" ? matches(command) : command.search(matches) >= 0
}

const toReply = (given: string | Reply): Reply => (typeof given === "string" ? { stdout: given } : given)

interface Parts {
  readonly machine: string
  /** Closed while the guest is paused. */
  readonly running: Latch.Latch
  readonly commands: Array<string>
  readonly answer: Answering
  readonly exit: MockMachine["exit"]
  /** Resolves when the shell of this moment is lost. */
  readonly lost: Effect.Effect<Lost>
  readonly ended: Effect.Effect<boolean>
  readonly reset: (reason: string) => Effect.Effect<void>
}

const defaultTimeout = Duration.minutes(15)
const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

export const shellOf = (parts: Parts): ShellService => {
  const { answer, commands, ended, exit, lost, machine, reset, running } = parts
  const gone = (command: string, reason: string) =>
    Effect.fail(new ShellLost({ machine, command, reason, stdout: "", stderr: "", console: "" }))

  /** As a guest's own shell takes it. */
  const timeoutOf = (command: string, given: Duration.Input = defaultTimeout) => {
    const timeout = Duration.fromInput(given)
    if (Option.isSome(timeout) && Duration.isGreaterThan(timeout.value, Duration.zero)) {
      return Effect.succeed(timeout.value)
    }
    const detail = `a timeout of ${String(given)} makes no sense`
    return Effect.fail(new CommandRejected({ machine, command, reason: "InvalidTimeout", detail }))
  }

  const run = (command: string, options: ExecuteOptions = {}): Effect.Effect<Reply, ShellError> =>
    Effect.flatMap(timeoutOf(command, options.timeout), (timeout) => runFor(timeout, command, options))

  const runFor = (timeout: Duration.Duration, command: string, options: ExecuteOptions) =>
    Effect.gen(function* (): Effect.fn.Return<Reply, ShellError> {
      if (yield* ended) return yield* gone(command, "the machine ended")
      commands.push(command)
      const reply = yield* answer(command, options)
      yield* Effect.sleep(reply.delay ?? 0)
      yield* running.await
      if (reply.ends !== undefined) {
        yield* exit(reply.ends)
        return yield* gone(command, "the machine ended")
      }
      return reply
    }).pipe(
      Effect.raceFirst(Effect.flatMap(lost, ({ reason }) => gone(command, reason))),
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => Effect.fail(new CommandTimeout({ machine, command, timeout, stdout: "", stderr: "" }))
      })
    )

  const bytes = (command: string, { stream, ...options }: CollectOptions = {}) =>
    run(command, options).pipe(
      Effect.map(
        ({ exitCode = 0, stderr = "", stdout = "" }): BytesResult => ({
          exitCode,
          stdout: encoder.encode(stdout),
          stderr: encoder.encode(stderr)
        })
      ),
      Effect.tap((result) =>
        Effect.forEach(events(result), (event) =>
          event._tag === "Exit" ? Effect.void : (stream?.(event) ?? Effect.void)
        )
      )
    )

  return {
    machine,
    lanes: 10,
    execute: (command, options) =>
      Effect.map(bytes(command, options), ({ exitCode, stderr, stdout }) => ({
        exitCode,
        stdout: decoder.decode(stdout),
        stderr: decoder.decode(stderr)
      })),
    executeBytes: bytes,
    executeStream: (command, options) =>
      Stream.unwrap(Effect.map(bytes(command, options), (result) => Stream.fromIterable(events(result)))),
    spawn: (command, { timeout = Duration.infinity, ...options } = {}) =>
      Effect.flatMap(timeoutOf(command, timeout), (timeout) => spawn(bytes(command, { ...options, timeout }), command)),
    awaitIdle: Effect.void,
    lost: Effect.map(lost, ({ reason }) => reason),
    reset
  }
}

const events = ({ exitCode, stderr, stdout }: BytesResult): ReadonlyArray<CommandEvent> => [
  ...(stdout.length > 0 ? [{ _tag: "Stdout" as const, bytes: stdout }] : []),
  ...(stderr.length > 0 ? [{ _tag: "Stderr" as const, bytes: stderr }] : []),
  { _tag: "Exit", exitCode }
]

const signals = { HUP: 1, INT: 2, QUIT: 3, KILL: 9, USR1: 10, USR2: 12, TERM: 15 } as const

/** A signal that ends processes ends it; the others do nothing. Its input goes nowhere. */
const spawn = (run: Effect.Effect<BytesResult, ShellError>, command: string) =>
  Effect.gen(function* () {
    const result = yield* Deferred.make<BytesResult, ShellError>()
    const none = new Uint8Array()
    yield* Effect.forkScoped(Deferred.into(run, result), { startImmediately: true })
    const output = (stream: "stdout" | "stderr") =>
      Stream.fromEffect(Effect.map(Deferred.await(result), (done) => done[stream]))
    const process: GuestProcess = {
      command,
      stdout: output("stdout"),
      stderr: output("stderr"),
      write: () => Effect.void,
      end: Effect.void,
      signal: (signal) =>
        signal in signals
          ? Effect.asVoid(
              Deferred.succeed(result, {
                exitCode: 128 + signals[signal as keyof typeof signals],
                stdout: none,
                stderr: none
              })
            )
          : Effect.void,
      wait: Effect.map(Deferred.await(result), ({ exitCode }) => exitCode)
    }
    return process
  })
