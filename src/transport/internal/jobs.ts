/**
 * Commands on their way to a lane: what is sent for one, what its errors tell, and how it begins.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { panicIn } from "../../host/Evidence.ts"
import type { BytesResult, ExecuteOptions } from "../Shell.ts"
import { CommandRejected, CommandTimeout, named, type ShellError, ShellLost, ShellNotReady } from "../ShellError.ts"
import type { Job, LaneEnd } from "./lane.ts"
import type { Lanes } from "./lanes.ts"
import { nonce } from "./nonce.ts"
import * as Request from "./request.ts"
import * as Run from "./run.ts"
import type { Said } from "./said.ts"

/** How long a guest may take to say how it changes users, where the command itself may take longer. */
const longestProbe = Duration.minutes(1)

/** What the commands of a machine need. */
export interface CommandsOptions {
  readonly machine: string
  readonly lanes: Lanes
  readonly consoleTail: Effect.Effect<string>
}

/** What is done the same way for every command of a machine. */
export interface Jobs {
  readonly machine: string
  readonly lanes: Lanes
  /** Builds a request, or says what is wrong with it. `open` asks for an input that is written later. */
  readonly prepare: (
    command: string,
    execute: ExecuteOptions,
    open: boolean
  ) => Effect.Effect<Request.Request, ShellError>
  /** A job of a request, and the errors that can come of it. `said` is what errors tell of its output. */
  readonly job: (
    request: Request.Request,
    token: string,
    said: Said,
    sink: Pick<Job, "stdout" | "stderr" | "ended">
  ) => Job
  /** The error of a command whose time was up. */
  readonly timedOut: (request: Request.Request, said: Said) => Effect.Effect<CommandTimeout>
  /** Takes a lane and starts the command on it. */
  readonly begin: (
    request: Request.Request,
    said: Said,
    makeJob: (lane: LaneEnd) => Job,
    input: Stream.Stream<Uint8Array> | undefined
  ) => Effect.Effect<Run.Running, ShellError>
}

/** Runs a short command to its end; `onStart` is called when it has a lane. */
export type Probe = (
  command: string,
  timeout: Duration.Duration,
  onStart: () => void
) => Effect.Effect<BytesResult, ShellError>

/** The program with which the guest changes users; it is asked until it has answered. */
const makeChangeUser = (probe: Probe) => {
  let program: Request.ChangeUser["program"] | undefined
  return Effect.fnUntraced(function* (
    command: string,
    timeout: Duration.Duration
  ): Effect.fn.Return<Request.ChangeUser, ShellError> {
    if (program !== undefined) return { program, waited: Duration.zero, ran: Duration.zero }
    const clock = yield* Clock.Clock
    const begun = clock.currentTimeMillisUnsafe()
    let started = begun
    const change = "setpriv --reuid root --regid root --init-groups -- true"
    const { exitCode } = yield* probe(change, Duration.min(timeout, longestProbe), () => {
      started = clock.currentTimeMillisUnsafe()
    }).pipe(
      // It failed for the sake of the command.
      Effect.mapError((error) => named(error, command))
    )
    program = exitCode === 0 ? "setpriv" : "su"
    const ran = clock.currentTimeMillisUnsafe() - started
    return { program, waited: Duration.millis(started - begun), ran: Duration.millis(ran) }
  })
}

/** Makes the jobs of a machine. */
export const make = Effect.fnUntraced(function* (
  { consoleTail, lanes, machine }: CommandsOptions,
  probe: Probe
): Effect.fn.Return<Jobs, never, Scope.Scope> {
  let closed = false
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
    })
  )
  const changeUser = makeChangeUser(probe)

  const prepare = Effect.fnUntraced(function* (command: string, execute: ExecuteOptions, open: boolean) {
    if (closed) {
      return yield* new CommandRejected({ machine, command, reason: "Closed", detail: "the shell is closed" })
    }
    const fault = yield* nonce
    return yield* Request.make({
      machine,
      guest: lanes.guest(),
      command,
      execute,
      fault,
      open,
      changeUser: (timeout) => changeUser(command, timeout)
    })
  })

  const lost = ({ command }: Request.Request, reason: string, said: Said) =>
    Effect.map(consoleTail, (console) => {
      const panic = panicIn(console)
      // A kernel that panicked and halted just does not answer.
      const why = panic === undefined ? reason : `its kernel panicked: ${panic}`
      return new ShellLost({ machine, command, reason: why, ...said.text(), console })
    })

  const timedOut = ({ asked, command }: Request.Request, said: Said) =>
    Effect.sync(() => new CommandTimeout({ machine, command, timeout: asked, ...said.text() }))

  const job = (
    request: Request.Request,
    token: string,
    said: Said,
    sink: Pick<Job, "stdout" | "stderr" | "ended">
  ): Job => {
    return {
      nonce: token,
      request,
      ...sink,
      exit: Deferred.makeUnsafe<number, ShellError>(),
      done: Deferred.makeUnsafe<number, ShellError>(),
      expired: false,
      lost: (reason) => lost(request, reason, said)
    }
  }

  const begin = (
    request: Request.Request,
    said: Said,
    makeJob: (lane: LaneEnd) => Job,
    input: Stream.Stream<Uint8Array> | undefined
  ): Effect.Effect<Run.Running, ShellError> =>
    Effect.catch(Run.start(lanes, request, makeJob, input), (error): Effect.Effect<never, ShellError> => {
      const { command, patience } = request
      const rejected = (reason: CommandRejected["reason"], detail: string) =>
        Effect.fail(new CommandRejected({ machine, command, reason, detail }))
      if (closed) return rejected("Closed", "the shell was closed")
      switch (error._tag) {
        case "ShellNotReady":
          return Effect.fail(new ShellNotReady({ ...error, command }))
        case "SessionEnded":
          return Effect.flatMap(lost(request, error.reason, said), Effect.fail)
        case "NoLane":
          return rejected("Busy", `all ${error.most} command slots were busy for ${Duration.format(patience)}`)
      }
    })

  return { machine, lanes, prepare, job, timedOut, begin }
})

/** What goes into a command's input, where that is known when it starts. */
export const source = (request: Request.Request): Stream.Stream<Uint8Array> | undefined => {
  const { input } = request
  if (input.mode !== "s" || input.bytes === undefined) return undefined
  return input.bytes instanceof Uint8Array ? Stream.succeed(input.bytes) : input.bytes
}
