/**
 * What a shell offers, over the lanes of a lanes: commands that are collected, streamed, or held by a handle.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type {
  BytesResult,
  CollectOptions,
  CommandEvent,
  ExecuteOptions,
  GuestProcess,
  ShellService,
  Signal
} from "../Shell.ts"
import { CommandRejected, CommandTimeout, named, type ShellError, ShellLost, ShellNotReady } from "../ShellError.ts"
import { Flow } from "./flow.ts"
import type { Job, LaneEnd } from "./lane.ts"
import type { Lanes } from "./lanes.ts"
import { nonce } from "./nonce.ts"
import * as Request from "./request.ts"
import * as Run from "./run.ts"
import { Said } from "./said.ts"

/** The most that a collected command may say: strings of V8 end at 512 MiB. */
const mostCollected = 256 * 1024 * 1024

/** What the error about a command that said too much tells of each stream: the last of it, so much. */
const mostTold = 64 * 1024

/** How long a guest may take to say how it changes users, where the command itself may take longer. */
const longestProbe = Duration.minutes(1)

/** How often, and how long, a signal is sent to a command that the guest has not started yet. */
const retrySignal = Schedule.upTo(Schedule.spaced("50 millis"), { duration: "10 seconds" })

/** Builds the commands of a machine. */
export const make = Effect.fnUntraced(function* (options: {
  readonly machine: string
  readonly lanes: Lanes
  readonly consoleTail: Effect.Effect<string>
}): Effect.fn.Return<ShellService, never, Scope.Scope> {
  const { consoleTail, machine, lanes } = options
  let closed = false
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
    })
  )

  /** The program with which the guest changes users; it is asked until it has answered. */
  let program: Request.ChangeUser["program"] | undefined
  const changeUser = Effect.fnUntraced(function* (
    command: string,
    timeout: Duration.Duration
  ): Effect.fn.Return<Request.ChangeUser, ShellError> {
    if (program !== undefined) return { program, waited: Duration.zero, ran: Duration.zero }
    const clock = yield* Clock.Clock
    const begun = clock.currentTimeMillisUnsafe()
    let started = begun
    const probe = "setpriv --reuid root --regid root --init-groups -- true"
    const { exitCode } = yield* collect(probe, { timeout: Duration.min(timeout, longestProbe) }, 1024 * 1024, () => {
      started = clock.currentTimeMillisUnsafe()
    }).pipe(
      // It failed for the sake of the command.
      Effect.mapError((error) => named(error, command))
    )
    program = exitCode === 0 ? "setpriv" : "su"
    const ran = clock.currentTimeMillisUnsafe() - started
    return { program, waited: Duration.millis(started - begun), ran: Duration.millis(ran) }
  })

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

  /** A job of a request, and the errors that can come of it. `said` is what errors tell of its output. */
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

  const lost = ({ command }: Request.Request, reason: string, said: Said) =>
    Effect.map(consoleTail, (console) => new ShellLost({ machine, command, reason, ...said.text(), console }))

  const timedOut = ({ asked, command }: Request.Request, said: Said) =>
    Effect.sync(() => new CommandTimeout({ machine, command, timeout: asked, ...said.text() }))

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

  const source = (request: Request.Request): Stream.Stream<Uint8Array> | undefined => {
    const { input } = request
    if (input.mode !== "s" || input.bytes === undefined) return undefined
    return input.bytes instanceof Uint8Array ? Stream.succeed(input.bytes) : input.bytes
  }

  const collect = Effect.fnUntraced(function* (
    command: string,
    execute: ExecuteOptions,
    most: number,
    onStart: () => void = () => {}
  ): Effect.fn.Return<BytesResult, ShellError> {
    const request = yield* prepare(command, execute, false)
    const token = yield* nonce
    const said = new Said(most)
    const tooMuch = Deferred.makeUnsafe<never, CommandRejected>()
    const take = (stream: "stdout" | "stderr") => (bytes: Buffer) => {
      if (said.add(stream, bytes)) return
      Deferred.doneUnsafe(tooMuch, Effect.fail(tooLarge(command, most, said)))
    }
    const running = begin(
      request,
      said,
      () => {
        onStart()
        return job(request, token, said, { stdout: take("stdout"), stderr: take("stderr"), ended: () => {} })
      },
      source(request)
    )
    const exitCode = yield* Effect.raceFirst(
      Run.complete(running, request.timeout, timedOut(request, said)),
      Deferred.await(tooMuch)
    )
    if (exitCode === Request.notRun) {
      const error = Request.refused(machine, request, said.text().stderr, execute)
      if (error !== undefined) return yield* error
    }
    return { exitCode, stdout: said.bytes("stdout"), stderr: said.bytes("stderr") }
  })

  const tooLarge = (command: string, most: number, said: Said) => {
    const detail = `its output was larger than ${most / 1024 / 1024} MiB; use executeStream for output of any length`
    return new CommandRejected({ machine, command, reason: "OutputTooLarge", detail, ...said.text(mostTold) })
  }

  /** As `collect`, and tells what comes while it comes. */
  const collectAloud = Effect.fnUntraced(function* (
    command: string,
    execute: ExecuteOptions,
    tell: NonNullable<CollectOptions["stream"]>
  ): Effect.fn.Return<BytesResult, ShellError> {
    const said = new Said(mostCollected)
    const late = Deferred.makeUnsafe<never, ShellError>()
    let exitCode = 0
    yield* Stream.runForEach(streaming(command, execute, late), (event): Effect.Effect<void, ShellError> => {
      if (event._tag === "Exit") {
        exitCode = event.exitCode
        return Effect.void
      }
      const fits = said.add(event._tag === "Stdout" ? "stdout" : "stderr", Buffer.from(event.bytes))
      // Who is told takes of the command's time.
      return fits
        ? Effect.raceFirst(tell(event), Deferred.await(late))
        : Effect.fail(tooLarge(command, mostCollected, said))
    })
    return { exitCode, stdout: said.bytes("stdout"), stderr: said.bytes("stderr") }
  })

  const executeBytes = (command: string, { stream, ...execute }: CollectOptions = {}) =>
    stream === undefined ? collect(command, execute, mostCollected) : collectAloud(command, execute, stream)

  /**
   * Starts a command whose output goes to a reader. `watch` tells how it ended: an exit code as soon as one stream has
   * it, or the error.
   */
  const open = Effect.fnUntraced(function* (
    command: string,
    execute: ExecuteOptions,
    writable: boolean,
    connect: (lane: LaneEnd) => Pick<Job, "stdout" | "stderr" | "ended">
  ) {
    const request = yield* prepare(command, execute, writable)
    const token = yield* nonce
    const said = new Said(64 * 1024, true)
    const fault = Buffer.from(`\x1e${request.fault} `)
    const withoutFault = (bytes: Buffer) => {
      const at = bytes.indexOf(fault)
      return at === -1 ? bytes : bytes.subarray(0, at)
    }
    const open = request.input.mode === "s" && request.input.bytes === undefined
    const input = open ? yield* Queue.bounded<Uint8Array, Cause.Done>(4) : undefined
    const running = yield* Effect.acquireRelease(
      begin(
        request,
        said,
        (lane) => {
          const sink = connect(lane)
          return job(request, token, said, {
            stdout: (bytes) => {
              said.add("stdout", bytes)
              sink.stdout(bytes)
            },
            stderr: (bytes) => {
              said.add("stderr", bytes)
              const told = withoutFault(bytes)
              if (told.length > 0) sink.stderr(told)
            },
            ended: sink.ended
          })
        },
        input === undefined ? source(request) : Stream.fromQueue(input)
      ),
      ({ finish }) => finish,
      { interruptible: true }
    )
    const ended = Effect.gen(function* () {
      const exitCode = yield* Run.complete(Effect.succeed(running), request.timeout, timedOut(request, said))
      if (exitCode !== Request.notRun) return exitCode
      const error = Request.refused(machine, request, said.text().stderr, execute)
      return error === undefined ? exitCode : yield* error
    })
    return { running, input, ended, late: timedOut(request, said), timeout: request.timeout }
  })

  /** What a command says. `late` fails when its time is up, even when nobody reads. */
  const streaming = (
    command: string,
    execute: ExecuteOptions,
    late: Deferred.Deferred<never, ShellError>
  ): Stream.Stream<CommandEvent, ShellError> =>
    Stream.unwrap(
      Effect.gen(function* () {
        const flow = yield* Flow.make<CommandEvent>((event) => (event._tag === "Exit" ? 0 : event.bytes.length))
        // Before the command's own clean-up in the order of finalizers: what is not read must not hold that up.
        const opened = yield* open(command, execute, false, (lane) => {
          const { errors, output } = lane.ends
          return {
            stdout: (bytes) => flow.push({ _tag: "Stdout", bytes }, output),
            stderr: (bytes) => flow.push({ _tag: "Stderr", bytes }, errors),
            ended: () => flow.detach()
          }
        })
        yield* Effect.addFinalizer(() => Effect.sync(() => flow.drop()))
        if (Duration.isFinite(opened.timeout)) {
          yield* Effect.sleep(opened.timeout).pipe(
            Effect.andThen(opened.late),
            Effect.flatMap((error) => Deferred.fail(late, error)),
            Effect.forkScoped
          )
        }
        yield* opened.ended.pipe(
          Effect.matchEffect({
            onSuccess: (exitCode) =>
              Effect.sync(() => {
                flow.end({ _tag: "Exit", exitCode })
              }),
            onFailure: (error) => flow.fail(error)
          }),
          Effect.forkScoped
        )
        return flow.stream
      })
    )

  const executeStream = (command: string, execute: ExecuteOptions = {}) =>
    streaming(command, execute, Deferred.makeUnsafe<never, ShellError>())

  const spawn = Effect.fnUntraced(function* (
    command: string,
    execute: ExecuteOptions = {}
  ): Effect.fn.Return<GuestProcess, ShellError, Scope.Scope> {
    const size = (bytes: Uint8Array) => bytes.length
    const flows = { stdout: yield* Flow.make<Uint8Array>(size), stderr: yield* Flow.make<Uint8Array>(size) }
    const limits = { ...execute, timeout: execute.timeout ?? "Infinity" }
    const { ended, input, running } = yield* open(command, limits, true, (lane) => {
      const { errors, output } = lane.ends
      return {
        stdout: (bytes) => flows.stdout.push(bytes, output),
        stderr: (bytes) => flows.stderr.push(bytes, errors),
        ended: (stream, expired) => {
          flows.stdout.detach()
          flows.stderr.detach()
          if (!expired) flows[stream].end()
        }
      }
    })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        flows.stdout.drop()
        flows.stderr.drop()
      })
    )
    const { job, lane } = running
    const finished = Deferred.makeUnsafe<number, ShellError>()
    yield* ended.pipe(
      Effect.tapError((error) => Effect.andThen(flows.stdout.fail(error), flows.stderr.fail(error))),
      Effect.onExit((exit) => Effect.sync(() => Deferred.doneUnsafe(finished, exit))),
      Effect.ignore,
      Effect.forkScoped
    )
    return {
      command,
      stdout: flows.stdout.stream,
      stderr: flows.stderr.stream,
      write: (data) =>
        (input === undefined
          ? Effect.succeed(false)
          : Effect.raceFirst(
              Effect.map(
                Queue.offerAll(input, Run.pieces(typeof data === "string" ? Buffer.from(data) : data)),
                (left) => left.length === 0
              ),
              Effect.as(Effect.exit(Deferred.await(job.exit)), true)
            )
        ).pipe(
          Effect.flatMap((taken) =>
            taken || Deferred.isDoneUnsafe(job.exit)
              ? Effect.void
              : Effect.fail(
                  new CommandRejected({ machine, command, reason: "Closed", detail: "its standard input was closed" })
                )
          )
        ),
      end: input === undefined ? Effect.void : Effect.asVoid(Queue.end(input)),
      signal: (signal: Signal) =>
        Effect.suspend(() =>
          Deferred.isDoneUnsafe(job.exit) ? Effect.succeed(true) : lanes.signal(lane, job.nonce, signal)
        ).pipe(
          // A guest that is busy may not have started the command yet. One that has ended may be unable to say so to a reader
          // that pauses, so not for ever.
          Effect.repeat({ until: (sent) => sent, schedule: retrySignal, times: 100 }),
          Effect.asVoid
        ),
      // The code of a command that was not run says so only together with what is on the other stream, and that of one whose
      // time was up is that of its killer.
      wait: Effect.raceFirst(
        Effect.flatMap(Deferred.await(job.exit), (code) =>
          code === Request.notRun || job.expired ? Deferred.await(finished) : Effect.succeed(code)
        ),
        Deferred.await(finished)
      )
    }
  })

  return {
    machine,
    lanes: lanes.most,
    execute: (command, execute) =>
      Effect.map(executeBytes(command, execute), ({ exitCode, stderr, stdout }) => ({
        exitCode,
        stdout: Buffer.from(stdout.buffer, stdout.byteOffset, stdout.length).toString("utf8"),
        stderr: Buffer.from(stderr.buffer, stderr.byteOffset, stderr.length).toString("utf8")
      })),
    executeBytes,
    executeStream,
    spawn,
    awaitIdle: lanes.awaitIdle,
    lost: lanes.lost,
    reset: (reason) => lanes.reset(reason)
  }
})
