/** What can be done to a running Cloud Hypervisor. */
import * as Effect from "effect/Effect"
import type * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import type { ControlService } from "../Backend.ts"
import * as Vmm from "../internal/vmm.ts"
import * as VmmControl from "../internal/vmmControl.ts"
import * as Api from "./api.ts"
import { saves } from "./capabilities.ts"

/** Writing the memory takes its time on a slow disk. */
const saveTimeout = "5 minutes"

/** What all connections share. Cloud Hypervisor refuses to pause a guest that is paused. */
export interface Standing {
  running: boolean
  /** Resets that were asked for over this interface, and that no event has told of yet. */
  asked: number
}

export interface ControlOptions extends VmmControl.Parts {
  readonly standing: Standing
  readonly resets: PubSub.PubSub<void>
}

const service = (options: ControlOptions): ControlService => {
  const { resets, running, shape, standing } = options
  const { api, note, process } = running
  const set = (now: boolean) =>
    Effect.sync(() => {
      standing.running = now
    })
  // What was asked for happens, whether its answer is waited for or not: the two must not come apart.
  const stop = Effect.suspend(() =>
    standing.running ? Effect.andThen(api.request(Api.pause), set(false)) : Effect.void
  ).pipe(Effect.uninterruptible)
  const resume = Effect.suspend(() =>
    standing.running ? Effect.void : Effect.andThen(api.request(Api.resume), set(true))
  ).pipe(Effect.uninterruptible)
  return {
    ...VmmControl.service(options, {
      ...{ isRunning: Effect.sync(() => standing.running), stop, resume, saves },
      write: (directory) =>
        api.request({ ...Api.snapshot({ destination_url: Api.urlOf(directory) }), timeout: saveTimeout })
    }),
    resets: Stream.fromPubSub(resets),
    powerdown: api.request(Api.powerButton),
    reset: Effect.suspend(() => {
      if (shape.allowReboot) {
        standing.asked++
        return Effect.tapError(api.request(Api.reboot), () => Effect.sync(() => standing.asked--))
      }
      note("host")
      return Vmm.signal(process, "SIGKILL")
    })
  }
}

export const layer = (options: ControlOptions) => VmmControl.layer(options.turn, () => service(options))
