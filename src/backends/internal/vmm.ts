/** One hypervisor that is controlled over HTTP: its process, its console, what it is asked to do at first, and its end. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Readable } from "node:stream"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { ExitStatus, HostProcess as Process, SpawnOptions } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import type { Request, RestApi } from "../../transport/RestApi.ts"
import * as Rest from "../../transport/RestApi.ts"
import type { RestError } from "../../transport/RestError.ts"
import type { Control, EndCause, Hypervisor, MachineShape, SavedMachine } from "../Backend.ts"
import { type BackendError, type ControlError, LoadFailed, StartFailed } from "../BackendError.ts"
import * as Companion from "./companion.ts"
import * as consoleLog from "./consoleLog.ts"
import * as Hosted from "./hosted.ts"
import * as VsockShell from "./vsockShell.ts"

/** Both listen within a second; a host that is short of memory takes its time. */
const answerTimeout = Duration.seconds(30)

/** How long one request may take; that of a snapshot also writes the memory. */
const requestTimeout = Duration.seconds(30)

/** What a hypervisor that was started consists of. */
export interface Running {
  readonly api: RestApi
  readonly process: Process
  readonly console: consoleLog.ConsoleLog
  readonly shell: VsockShell.VsockShell
  /** Says why the machine is about to end; a panic is not taken back by what follows it. */
  readonly note: (cause: EndCause) => void
}

/** What is to be started. */
export interface Launch {
  readonly shape: MachineShape
  readonly timeScale: number
  /** What errors call it. */
  readonly called: string
  readonly spawn: Pick<SpawnOptions, "command" | "args" | "stdin" | "channel">
  /** Other sockets and locks, by their names in the machine's folder. What an earlier process left of them would be in the way of this one. */
  readonly stale: ReadonlyArray<string>
  /** The unix sockets of its interface and of vsock, by their names in the machine's folder. */
  readonly sockets: { readonly api: string; readonly vsock: string }
  /** Whether it is another user than this process, and needs permission for the sockets of its vsock that this process makes. Default false. */
  readonly others?: boolean | undefined
  readonly explain: Rest.RestApiOptions["explain"]
  /** The first request, which is repeated until it is answered. */
  readonly hello: Request<unknown>
  /** Where its standard error goes, and its standard output where that is not the console; by their names in the machine's folder. */
  readonly logs: { readonly stderr: string; readonly stdout: string }
  /** Files of its messages, by their names in the machine's folder. */
  readonly messages: ReadonlyArray<string>
  /** What the console is read from, where it is not the process's standard output. */
  readonly serial?: ((process: Process) => Effect.Effect<Readable, never, Scope.Scope>) | undefined
  /** Programs beside it that it cannot do without. Default: none. */
  readonly companions?: ReadonlyArray<Companion.Companion> | undefined
  /** What the saved machine had printed that it continues from. */
  readonly before: Buffer | undefined
  /** What it is asked to do until the guest runs. */
  readonly begin: (running: Running) => Effect.Effect<void, RestError, Scope.Scope>
  /** What watches it from then on; lives as long as it. */
  readonly watch: (running: Running) => Effect.Effect<void, never, Scope.Scope>
  readonly control: (running: Running) => Layer.Layer<Control, ControlError>
  readonly write: (running: Running) => Hypervisor["console"]["write"]
  /** Why it ended, where nothing else was noted. */
  readonly causeOf: (status: ExitStatus) => EndCause | undefined
  /** Why the guest could not run on, from what the hypervisor printed, whatever it told besides. */
  readonly because?: ((said: string) => string | undefined) | undefined
  readonly failed: (why: Failure) => StartFailed | LoadFailed
}

/** Why a start failed. */
export interface Failure {
  readonly reason: string
  readonly output: string
  readonly stage?: string | undefined
  /** The hypervisor's refusal, where it was one. */
  readonly refusal?: RestError | undefined
}

/** The error of a start that failed. `damage` are the words with which the hypervisor refuses what it was given to load, and not this host. */
export const failures =
  (backend: string, shape: MachineShape, from: SavedMachine | undefined, damage: RegExp) =>
  ({ output, reason, refusal, stage }: Failure): StartFailed | LoadFailed => {
    const where = stage === undefined ? {} : { stage }
    return from === undefined
      ? new StartFailed({ machine: shape.name, backend, reason, output, ...where })
      : new LoadFailed({
          ...{ machine: shape.name, directory: from.directory, reason, output, ...where },
          damaged: refusal?.kind === "refused" && damage.test(refusal.reason)
        })
  }

const removeAll = (paths: ReadonlyArray<string>) =>
  Effect.sync(() => {
    for (const path of paths) Result.try(() => Fs.rmSync(path, { force: true }))
  })

type Failed = (reason: string, refusal?: RestError, stage?: string) => StartFailed | LoadFailed

const stageOf = ({ method, path }: { readonly method: string; readonly path: string }): string => `${method} ${path}`

/** The same interface, and the request that was made last: what it died of, if it dies. */
const staged = (api: RestApi): { readonly api: RestApi; readonly stage: () => string | undefined } => {
  let stage: string | undefined
  const noted = <A>(request: Request<A>): Request<A> => {
    stage = stageOf(request)
    return request
  }
  return {
    api: {
      request: (request) => Effect.suspend(() => api.request(noted(request))),
      connect: (request, options) => Effect.suspend(() => api.connect(noted(request), options))
    },
    stage: () => stage
  }
}

/** Starts it, and returns when the guest runs. */
export const run: (launch: Launch) => Effect.Effect<Hypervisor, BackendError, Scope.Scope> = Effect.fnUntraced(
  function* (launch) {
    const { before, called, shape, timeScale } = launch
    const within = (name: string) => Path.join(shape.directory, name)
    const stderr = within(launch.logs.stderr)
    const said = () =>
      [stderr, ...launch.messages.map(within)]
        .map(Hosted.endOf)
        .filter((text) => text !== "")
        .join("\n")
    const failed: Failed = (reason, refusal, stage) =>
      launch.failed({ reason, output: said(), refusal, stage: refusal === undefined ? stage : stageOf(refusal) })
    const stale = [launch.sockets.api, launch.sockets.vsock, ...launch.stale].map(within)
    yield* removeAll([...stale, stderr, ...launch.messages.map(within)])
    yield* Effect.addFinalizer(() => removeAll(stale))
    const { channel, ...spawn } = launch.spawn
    const process = yield* HostProcess.spawn({
      name: `${shape.name}'s ${called}`,
      cwd: shape.directory,
      ...spawn,
      // With a channel its watcher has the descriptor before it.
      ...(channel === true ? { channel } : {}),
      wholeGroup: true,
      stdout: launch.serial === undefined ? { fifo: within("console.fifo") } : { file: within(launch.logs.stdout) },
      stderr: { file: stderr },
      grace: 0
    })
    const source = launch.serial === undefined ? process.streams.stdout : yield* launch.serial(process)
    if (source === null) return yield* failed("it has no console")
    const console = yield* consoleLog
      .make(source, within("console.log"), before)
      .pipe(Effect.mapError((reason) => failed(`the console's log cannot be written: ${reason}`)))
    let cause: EndCause | undefined
    let lost: string | undefined
    for (const companion of launch.companions ?? []) {
      yield* Companion.watch(companion, process, (reason) => {
        lost = reason
      })
    }
    const exited = yield* Hosted.watchExit({
      ...{ process, log: console, said },
      known: (status) => {
        const because = lost ?? launch.because?.(said())
        return { cause: because === undefined ? (cause ?? launch.causeOf(status)) : undefined, because }
      }
    })
    const api = yield* Rest.make({
      ...{ machine: shape.name, socket: within(launch.sockets.api), explain: launch.explain },
      timeout: Duration.times(requestTimeout, timeScale)
    })
    const running: Running = {
      ...{ api, process, console },
      shell: VsockShell.make(shape.name, within(launch.sockets.vsock), launch.others),
      note: (noted) => {
        if (cause !== "panic") cause = noted
      }
    }
    yield* begin(launch, running, failed, exited)
    yield* launch.watch(running)
    return Hosted.hypervisor({
      ...{ shape, called, timeScale, process, log: console, exited },
      control: launch.control(running),
      transport: running.shell.transport,
      inherited: before?.toString("utf8").split("\n").length,
      write: launch.write(running)
    })
  }
)

/** Asks it to run the guest. What it refuses is the news; where it hung up, how it ended is. */
const begin = Effect.fnUntraced(function* (
  launch: Launch,
  running: Running,
  failed: Failed,
  exited: Deferred.Deferred<Parameters<typeof Hosted.describeExit>[0]>
) {
  const { api, stage } = staged(running.api)
  const asking = Effect.andThen(
    api.connect(launch.hello, { within: Duration.times(answerTimeout, launch.timeScale) }),
    launch.begin({ ...running, api })
  ).pipe(
    Effect.catch((error) => {
      const known = Effect.fail(failed(error.said, error))
      return error.kind === "refused" ? known : Effect.andThen(Effect.sleep("1 second"), known)
    }),
    Effect.as(true)
  )
  // One that ends after a refusal may be quicker than what it said.
  const ended = Effect.as(Effect.andThen(running.process.exited, Effect.sleep("100 millis")), false)
  if (yield* Effect.raceFirst(asking, ended)) return
  const exit = yield* Deferred.await(exited)
  return yield* failed(`its ${launch.called} ended with ${Hosted.describeExit(exit)}`, undefined, stage())
})

/** Sends a signal to the hypervisor alone, and not to what watches over it. Nothing happens once it has ended: its number may be another's then. */
export const signal = (process: Pick<Process, "pid" | "status">, name: NodeJS.Signals): Effect.Effect<void> =>
  Effect.sync(() => {
    if (process.status() === undefined) Result.try(() => globalThis.process.kill(process.pid, name))
  })

/** Whether all threads of a process stand still, or it is gone. */
const standsStill = (pid: number): boolean => {
  const folder = `/proc/${pid}/task`
  const stats = Result.try(() => Fs.readdirSync(folder).map((id) => Fs.readFileSync(`${folder}/${id}/stat`, "latin1")))
  // The state follows the name, which can have any characters.
  return Result.isFailure(stats) || stats.success.every((stat) => /^[TtZX]/.test(stat.slice(stat.lastIndexOf(")") + 2)))
}

/** Stops the hypervisor, and waits until each of its processors has heard of it. */
export const stop = (process: Pick<Process, "pid" | "status">): Effect.Effect<void> =>
  Effect.andThen(
    signal(process, "SIGSTOP"),
    Effect.sync(() => standsStill(process.pid)).pipe(
      Effect.repeat({ schedule: Schedule.spaced("1 millis"), until: (still) => still }),
      Effect.timeoutOption("2 seconds"),
      Effect.asVoid
    )
  )
