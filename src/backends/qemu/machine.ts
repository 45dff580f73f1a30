/** One QEMU: its process, console, control channel and end, all in one scope. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { panicIn } from "../../host/Evidence.ts"
import type { HostProcess as Process } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { identityPath } from "../../images/BootImage.ts"
import * as Cpio from "../../images/Cpio.ts"
import { virtioPorts } from "../../transport/GuestChannel.ts"
import type { Preopened } from "../../transport/Preopened.ts"
import * as Qmp from "../../transport/qmp/Qmp.ts"
import { QmpError } from "../../transport/qmp/Qmp.ts"
import * as Shell from "../../transport/Shell.ts"
import { ShellNotReady } from "../../transport/ShellError.ts"
import { Transport } from "../../transport/Transport.ts"
import * as VirtioPort from "../../transport/VirtioPort.ts"
import type { AcceleratorName } from "../Accelerator.ts"
import type { Console, EndCause, Hypervisor, MachineExit, MachineShape, SavedMachine } from "../Backend.ts"
import type { BackendError } from "../BackendError.ts"
import { LoadFailed, StartFailed } from "../BackendError.ts"
import type { ConsoleLog } from "../internal/consoleLog.ts"
import * as consoleLog from "../internal/consoleLog.ts"
import { copySparse } from "../internal/copySparse.ts"
import { makeTurn } from "../internal/runState.ts"
import { command, initrdIn, type Sockets, socketsIn } from "./command.ts"
import { evidenceLines, layer, qmpOptions } from "./control.ts"
import { load, prepareDisks } from "./load.ts"
import * as saved from "./saved.ts"
import * as Tpm from "./tpm.ts"

export interface Settings {
  readonly program: string
  readonly accelerator: AcceleratorName
  readonly extraArguments: ReadonlyArray<string>
  readonly timeScale: number
}

/** QEMU listens within a tenth of a second; a host that is short of memory takes its time. */
const controlTimeout = Duration.seconds(30)
const bootTimeout = Duration.minutes(5)

export const start: (
  shape: MachineShape,
  settings: Settings,
  from: SavedMachine | undefined
) => Effect.Effect<Hypervisor, BackendError, Scope.Scope> = Effect.fnUntraced(function* (shape, settings, from) {
  const description = from === undefined ? undefined : yield* saved.read(shape, from)
  const stderrFile = Path.join(shape.directory, "qemu.log")
  const failed = (reason: string) =>
    from === undefined
      ? new StartFailed({ machine: shape.name, backend: "qemu", reason, output: endOf(stderrFile) })
      : loadFailed(shape, from, reason, endOf(stderrFile))
  yield* Effect.mapError(prepareDisks(shape, from), failed)
  yield* Effect.mapError(prepareInitrd(shape), failed)
  const memory = from === undefined ? undefined : yield* Effect.mapError(memoryOf(shape, from), failed)
  const sockets = yield* Effect.acquireRelease(
    Effect.sync(() => socketsIn(shape.directory)),
    removeSockets
  )
  if (from !== undefined) yield* Tpm.forget(shape)
  yield* Tpm.start(shape, sockets.tpm).pipe(
    Effect.mapError((error) => (typeof error === "string" ? failed(error) : error))
  )
  const process = yield* HostProcess.spawn({
    name: `${shape.name}'s QEMU`,
    command: settings.program,
    args: command({
      shape,
      sockets,
      accelerator: settings.accelerator,
      // Never shared: what a guest writes is its own, and the file that it may have come from stays as it is.
      memory: memory === undefined ? { _tag: "Anonymous" } : { _tag: "File", path: memory, share: false },
      incoming: from !== undefined,
      extra: settings.extraArguments
    }),
    cwd: shape.directory,
    stdin: "pipe",
    stdout: "pipe",
    stderr: { file: stderrFile },
    // There is nothing in a machine that a slower end would save.
    grace: 0
  })
  const stdout = process.streams.stdout
  if (stdout === null) return yield* failed("it has no console")
  const before = from === undefined ? undefined : saved.consoleOf(from)
  const log = yield* consoleLog
    .make(stdout, Path.join(shape.directory, "console.log"), before)
    .pipe(Effect.mapError((reason) => failed(`the console's log cannot be written: ${reason}`)))
  let cause: EndCause | undefined
  const exited = yield* watchExit(process, log, stderrFile, () => cause)
  const connectTimeout = Duration.times(controlTimeout, settings.timeScale)
  // QEMU took its arguments once it answers; a saved machine is loaded over this connection, which is then closed.
  const scope = yield* Effect.scope
  const answering = Effect.gen(function* () {
    const control = yield* Qmp.make(qmpOptions(shape.name, sockets, connectTimeout))
    if (from === undefined || description === undefined) return undefined
    const loading = load({ shape, sockets, control, from, description, timeScale: settings.timeScale })
    // The ports that it opens stay open.
    return yield* Scope.provide(loading, scope)
  }).pipe(Effect.scoped)
  const attached = yield* answering.pipe(
    // The next start is a boot, with a TPM that knows nothing of this one.
    Effect.tapError(() => (from === undefined ? Effect.void : Tpm.forget(shape))),
    // Where QEMU did not take its words or its state, its end is the news; the broken connection only comes a moment earlier.
    Effect.catch((error) =>
      error._tag === "LoadFailed"
        ? Effect.fail(failed(error.reason))
        : Effect.andThen(Effect.sleep("1 second"), Effect.fail(failed(error.message)))
    ),
    Effect.raceFirst(
      Effect.flatMap(Deferred.await(exited), (exit) => Effect.fail(failed(`it ended with ${describe(exit)}`)))
    )
  )
  const control = layer({
    shape,
    sockets,
    connectTimeout,
    console: log,
    timeScale: settings.timeScale,
    turn: makeTurn(),
    note: (noted) => {
      if (cause !== "panic") cause = noted
    }
  })
  const inherited = before?.toString("utf8").split("\n").length
  return hypervisor({ shape, settings, sockets, process, log, exited, control, attached, inherited })
})

/** What QEMU says of a state that it refuses: "load of migration failed: Invalid argument", "Not a migration stream". */
const refusal = /load of migration failed|migration stream|savevm/i

/** A crash while QEMU loads is that of what it loads. */
const crash = /signal SIG(SEGV|ABRT|BUS|FPE|ILL)/

const loadFailed = (shape: MachineShape, { directory }: SavedMachine, reason: string, output: string): LoadFailed => {
  const damaged = refusal.test(output) || crash.test(reason)
  return new LoadFailed({ machine: shape.name, directory, reason, output, damaged })
}

const describe = ({ exitCode, signal }: MachineExit): string =>
  signal === undefined ? `exit code ${exitCode}` : `signal ${signal}`

/**
 * The file of a saved machine's memory: its own, or where that may only be read, a copy in the machine's folder until it ends. QEMU opens the
 * file to be written, though it never writes to it. Fails with the reason.
 */
const memoryOf = (shape: MachineShape, from: SavedMachine): Effect.Effect<string, string, Scope.Scope> =>
  Effect.suspend(() => {
    const path = Path.join(from.directory, saved.fileNames.memory)
    if (Result.isSuccess(Result.try(() => Fs.accessSync(path, Fs.constants.W_OK)))) return Effect.succeed(path)
    const copy = Path.join(shape.directory, saved.fileNames.memory)
    const remove = Effect.sync(() => Fs.rmSync(copy, { force: true }))
    return Effect.as(
      Effect.acquireRelease(
        Effect.onError(copySparse(path, copy), () => remove),
        () => remove
      ),
      copy
    )
  })

/** The initramfs with the machine's identity. Fails with the reason. */
const prepareInitrd = (shape: MachineShape): Effect.Effect<void, string> => {
  const { identity } = shape
  const path = initrdIn(shape)
  if (path === undefined || identity === undefined) return Effect.void
  const script = { path: identityPath, type: "file", mode: 0o644, data: Buffer.from(identity) } as const
  return Effect.try({
    try: () => Fs.writeFileSync(path, Cpio.append(Fs.readFileSync(shape.image.initrd), [script]), { mode: 0o600 }),
    catch: (error) => `could not write its initramfs: ${error instanceof Error ? error.message : String(error)}`
  })
}

/** QEMU removes its own only when it ends in peace. */
const removeSockets = ({ load, ports, qmp, save, tpm }: Sockets) =>
  Effect.sync(() => {
    for (const path of [qmp, save, load, tpm, ...ports]) Fs.rmSync(path, { force: true })
  })

const endOf = (file: string): string => {
  const read = Effect.runSyncExit(Effect.try(() => Fs.readFileSync(file, "utf8")))
  return read._tag === "Success" ? read.value.slice(-4000).trim() : ""
}

/** The end is complete when the process is gone and what it left in the console's pipe has been read. */
const watchExit = Effect.fnUntraced(function* (
  process: Process,
  log: ConsoleLog,
  stderrFile: string,
  cause: () => EndCause | undefined
) {
  const exited = yield* Deferred.make<MachineExit>()
  yield* Effect.gen(function* () {
    const { exitCode, signal } = yield* process.exited
    yield* Effect.timeoutOption(log.ended, "1 second")
    const consoleTail = yield* log.tail(evidenceLines)
    const noted = cause()
    // A kernel that panics resets, or stands still until somebody ends its hypervisor.
    const mayHavePanicked = noted === "reset" || (noted === undefined && signal === undefined)
    yield* Deferred.succeed(exited, {
      exitCode,
      signal,
      cause: mayHavePanicked && panicIn(consoleTail) !== undefined ? "panic" : noted,
      consoleTail,
      stderr: endOf(stderrFile)
    })
  }).pipe(Effect.forkScoped)
  return exited
})

interface Parts {
  readonly shape: MachineShape
  readonly settings: Settings
  readonly sockets: Sockets
  readonly process: Process
  readonly log: ConsoleLog
  readonly exited: Deferred.Deferred<MachineExit>
  readonly control: Hypervisor["control"]
  /** The ports that are open, of a machine that went on from a saved one. */
  readonly attached: Preopened | undefined
  readonly inherited: number | undefined
}

/** The guest's shell over its virtio ports, which is not waited for any longer than QEMU lives. */
const shellLayer = ({ attached, exited, log, settings, shape, sockets }: Parts): Hypervisor["shell"] => {
  const { name: machine } = shape
  const [bootstrap = "", ...ports] = sockets.ports
  const transport = Layer.sync(Transport, () =>
    VirtioPort.make({ machine, channel: virtioPorts({ bootstrap, ports }), attached })
  )
  const shell = Shell.layerFromTransport({
    bootTimeout: Duration.times(bootTimeout, settings.timeScale),
    consoleTail: log.tail(evidenceLines),
    reboots: shape.allowReboot
  }).pipe(Layer.provide(transport))
  const ended = Effect.flatMap(Deferred.await(exited), (exit) =>
    Effect.fail(
      new ShellNotReady({
        machine,
        reason: `its QEMU ended with ${describe(exit)}`,
        waited: Duration.zero,
        console: exit.consoleTail
      })
    )
  )
  return Layer.effectContext(Effect.raceFirst(Layer.build(shell), ended))
}

const hypervisor = (parts: Parts): Hypervisor => {
  const { control, exited, inherited, log, process, shape } = parts
  const console: Console = {
    log: log.log,
    inherited,
    tail: log.tail,
    stream: log.stream,
    write: (text) =>
      process
        .write(text)
        .pipe(
          Effect.mapError(
            ({ reason }) =>
              new QmpError({ machine: shape.name, command: "console", class: "ConsoleClosed", desc: reason })
          )
        )
  }
  return {
    name: shape.name,
    pid: process.pid,
    directory: shape.directory,
    shell: shellLayer(parts),
    control,
    console,
    exited: Deferred.await(exited),
    kill: Effect.andThen(process.kill("SIGKILL"), Effect.asVoid(Deferred.await(exited)))
  }
}
