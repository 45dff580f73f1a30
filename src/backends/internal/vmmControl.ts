/** What can be done to a hypervisor that is controlled over HTTP, whichever it is: cables, a save, and what it cannot do. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TransportError } from "../../transport/ShellError.ts"
import { type Capability, Control, type ControlService, type MachineShape } from "../Backend.ts"
import { SaveFailed, unsupported } from "../BackendError.ts"
import type { HypervisorOptions } from "../HypervisorOptions.ts"
import * as runState from "./runState.ts"
import type * as Vmm from "./vmm.ts"
import type { VmmCard } from "./vmmNetwork.ts"
import * as Saved from "./vmmSaved.ts"

/** What a hypervisor's control channel is made of. */
export interface Parts {
  readonly backend: string
  readonly shape: MachineShape
  readonly running: Vmm.Running
  readonly cards: ReadonlyArray<VmmCard>
  readonly turn: runState.Turn
  /** Why the process ended, once it has. */
  readonly ended: Effect.Effect<string>
}

/** How its guest stands still, and how its state gets into a folder then. */
export interface Standing extends Pick<Parameters<typeof runState.make>[0], "isRunning" | "stop" | "hold" | "resume"> {
  readonly saves: (options: HypervisorOptions) => boolean
  /** Fails with what the hypervisor, or the host, said. */
  readonly write: (directory: string) => Effect.Effect<void, { readonly said: string }>
}

/** The parts of the service that are alike: all but its power and reset buttons, and what it tells of resets. */
export const service = (
  { backend, cards, ended, running, shape, turn }: Parts,
  { saves, write, ...standing }: Standing
): Omit<ControlService, "powerdown" | "reset" | "resets"> => {
  const lacks = (capability: Capability) => Effect.fail(unsupported(backend, capability))
  return {
    qmp: undefined,
    closed: ended,
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
        ...standing,
        save: (directory) =>
          Saved.save({ backend, shape, directory, saves, write: write(directory), console: running.console.log }),
        notSaved: ({ message }, directory) => new SaveFailed({ machine: shape.name, directory, reason: message })
      },
      turn
    )
  }
}

/** The service as a layer. Each request has a connection of its own, so there is nothing to open. */
export const layer = (turn: runState.Turn, make: () => ControlService) =>
  Layer.effect(
    Control,
    Effect.gen(function* () {
      const made = make()
      yield* runState.recover(turn, made.resume)
      return made
    })
  )
