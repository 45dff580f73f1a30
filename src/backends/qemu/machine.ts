/** One QEMU, whatever started it: its process, console, control channel and end, all in one scope. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { SpawnOptions } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import type { Preopened } from "../../transport/Preopened.ts"
import * as Qmp from "../../transport/qmp/Qmp.ts"
import { QmpError, type QmpService } from "../../transport/qmp/Qmp.ts"
import type { TransportError } from "../../transport/ShellError.ts"
import type { Transport } from "../../transport/Transport.ts"
import type { AcceleratorName } from "../Accelerator.ts"
import type { EndCause, Hypervisor, MachineShape, SavedMachine } from "../Backend.ts"
import { type BackendError, LoadFailed, StartFailed } from "../BackendError.ts"
import * as Companion from "../internal/companion.ts"
import * as consoleLog from "../internal/consoleLog.ts"
import * as Hosted from "../internal/hosted.ts"
import { makeTurn } from "../internal/runState.ts"
import type { Sockets } from "./command.ts"
import { type ControlOptions, layer, qmpOptions } from "./control.ts"

export interface Settings {
  readonly program: string
  /** Such as `7.2.22`. */
  readonly version: string
  readonly accelerator: AcceleratorName
  readonly extraArguments: ReadonlyArray<string>
  readonly timeScale: number
}

/** QEMU listens within a tenth of a second; a host that is short of memory takes its time. */
export const controlTimeout = Duration.seconds(30)

/** What is to be started, and what is different between one start and another. */
export interface Launch {
  readonly shape: MachineShape
  readonly timeScale: number
  readonly sockets: Sockets
  readonly spawn: Pick<SpawnOptions, "command" | "args" | "env" | "cwd" | "wholeGroup" | "mark">
  /** What errors call it: `QEMU`, `start script`. */
  readonly called: string
  /** How long it may take until QEMU answers, and the reason of the error if it does not. */
  readonly answers: { readonly within: Duration.Duration; readonly otherwise?: string | undefined }
  /** Whether something else prints on the console before QEMU does. */
  readonly talks: boolean
  /** A program that it cannot do without. */
  readonly companion?: Companion.Companion | undefined
  /** What the saved machine had printed that it continues from. */
  readonly before: Buffer | undefined
  /** The error of a start that failed; `output` is the end of what it printed. */
  readonly failed: (reason: string, output: string) => StartFailed | LoadFailed
  /** Done over the control channel before anybody else has it; gives the guest's ports that are open already. What it acquires lives as long as QEMU. */
  readonly begin: (
    control: QmpService
  ) => Effect.Effect<Preopened | undefined, LoadFailed | StartFailed | QmpError | TransportError, Scope.Scope>
  /** The way to the guest's shell. */
  readonly transport: (attached: Preopened | undefined) => Layer.Layer<Transport>
  readonly control: Pick<ControlOptions, "setLink" | "save">
}

/** The start of a machine that booted: what a boot fails with. */
export const startFailed = (shape: MachineShape) => (reason: string, output: string) =>
  new StartFailed({ machine: shape.name, backend: "qemu", reason, output })

/** The file of what QEMU, or what starts it, prints as errors. */
const stderrIn = ({ directory }: MachineShape): string => Path.join(directory, "qemu.log")

/** Starts it, and waits until QEMU answers. */
export const run: (launch: Launch) => Effect.Effect<Hypervisor, BackendError, Scope.Scope> = Effect.fnUntraced(
  function* (launch) {
    const { answers, before, called, shape, sockets, timeScale } = launch
    const stderrFile = stderrIn(shape)
    const failed = (reason: string, console = "") =>
      launch.failed(reason, [Hosted.endOf(stderrFile), launch.talks ? console : ""].join("\n").trim())
    yield* Effect.addFinalizer(() => removeSockets(sockets))
    const process = yield* HostProcess.spawn({
      name: `${shape.name}'s ${called}`,
      cwd: shape.directory,
      ...launch.spawn,
      stdin: "pipe",
      // A guest's serial port does not wait long for each of its bytes.
      stdout: { fifo: Path.join(shape.directory, "console.fifo") },
      stderr: { file: stderrFile },
      // There is nothing in a machine that a slower end would save.
      grace: 0
    })
    const stdout = process.streams.stdout
    if (stdout === null) return yield* failed("it has no console")
    const log = yield* consoleLog
      .make(stdout, Path.join(shape.directory, "console.log"), before)
      .pipe(Effect.mapError((reason) => failed(`the console's log cannot be written: ${reason}`)))
    let cause: EndCause | undefined
    let because: string | undefined
    yield* Companion.watch(launch.companion, process, (reason) => {
      because = reason
    })
    const exited = yield* Hosted.watchExit({
      ...{ process, log },
      said: () => Hosted.endOf(stderrFile),
      known: () => ({ cause, because })
    })
    const connectTimeout = Duration.times(controlTimeout, timeScale)
    // QEMU took its arguments once it answers; a saved machine is loaded over this connection, which is then closed.
    const scope = yield* Effect.scope
    const answering = Effect.gen(function* () {
      const connected = Qmp.make(qmpOptions(shape.name, sockets, answers.within))
      const { otherwise } = answers
      const control = yield* otherwise === undefined
        ? connected
        : Effect.catch(connected, () =>
            // One that ends while it reads its words has listened for a moment: its end is the news.
            Effect.sleep("1 second").pipe(
              Effect.andThen(log.tail(Hosted.evidenceLines)),
              Effect.flatMap((console) => Effect.fail(failed(otherwise, console)))
            )
          )
      // What it opens stays open.
      return yield* Scope.provide(launch.begin(control), scope)
    }).pipe(Effect.scoped)
    const answered = yield* answering.pipe(
      // Where QEMU did not take its words or its state, its end is the news; the broken connection only comes a moment earlier.
      Effect.catch((error) =>
        error._tag === "LoadFailed"
          ? Effect.fail(failed(error.reason))
          : error._tag === "StartFailed"
            ? Effect.fail(error)
            : Effect.andThen(Effect.sleep("1 second"), Effect.fail(failed(error.message)))
      ),
      Effect.map((attached) => ({ attached })),
      // At once: what it left in the background may hold its console open, and may answer.
      Effect.raceFirst(Effect.as(process.exited, undefined))
    )
    if (answered === undefined) {
      const exit = yield* Deferred.await(exited)
      return yield* failed(`its ${called} ended with ${Hosted.describeExit(exit)}`, exit.consoleTail)
    }
    const { attached } = answered
    const control = layer({
      ...{ shape, sockets, connectTimeout, timeScale, ...launch.control },
      console: log,
      turn: makeTurn(),
      note: (noted) => {
        if (cause !== "panic") cause = noted
      },
      end: (reason) => {
        because = reason
        return process.kill("SIGKILL")
      }
    })
    const inherited = before?.toString("utf8").split("\n").length
    return Hosted.hypervisor({
      ...{ shape, called, timeScale, process, log, exited, control, inherited },
      transport: launch.transport(attached),
      write: (text) =>
        process
          .write(text)
          .pipe(
            Effect.mapError(
              ({ reason }) =>
                new QmpError({ machine: shape.name, command: "console", class: "ConsoleClosed", desc: reason })
            )
          )
    })
  }
)

/** What QEMU says of a state that it refuses: "load of migration failed: Invalid argument", "Not a migration stream". */
const refusal = /load of migration failed|migration stream|savevm/i

/** What a QEMU says that aborts because it may open too few files, whatever it loads. */
const starvation = /Too many open files/

/** A crash while QEMU loads is that of what it loads. */
const crash = /signal SIG(SEGV|ABRT|BUS|FPE|ILL)/

/** What the start of a machine fails with that continues from a saved one. */
export const loadFailed =
  (shape: MachineShape, { directory }: SavedMachine) =>
  (reason: string, output: string): LoadFailed => {
    const damaged = (refusal.test(output) || crash.test(reason)) && !starvation.test(output)
    return new LoadFailed({ machine: shape.name, directory, reason, output, damaged })
  }

/** QEMU removes its own only when it ends in peace. */
const removeSockets = ({ cards, load, ports, qmp, save, tpm }: Sockets) =>
  Effect.sync(() => {
    for (const path of [qmp, save, load, tpm, ...cards, ...ports]) Fs.rmSync(path, { force: true })
  })
