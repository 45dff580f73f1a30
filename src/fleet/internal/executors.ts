/** The processes that run a worker's jobs: started ahead, kept from job to job of one run, ended with the worker. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as HostProcess from "../../host/HostProcess.ts"
import type { Answer, Order } from "./executorProtocol.ts"

/** How to start a process that runs jobs. */
export interface Command {
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
}

/** A process that runs one job at a time. */
export interface Executor {
  readonly pid: number
  readonly order: (order: Order) => Effect.Effect<void>
  /** What it answers, and what scripts print; ends with `Gone`. */
  readonly answers: Queue.Queue<Said>
  /** Open once the last answer about a job is there; closed by who orders the next one. */
  readonly ended: Latch.Latch
  /** Ends it with everything that it has started. */
  readonly end: Effect.Effect<void>
}

/** What comes from the process. */
export type Said = Answer | Printed | Gone

/** What a script printed. */
export interface Printed {
  readonly _tag: "Printed"
  readonly stream: "stdout" | "stderr"
  readonly text: string
}

/** The process has ended. */
export interface Gone {
  readonly _tag: "Gone"
  readonly how: string
}

/** How long a process has to end its machines. */
const grace = "20 seconds"

/** Starts a process; it is ready when it says so. */
export const start: (options: Command) => Effect.Effect<Executor, HostProcess.HostProcessError> = Effect.fnUntraced(
  function* (options: Command) {
    const scope = yield* Scope.make()
    const started = yield* HostProcess.spawn({
      ...options,
      name: "the process that runs tests",
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      channel: true,
      grace
    }).pipe(
      Scope.provide(scope),
      Effect.onError(() => Scope.close(scope, Exit.void))
    )
    const answers = yield* Queue.unbounded<Said>()
    const ended = Latch.makeUnsafe(false)
    const ready = yield* Deferred.make<void>()
    const { channel, stderr, stdout } = started.streams
    yield* Effect.sync(() => {
      let rest = ""
      channel?.setEncoding("utf8")
      channel?.on("data", (text: string) => {
        const lines = (rest + text).split("\n")
        rest = lines.pop() ?? ""
        for (const line of lines) {
          const answer: Answer = JSON.parse(line)
          if (answer._tag === "Ready") {
            Deferred.doneUnsafe(ready, Effect.void)
            continue
          }
          Queue.offerUnsafe(answers, answer)
          if (answer._tag !== "Told") ended.openUnsafe()
        }
      })
      for (const [name, stream] of [
        ["stdout", stdout],
        ["stderr", stderr]
      ] as const) {
        stream?.setEncoding("utf8")
        stream?.on("data", (text: string) => Queue.offerUnsafe(answers, { _tag: "Printed", stream: name, text }))
      }
    })
    yield* started.exited.pipe(
      Effect.flatMap((status) => {
        Deferred.doneUnsafe(ready, Effect.void)
        Queue.offerUnsafe(answers, { _tag: "Gone", how: HostProcess.describeStatus(status) })
        ended.openUnsafe()
        return Effect.void
      }),
      Effect.forkIn(scope)
    )
    yield* Effect.onInterrupt(Deferred.await(ready), () => Scope.close(scope, Exit.void))
    return {
      pid: started.pid,
      order: (order) => Effect.sync(() => void channel?.write(`${JSON.stringify(order)}\n`)),
      answers,
      ended,
      end: Scope.close(scope, Exit.void)
    }
  }
)

/** The process of one slot. */
export interface Seat {
  /** A process that has run nothing but jobs of this run. */
  readonly use: (run: string) => Effect.Effect<Executor, HostProcess.HostProcessError>
  /** The process is not to be used again. */
  readonly discard: Effect.Effect<void>
  /** Has a process ready that has run nothing. */
  readonly refresh: Effect.Effect<void, HostProcess.HostProcessError>
}

/** A slot's process, which ends with the scope. */
export const seat = (command: Command): Effect.Effect<Seat, never, Scope.Scope> =>
  Effect.gen(function* () {
    let current: { readonly executor: Executor; run: string | undefined } | undefined
    const discard = Effect.suspend(() => {
      const last = current
      current = undefined
      return last === undefined ? Effect.void : last.executor.end
    })
    yield* Effect.addFinalizer(() => discard)
    const fresh = Effect.map(Effect.uninterruptible(start(command)), (executor) => {
      current = { executor, run: undefined }
      return current
    })
    return {
      discard,
      refresh: Effect.suspend(() =>
        current !== undefined && current.run === undefined ? Effect.void : Effect.andThen(discard, Effect.asVoid(fresh))
      ),
      use: (run) =>
        Effect.gen(function* () {
          if (current?.run !== undefined && current.run !== run) yield* discard
          const mine = current ?? (yield* fresh)
          mine.run = run
          return mine.executor
        })
    }
  })
