/** What can be done to a running Firecracker. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { RestError } from "../../transport/RestError.ts"
import { TransportError } from "../../transport/ShellError.ts"
import { Control, type ControlService, type MachineShape } from "../Backend.ts"
import { SaveFailed, unsupported } from "../BackendError.ts"
import * as runState from "../internal/runState.ts"
import * as Vmm from "../internal/vmm.ts"
import type { VmmCard } from "../internal/vmmNetwork.ts"
import * as Saved from "../internal/vmmSaved.ts"
import * as Api from "./api.ts"
import { saves } from "./capabilities.ts"
import { losesVsock } from "./version.ts"

/** The files that Firecracker writes of a saved machine. */
export const fileNames = { memory: "memory", state: "state" } as const

/** Writing the memory takes its time on a slow disk. */
const saveTimeout = "5 minutes"

/**
 * How a guest stands still: `stopped` is the process, by a signal, and `paused` the guest, by a request. Shared by all connections.
 *
 * Firecracker 1.16 up to 1.16.1 loses vsock when a guest was paused and resumes, unless a snapshot was made meanwhile. So a pause is a signal there; the time
 * of the guest goes on then.
 */
export interface Standing {
  mode: "running" | "stopped" | "paused"
  /** Whether a snapshot was made since it was paused. */
  saved: boolean
}

export interface ControlOptions {
  readonly shape: MachineShape
  readonly version: string
  readonly running: Vmm.Running
  readonly cards: ReadonlyArray<VmmCard>
  readonly standing: Standing
  readonly turn: runState.Turn
  /** Why the process ended, once it has. */
  readonly ended: Effect.Effect<string>
}

/** Pause and resume, by whichever way keeps vsock alive. */
const standStill = ({ running, shape, standing, version }: ControlOptions) => {
  const { api, process } = running
  const set = (mode: Standing["mode"]) =>
    Effect.sync(() => {
      standing.mode = mode
      if (mode === "running") standing.saved = false
    })
  // What was asked for happens, whether its answer is waited for or not: the two must not come apart.
  const pause = Effect.uninterruptible(Effect.andThen(api.request(Api.state("Paused")), set("paused")))
  const snapshot = (directory: string) =>
    api
      .request({
        ...Api.createSnapshot({
          snapshot_type: "Full",
          snapshot_path: Path.join(directory, fileNames.state),
          mem_file_path: Path.join(directory, fileNames.memory)
        }),
        timeout: saveTimeout
      })
      .pipe(
        Effect.tap(() =>
          Effect.sync(() => {
            standing.saved = true
          })
        )
      )
  /** A snapshot that nobody needs, but that vsock does. */
  const unlock = Effect.acquireUseRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(shape.directory, "unlock-"))),
    snapshot,
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  )
  /** From now on the guest is paused, even one whose process was stopped: its request waits there before it goes on. */
  const hold = Effect.suspend((): Effect.Effect<void, RestError> => {
    if (standing.mode === "paused") return Effect.void
    if (standing.mode === "running") return pause
    const goOn = Effect.delay(Vmm.signal(process, "SIGCONT"), "20 millis")
    return Effect.asVoid(Effect.all([pause, goOn], { concurrency: 2 }))
  })
  const stop = Effect.suspend((): Effect.Effect<void, RestError> => {
    if (standing.mode !== "running") return Effect.void
    return losesVsock(version) ? Effect.andThen(Vmm.stop(process), set("stopped")) : pause
  })
  const resume = Effect.suspend((): Effect.Effect<void, RestError> => {
    if (standing.mode === "running") return Effect.void
    if (standing.mode === "stopped") return Effect.andThen(Vmm.signal(process, "SIGCONT"), set("running"))
    return Effect.andThen(
      losesVsock(version) && !standing.saved ? unlock : Effect.void,
      Effect.uninterruptible(Effect.andThen(api.request(Api.state("Resumed")), set("running")))
    )
  })
  return { hold, stop, resume, snapshot, isRunning: Effect.sync(() => standing.mode === "running") }
}

const service = (options: ControlOptions): ControlService => {
  const { cards, ended, running, shape, turn } = options
  const { api, console, note, shell } = running
  const { hold, isRunning, resume, snapshot, stop } = standStill(options)
  const lacks = (capability: Parameters<typeof unsupported>[1]) => Effect.fail(unsupported("firecracker", capability))
  return {
    qmp: undefined,
    closed: ended,
    // A guest that resets itself ends Firecracker.
    resets: Stream.never,
    powerdown: Effect.andThen(
      Effect.sync(() => note("power-off")),
      api.request(Api.action("SendCtrlAltDel"))
    ),
    reset: lacks("reset"),
    plug: () => lacks("hotplug"),
    unplug: () => lacks("hotplug"),
    setLink: (device, up) => {
      const card = cards.find((one) => one.device === device)
      if (card?.tap === undefined) return lacks("links")
      return Effect.mapError(
        card.tap.setLink(up),
        ({ message }) => new TransportError({ machine: shape.name, socket: card.tapName, reason: message })
      )
    },
    ...runState.make(
      {
        ...{ isRunning, stop, hold, resume },
        save: (directory) =>
          Saved.save({
            ...{ backend: "firecracker", shape, directory, saves },
            write: Effect.andThen(hold, snapshot(directory)),
            console: console.log
          }).pipe(
            // The snapshot has reset all of the guest's connections, and Firecracker does not tell their other ends.
            Effect.ensuring(shell.sever)
          ),
        notSaved: ({ message }, directory) => new SaveFailed({ machine: shape.name, directory, reason: message })
      },
      turn
    )
  }
}

/** Each request has a connection of its own, so there is nothing to open. */
export const layer = (options: ControlOptions) =>
  Layer.effect(
    Control,
    Effect.gen(function* () {
      const made = service(options)
      yield* runState.recover(options.turn, made.resume)
      return made
    })
  )
