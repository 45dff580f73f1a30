/** A hypervisor that is one process of the host, whatever its kind: how it ends, its console, and the channel to its guest. */
import * as Fs from "node:fs"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { panicIn } from "../../host/Evidence.ts"
import type { ExitStatus, HostProcess as Process } from "../../host/HostProcess.ts"
import * as Shell from "../../transport/Shell.ts"
import { ShellNotReady } from "../../transport/ShellError.ts"
import type { Transport } from "../../transport/Transport.ts"
import type { Console, Hypervisor, MachineExit, MachineShape } from "../Backend.ts"
import type { ConsoleLog } from "./consoleLog.ts"

/** How many lines of the console go into errors: as many as a kernel's panic with its registers and call trace. */
export const evidenceLines = 80

const bootTimeout = Duration.minutes(5)

/** The end of a file of messages; empty where there is none. */
export const endOf = (file: string): string => {
  const read = Result.try(() => Fs.readFileSync(file, "utf8"))
  return Result.isSuccess(read) ? read.success.slice(-4000).trim() : ""
}

/** How it ended, for a message. */
export const describeExit = ({ because, exitCode, signal }: MachineExit): string =>
  because !== undefined
    ? `signal ${signal}, because ${because}`
    : signal === undefined
      ? `exit code ${exitCode}`
      : `signal ${signal}`

/** What there is to know of the end of a hypervisor. */
export interface Ending {
  readonly process: Pick<Process, "exited">
  readonly log: Pick<ConsoleLog, "ended" | "tail">
  /** The end of its own output. */
  readonly said: () => string
  /** What else is known of why it ended. */
  readonly known: (status: ExitStatus) => Pick<MachineExit, "cause" | "because">
}

/** The end is complete when the process is gone and what it left in the console's pipe has been read. */
export const watchExit = Effect.fnUntraced(function* ({ known, log, process, said }: Ending) {
  const exited = yield* Deferred.make<MachineExit>()
  yield* Effect.gen(function* () {
    const status = yield* process.exited
    const { exitCode, signal } = status
    yield* Effect.timeoutOption(log.ended, "1 second")
    const consoleTail = yield* log.tail(evidenceLines)
    const { because, cause: noted } = known(status)
    // A kernel that panics resets, or halts until somebody ends its hypervisor.
    const mayHavePanicked = noted === "reset" || (noted === undefined && signal === undefined)
    yield* Deferred.succeed(exited, {
      exitCode,
      signal,
      cause: mayHavePanicked && panicIn(consoleTail) !== undefined ? "panic" : noted,
      because,
      consoleTail,
      stderr: said()
    })
  }).pipe(Effect.forkScoped)
  return exited
})

/** What a machine is put together from. */
export interface Parts {
  readonly shape: MachineShape
  /** What errors call the process: `QEMU`, `start script`. */
  readonly called: string
  readonly timeScale: number
  readonly process: Pick<Process, "pid" | "kill">
  readonly log: ConsoleLog
  readonly exited: Deferred.Deferred<MachineExit>
  readonly control: Hypervisor["control"]
  /** The way to the guest's shell. */
  readonly transport: Layer.Layer<Transport>
  /** How many lines of the console are those of the saved machine that it resumed from. */
  readonly inherited: number | undefined
  /** Types into the console. */
  readonly write: Console["write"]
}

/** The guest's shell, which is not waited for any longer than the hypervisor lives. */
const shellLayer = ({ called, exited, log, shape, timeScale, transport }: Parts): Hypervisor["shell"] => {
  const shell = Shell.layerFromTransport({
    bootTimeout: Duration.times(bootTimeout, timeScale),
    consoleTail: log.tail(evidenceLines),
    reboots: shape.allowReboot
  }).pipe(Layer.provide(transport))
  const ended = Effect.flatMap(Deferred.await(exited), (exit) =>
    Effect.fail(
      new ShellNotReady({
        machine: shape.name,
        reason: `its ${called} ended with ${describeExit(exit)}`,
        waited: Duration.zero,
        console: exit.consoleTail
      })
    )
  )
  return Layer.effectContext(Effect.raceFirst(Layer.build(shell), ended))
}

/** The machine, as the rest of vmtest sees it. */
export const hypervisor = (parts: Parts): Hypervisor => {
  const { control, exited, inherited, log, process, shape, write } = parts
  return {
    name: shape.name,
    pid: process.pid,
    directory: shape.directory,
    shell: shellLayer(parts),
    control,
    console: { log: log.log, inherited, tail: log.tail, stream: log.stream, write },
    exited: Deferred.await(exited),
    kill: Effect.andThen(process.kill("SIGKILL"), Effect.asVoid(Deferred.await(exited)))
  }
}
