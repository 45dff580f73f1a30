/** What can be done to a running Cloud Hypervisor. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import { TransportError } from "../../transport/ShellError.ts"
import { Control, type ControlService, type MachineShape } from "../Backend.ts"
import { SaveFailed, unsupported } from "../BackendError.ts"
import * as runState from "../internal/runState.ts"
import * as Vmm from "../internal/vmm.ts"
import type { VmmCard } from "../internal/vmmNetwork.ts"
import * as Saved from "../internal/vmmSaved.ts"
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

export interface ControlOptions {
  readonly shape: MachineShape
  readonly running: Vmm.Running
  readonly cards: ReadonlyArray<VmmCard>
  readonly standing: Standing
  readonly turn: runState.Turn
  readonly resets: PubSub.PubSub<void>
  /** Why the process ended, once it has. */
  readonly ended: Effect.Effect<string>
}

const service = ({ cards, ended, resets, running, shape, standing, turn }: ControlOptions): ControlService => {
  const { api, console, note, process } = running
  const lacks = (capability: Parameters<typeof unsupported>[1]) =>
    Effect.fail(unsupported("cloud-hypervisor", capability))
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
    qmp: undefined,
    closed: ended,
    resets: Stream.fromPubSub(resets),
    powerdown: api.request(Api.powerButton),
    reset: Effect.suspend(() => {
      if (shape.allowReboot) {
        standing.asked++
        return Effect.tapError(api.request(Api.reboot), () => Effect.sync(() => standing.asked--))
      }
      note("host")
      return Vmm.signal(process, "SIGKILL")
    }),
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
        isRunning: Effect.sync(() => standing.running),
        stop,
        resume,
        save: (directory) =>
          Saved.save({
            ...{ backend: "cloud-hypervisor", shape, directory, saves },
            write: api.request({
              ...Api.snapshot({ destination_url: Api.urlOf(directory) }),
              timeout: saveTimeout
            }),
            console: console.log
          }),
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
