/** A machine over all its boots, as its test and its tree have it. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as GenStatem from "../../actors/GenStatem.ts"
import type { MachineState } from "../../guest/MachineEvent.ts"
import { MachineEvents } from "../../guest/MachineEvent.ts"
import * as Machine from "../Machine.ts"
import type { Environment, Handle, MachineSummary } from "../MachineTree.ts"
import * as Snapshot from "../Snapshot.ts"
import * as Access from "./access.ts"
import { type Boot, type Life as BootLife, type OriginEffect, publicState } from "./boot.ts"
import { hostsScript } from "./identity.ts"
import * as KeptTime from "./keptTime.ts"
import * as Life from "./life.ts"
import type { MachineRef } from "./protocol.ts"

export interface Made {
  readonly handle: Handle
  /** The machine as only what makes a boot ready may use it: its commands do not wait until it is ready. */
  readonly inside: (boot: Boot) => Machine.Machine
  /** Reports a state that a test can see. */
  readonly publish: (state: MachineState, detail: string) => Effect.Effect<void>
  /** Reports what its boot waits for. */
  readonly progress: (detail: string) => Effect.Effect<void>
}

/** How a boot began and ended, for reports. */
const summaryOf = (life: BootLife): Pick<MachineSummary, "came" | "failed"> => {
  const { boot } = life
  if (boot === undefined) return { came: undefined }
  const { hypervisor, loss, origin } = boot
  const isLost = life._tag === "Crashed" && loss?._tag === "BootFailed" && !boot.done.has("warm")
  const failed = !isLost ? undefined : hypervisor === undefined ? "could not start" : "did not boot"
  if (origin.from !== undefined) return { came: `forked from ${origin.name ?? "a snapshot of the test"}`, failed }
  return { came: failed === undefined && publicState(life) !== "booting" ? "booted" : undefined, failed }
}

/** Why the last boot is over. */
const lost = ({ life }: MachineRef) => (life.boot?.loss === undefined ? Effect.void : Effect.fail(life.boot.loss))

/** A machine that was not started yet, whose process is found by `ref`. */
export const make = Effect.fnUntraced(function* (environment: Environment, ref: MachineRef) {
  const { conditions, self, shape, spec } = environment
  const emit = yield* MachineEvents
  const state = yield* SubscriptionRef.make<MachineState>("stopped")
  let retired = false
  /** What was reported last. */
  let reported = { state: "stopped", detail: "" }

  const publish: Made["publish"] = (next, detail) =>
    Effect.gen(function* () {
      yield* SubscriptionRef.set(state, next)
      if (retired || (reported.state === next && reported.detail === detail)) return
      reported = { state: next, detail }
      yield* emit({ _tag: "MachineState", machine: spec.name, state: next, detail })
    })
  // It is reported by the hypervisor's process, which knows whether it boots at all.
  const onLaunch = Effect.suspend(() =>
    publicState(ref.life) === "booting" ? SubscriptionRef.set(state, "booting") : Effect.void
  )
  const access = Access.make(ref, onLaunch)
  const guest = Access.guestOf(environment, ref, access, emit)
  const life = Life.make({
    ref,
    guest,
    access,
    allowReboot: spec.allowReboot,
    state,
    retired: () => retired
  })
  const snapshots = Snapshot.make(guest, {
    isPaused: guest.isPaused,
    folder: environment.snapshots,
    restart: Effect.fnUntraced(function* (from) {
      const origin: OriginEffect = Effect.succeed({ from, identity: "kept" })
      // Another caller may start it in between: that is another boot.
      const boot = yield* Effect.andThen(life.crash(), access.launch(origin)).pipe(
        Effect.repeat({ until: (boot) => boot.from === origin })
      )
      yield* access.untilReady(boot)
    }),
    fork: environment.fork
  })
  const surroundings = {
    ...{ number: self.number, networks: environment.networks, port: environment.port },
    cards: shape.networks
  }

  // One after the other, each with the names of its time: of two at once, the older one could be the last that writes.
  const naming = Semaphore.makeUnsafe(1)
  const handle: Handle = {
    backend: environment.backend,
    machine: Machine.make(guest, life, spec, self.interfaces, snapshots, surroundings),
    spec,
    self,
    shape,
    running: Effect.flatMap(access.on, (on) =>
      on === undefined
        ? Effect.succeed(undefined)
        : Effect.all({ control: access.controlOf(on), shell: access.shellOf(on) })
    ).pipe(Effect.orElseSucceed(() => undefined)),
    keepTime: Effect.flatMap(guest.isPaused, (paused) =>
      paused ? Effect.succeed(Effect.void) : KeptTime.prepare(guest.shell)
    ).pipe(Effect.orElseSucceed(() => Effect.void)),
    pid: Effect.flatMap(access.on, (on) =>
      on === undefined ? Effect.succeed(undefined) : Effect.map(access.hypervisorOf(on), ({ pid }) => pid)
    ).pipe(Effect.orElseSucceed(() => undefined)),
    launched: Effect.gen(function* () {
      const on = yield* access.on
      yield* on === undefined ? lost(ref) : access.hypervisorOf(on)
    }).pipe(
      // One that ran and has ended since did start.
      Effect.catchIf(
        () => ref.life.boot?.hypervisor !== undefined,
        () => Effect.void
      )
    ),
    end: () => {
      const { boot } = ref.life
      return boot?.loss === undefined ? undefined : { loss: boot.loss, exit: boot.exit }
    },
    summary: () => ({
      name: spec.name,
      state: publicState(ref.life),
      ...summaryOf(ref.life)
    }),
    refreshNames: Effect.suspend(() =>
      access.running() === undefined || shape.image.guest === "script"
        ? Effect.void
        : Effect.gen(function* () {
            const shell = yield* guest.shell
            const all = yield* environment.all
            yield* shell.execute(hostsScript(self, all), { timeout: "1 minute" })
          }).pipe(naming.withPermit, conditions.unguarded, Effect.ignore)
    ),
    retire: Effect.suspend(() => {
      retired = true
      return GenStatem.cast(ref.name, "asked", true)
    })
  }
  const inside = (boot: Boot) =>
    Machine.make(
      Access.insideOf(guest, access, boot),
      { ...life, start: () => Effect.void },
      spec,
      self.interfaces,
      snapshots,
      surroundings
    )
  const progress: Made["progress"] = (detail) =>
    Effect.suspend(() => (retired ? Effect.void : emit({ _tag: "StillBooting", machine: spec.name, detail })))
  const made: Made = { handle, inside, publish, progress }
  return made
})
