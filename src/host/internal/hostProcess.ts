/** Node's child processes behind HostProcess: how one is started, watched and ended. */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { Socket } from "node:net"
import { Duplex, type Readable } from "node:stream"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Disk from "../Disk.ts"
import type { Completed, ExitStatus, HostProcess, Output, PipeFailed, SpawnOptions } from "../HostProcess.ts"

const check = 'ulimit -c 0; [ "$PPID" = "$1" ] || exit 125; shift'

/**
 * Runs as `sh -c guard vmtest <our pid> <command> <args…>`, already with the death signal set. If we died before it was
 * set, the parent is another process by now, and nothing may start. A program that crashes leaves no core file: that of a
 * hypervisor would hold all of its guest's memory.
 */
const guard = `${check}; exec "$@"`

/**
 * Kills what has the mark in its environment, except for the watcher itself. What is started between two looks is found by the next one. A longer value
 * that begins with the mark's is found, too: it can only be of the same run.
 */
const sweep =
  'unset "${mark%%=*}"; read -r self _ </proc/self/stat; for _ in 1 2 3 4 5; do found=; ' +
  'for file in $(grep -lsF -e "$mark" /proc/[0-9]*/environ); do pid=${file#/proc/}; pid=${pid%/environ}; ' +
  '[ "$pid" = "$self" ] || { found=1; kill -KILL "$pid"; }; done; [ -n "$found" ] || break; done'

/**
 * As `guard`, with a watcher in the group that kills all of it, and what has the mark, when the pipe on descriptor 3 reaches its end, which it does when
 * we are gone. The watcher ignores SIGTERM so that it outlives a grace. It must not hold the program's channel open.
 */
const groupGuard =
  `${check}; mark=$1; shift; ` +
  `(trap '' TERM INT HUP; exec </dev/null >/dev/null 2>&1 4<&-; read -r _ <&3; [ -z "$mark" ] || { ${sweep}; }; kill -KILL 0) & ` +
  'exec 3<&-; exec "$@"'

interface StartOptions extends SpawnOptions {
  /** Full paths. */
  readonly setpriv: string
  readonly command: string
}

export interface Started {
  readonly name: string
  readonly pid: number
  readonly child: ChildProcess.ChildProcess
  readonly stdout: Readable | null
  readonly stderr: Readable | null
  readonly exited: Deferred.Deferred<ExitStatus>
}

/** Calls back once: with what was started, or with the reason why it was not. */
export const start = (options: StartOptions, done: (reason: string, started: Started | undefined) => void): void => {
  const opened: Array<number> = []
  const fifos: Array<number | undefined> = []
  const close = () => {
    for (const fd of opened.splice(0)) Fs.closeSync(fd)
  }
  const launch = () => {
    // Node would name the program, not the folder, as what does not exist.
    if (options.cwd !== undefined && !Fs.existsSync(options.cwd)) throw new Error(`no such folder: ${options.cwd}`)
    const outputs = [options.stdout, options.stderr].map((output) => stdioOf(output, opened, fifos))
    return ChildProcess.spawn(
      options.setpriv,
      [
        ...["--pdeathsig", "KILL", "/bin/sh", "-c", options.wholeGroup === true ? groupGuard : guard],
        ...["vmtest", String(process.pid), ...(options.wholeGroup === true ? [options.mark ?? ""] : [])],
        ...[options.command, ...(options.args ?? [])]
      ],
      {
        cwd: options.cwd,
        env: { ...process.env, ...options.env },
        stdio: [
          typeof options.stdin === "object" ? "pipe" : (options.stdin ?? "ignore"),
          ...outputs,
          ...(options.wholeGroup === true ? (["pipe"] as const) : []),
          ...(options.channel === true ? channelAfter(options) : [])
        ],
        detached: true
      }
    )
  }
  const launched = Effect.runSyncExit(Effect.try({ try: launch, catch: Disk.reasonOf }))
  close()
  if (launched._tag === "Failure") {
    for (const fd of fifos) if (fd !== undefined) Fs.closeSync(fd)
    const reason = launched.cause.reasons[0]
    done(reason?._tag === "Fail" ? reason.error : String(reason), undefined)
    return
  }
  const child = launched.value
  const exited = Deferred.makeUnsafe<ExitStatus>()
  const [stdout = child.stdout, stderr = child.stderr] = fifos.map((fd) =>
    fd === undefined ? undefined : new Socket({ fd, readable: true, writable: false })
  )
  for (const stream of [...child.stdio, stdout, stderr]) stream?.on("error", () => {})
  child.once("error", (error) => {
    if (child.pid === undefined) done(Disk.reasonOf(error), undefined)
  })
  child.once("spawn", () =>
    done("", { name: options.name ?? options.command, pid: child.pid ?? -1, child, stdout, stderr, exited })
  )
  child.once("exit", (code, signal) => {
    // The leader was reaped this instant, so its number cannot belong to a new group yet.
    signalGroup(child.pid, "SIGKILL")
    Deferred.doneUnsafe(exited, Effect.succeed({ exitCode: code ?? undefined, signal: signal ?? undefined }))
  })
  if (typeof options.stdin === "object") child.stdin?.end(options.stdin.text)
}

/** Descriptor 4, and 3 where there is no watcher that has it. */
const channelAfter = ({ wholeGroup }: StartOptions) =>
  wholeGroup === true ? (["pipe"] as const) : (["ignore", "pipe"] as const)

/** What the program gets; `opened` is closed when it has it, and `fifos` gets our end of a FIFO, or undefined. */
const stdioOf = (output: Output | undefined, opened: Array<number>, fifos: Array<number | undefined>) => {
  if (typeof output === "object" && "fifo" in output) {
    // The end that reads first: so neither open waits for the other.
    fifos.push(Fs.openSync(output.fifo, Fs.constants.O_RDONLY | Fs.constants.O_NONBLOCK))
    opened.push(Fs.openSync(output.fifo, Fs.constants.O_WRONLY))
    Fs.rmSync(output.fifo)
    return opened.at(-1) ?? "ignore"
  }
  fifos.push(undefined)
  if (typeof output !== "object") return output ?? "ignore"
  const fd = Fs.openSync(output.file, "a", 0o600)
  opened.push(fd)
  return fd
}

/** Makes a FIFO, in the place of what a run that was killed may have left; fails with the reason. Node has no call for it. */
export const makeFifo = (mkfifo: string, path: string): Effect.Effect<void, string> =>
  Effect.andThen(
    Disk.quietly(() => Fs.rmSync(path, { force: true })),
    Effect.callback<void, string>((resume) => {
      ChildProcess.execFile(mkfifo, ["--mode=600", path], (error, _, stderr) =>
        resume(error === null ? Effect.void : Effect.fail(stderr.trim() || Disk.reasonOf(error)))
      )
    })
  )

/** A group that is gone (ESRCH) is what was wanted; a group of another user cannot be one of ours. */
const signalGroup = (pid: number | undefined, signal: NodeJS.Signals): void => {
  if (pid === undefined || pid <= 1) return
  Result.try(() => process.kill(-pid, signal))
}

const statusOf = (child: ChildProcess.ChildProcess): ExitStatus | undefined =>
  child.exitCode === null && child.signalCode === null
    ? undefined
    : { exitCode: child.exitCode ?? undefined, signal: child.signalCode ?? undefined }

const kill = (started: Started, signal: NodeJS.Signals) =>
  Effect.sync(() => {
    if (statusOf(started.child) === undefined) signalGroup(started.pid, signal)
  })

/** A process that survives SIGKILL for this long hangs in the kernel; waiting for it would hang the run. */
const afterKill = Duration.seconds(10)

/**
 * Ends the group and waits for it. Real programs need real time, so the grace runs on the system's clock even where a
 * test has put another in its place.
 */
export const stop = (started: Started, grace: Duration.Input): Effect.Effect<void> =>
  Effect.gen(function* () {
    if (statusOf(started.child) === undefined) {
      yield* kill(started, "SIGTERM")
      const ended = yield* Effect.timeoutOption(Deferred.await(started.exited), grace)
      if (ended._tag === "None") {
        yield* kill(started, "SIGKILL")
        const killed = yield* Effect.timeoutOption(Deferred.await(started.exited), afterKill)
        if (killed._tag === "None")
          yield* Effect.logWarning(
            `${started.name} (${started.pid}) did not end within ${Duration.format(afterKill)} of SIGKILL`
          )
      }
    }
    for (const stream of [...started.child.stdio, started.stdout, started.stderr]) stream?.destroy()
  }).pipe(Effect.provideService(Clock.Clock, systemClock))

const systemClock = Clock.Clock.defaultValue()

type PipeFields = ConstructorParameters<typeof PipeFailed>[0]

/** The public view of a started process; `failed` makes its error, which lives above this module. */
export const handle = (started: Started, failed: (fields: PipeFields) => PipeFailed): HostProcess => {
  const { child, name } = started
  const output = (stream: "stdout" | "stderr") => {
    const readable = started[stream]
    return readable === null
      ? Stream.empty
      : Stream.fromAsyncIterable<Uint8Array, PipeFailed>(readable, (error) =>
          failed({ name, stream, reason: Disk.reasonOf(error) })
        )
  }
  return {
    name,
    pid: started.pid,
    exited: Deferred.await(started.exited),
    status: () => statusOf(child),
    kill: (signal = "SIGTERM") => kill(started, signal),
    stdout: output("stdout"),
    stderr: output("stderr"),
    write: (bytes) =>
      Effect.callback<void, PipeFailed>((resume) => {
        if (child.stdin === null) return resume(Effect.fail(failed({ name, stream: "stdin", reason: "not a pipe" })))
        child.stdin.write(bytes, (error) =>
          resume(error ? Effect.fail(failed({ name, stream: "stdin", reason: Disk.reasonOf(error) })) : Effect.void)
        )
      }),
    endInput: Effect.sync(() => child.stdin?.end()),
    streams: {
      ...{ stdin: child.stdin, stdout: started.stdout, stderr: started.stderr },
      // Node's pipes are sockets, which carry both ways.
      channel: child.stdio[4] instanceof Duplex ? child.stdio[4] : null
    }
  }
}

/** How long output is read that a program left in its pipes. */
const afterExit: Duration.Input = "1 second"

/**
 * What both output pipes brought until the program ended.
 *
 * A child that left the program's group may hold a pipe open for ever. All that the program itself wrote is in the pipe
 * when it ends, and read in the next turns of the loop, so a pipe that is still open a second later is not waited for.
 */
export const collect = (process: HostProcess): Effect.Effect<Completed> =>
  Effect.gen(function* () {
    const stdout = gather(process.streams.stdout)
    const stderr = gather(process.streams.stderr)
    const status = yield* process.exited
    yield* Effect.timeoutOption(Effect.all([stdout.closed, stderr.closed], { concurrency: 2 }), afterExit)
    return { ...status, stdout: stdout.text(), stderr: stderr.text() }
  }).pipe(Effect.provideService(Clock.Clock, systemClock))

const gather = (readable: Readable | null) => {
  const chunks: Array<Buffer> = []
  readable?.on("data", (chunk: Buffer) => chunks.push(chunk))
  return {
    text: () => Buffer.concat(chunks).toString("utf8"),
    closed: Effect.callback<void>((resume) => {
      if (readable === null || readable.closed) return resume(Effect.void)
      readable.once("close", () => resume(Effect.void))
    })
  }
}
