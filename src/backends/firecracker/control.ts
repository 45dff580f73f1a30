/** What can be done to a running Firecracker. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { RestError } from "../../transport/RestError.ts"
import type { ControlService } from "../Backend.ts"
import { unsupported } from "../BackendError.ts"
import * as Vmm from "../internal/vmm.ts"
import * as VmmControl from "../internal/vmmControl.ts"
import * as Api from "./api.ts"
import { saves } from "./capabilities.ts"
import { fileNames, type Quarters } from "./quarters.ts"
import { losesVsock } from "./version.ts"

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

export interface ControlOptions extends VmmControl.Parts {
  readonly version: string
  readonly standing: Standing
  readonly quarters: Quarters
}

/** Pause and resume, by whichever way keeps vsock alive. */
const standStill = ({ quarters, running, shape, standing, version }: ControlOptions) => {
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
          snapshot_path: quarters.saving(directory, fileNames.state),
          mem_file_path: quarters.saving(directory, fileNames.memory)
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
    (folder) => Effect.andThen(snapshot(folder), Effect.ignore(quarters.collect(folder))),
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
  const { api, note, shell } = options.running
  const { snapshot, ...standing } = standStill(options)
  return {
    ...VmmControl.service(options, {
      ...standing,
      saves,
      write: (directory) =>
        Effect.andThen(standing.hold, snapshot(directory)).pipe(
          Effect.mapError(({ said }) => ({ said })),
          Effect.andThen(Effect.mapError(options.quarters.collect(directory), (said) => ({ said }))),
          // The snapshot has reset all of the guest's connections, and Firecracker does not tell their other ends.
          Effect.ensuring(shell.sever)
        )
    }),
    // A guest that resets itself ends Firecracker.
    resets: Stream.never,
    powerdown: Effect.andThen(
      Effect.sync(() => note("power-off")),
      api.request(Api.action("SendCtrlAltDel"))
    ),
    reset: Effect.fail(unsupported("firecracker", "reset"))
  }
}

export const layer = (options: ControlOptions) => VmmControl.layer(options.turn, () => service(options))
