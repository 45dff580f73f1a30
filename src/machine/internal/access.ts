/** How methods reach the boot of a machine that is on: by what its process has published, or by asking that process. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as GenStatem from "../../actors/GenStatem.ts"
import type { ControlService, Hypervisor } from "../../backends/Backend.ts"
import type { Guest, Unavailable } from "../../guest/Guest.ts"
import { MachineNotRunning } from "../../guest/MachineError.ts"
import type { MachineEvent } from "../../guest/MachineEvent.ts"
import type { ShellService } from "../../transport/Shell.ts"
import type { Environment } from "../MachineTree.ts"
import { type Boot, isPaused, isRunning, type Loss, type OriginEffect } from "./boot.ts"
import * as NextBoot from "./nextBoot.ts"
import { ask, type MachineRef } from "./protocol.ts"

/** The boot of a machine, for its methods. */
export interface Access {
  /** The boot that is on. */
  readonly running: () => Boot | undefined
  /** The same, once a start that was asked for has begun. */
  readonly on: Effect.Effect<Boot | undefined, Loss>
  /** Starts a boot where none is on. */
  readonly launch: (origin?: OriginEffect) => Effect.Effect<Boot, Loss>
  /** The boot that is on; a machine that was never started is started, and one that ended says how. */
  readonly current: Effect.Effect<Boot, Unavailable>
  /** A boot once it is ready. Where it is, nobody has to be asked. */
  readonly untilReady: (boot: Boot) => Effect.Effect<Boot, Loss>
  readonly shellOf: (boot: Boot) => Effect.Effect<ShellService, Unavailable>
  readonly hypervisorOf: (boot: Boot) => Effect.Effect<Hypervisor, Unavailable>
  readonly controlOf: (boot: Boot) => Effect.Effect<ControlService, Unavailable>
}

export const make = (ref: MachineRef, onLaunch: Effect.Effect<void>): Access => {
  const running = (): Boot | undefined => (isRunning(ref.life) ? ref.life.boot : undefined)
  /** The start that was asked for and has not begun: whoever looks meanwhile waits for it. */
  let launching: Deferred.Deferred<Boot, Loss> | undefined
  const launch: Access["launch"] = (origin) =>
    Effect.suspend(() => {
      if (launching !== undefined && origin === undefined) return Deferred.await(launching)
      const begun = Deferred.makeUnsafe<Boot, Loss>()
      launching = begun
      // Others wait for what the first asked for, whether it still wants it or not; the answer comes at once.
      return Effect.tap(ask(ref, "launch", origin), onLaunch).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (launching === begun) launching = undefined
            Deferred.doneUnsafe(begun, exit)
          })
        ),
        Effect.uninterruptible
      )
    })
  const on = Effect.suspend(
    (): Effect.Effect<Boot | undefined, Loss> =>
      launching === undefined ? Effect.succeed(running()) : Effect.map(Deferred.await(launching), running)
  )
  const current = Effect.suspend((): Effect.Effect<Boot, Unavailable> => {
    const { boot } = ref.life
    if (boot === undefined) return launch()
    if (boot.loss === undefined) return Effect.succeed(boot)
    if (!boot.asked) return Effect.fail(boot.loss)
    return new MachineNotRunning({ machine: ref.machine, state: "stopped", action: "use it" })
  })
  /** What is asked of a boot ends with it. */
  const before = <A>(boot: Boot, asked: Effect.Effect<A, Loss>): Effect.Effect<A, Loss> =>
    Effect.raceFirst(asked, Deferred.await(boot.lost))
  const untilReady: Access["untilReady"] = (boot) =>
    Effect.suspend(() =>
      (ref.life._tag === "Ready" || ref.life._tag === "Paused") && ref.life.boot.number === boot.number
        ? Effect.succeed(ref.life.boot)
        : before(boot, ask(ref, "ready", boot.number))
    )
  const shellOf: Access["shellOf"] = (boot) =>
    Effect.flatMap(untilReady(boot), ({ shell }) =>
      // It was lost again in the meantime.
      shell === undefined ? Effect.flatMap(current, shellOf) : Effect.succeed(shell)
    )
  return {
    running,
    on,
    launch,
    current,
    untilReady,
    shellOf,
    hypervisorOf: (boot) =>
      Effect.suspend(() => {
        const hypervisor = same(running(), boot)?.hypervisor
        return hypervisor === undefined ? before(boot, ask(ref, "hypervisor", boot.number)) : Effect.succeed(hypervisor)
      }),
    controlOf: (boot) =>
      Effect.suspend(() => {
        const control = same(running(), boot)?.control
        return control === undefined ? before(boot, ask(ref, "control", boot.number)) : Effect.succeed(control)
      })
  }
}

const same = (one: Boot | undefined, other: Boot): Boot | undefined => (one?.number === other.number ? one : undefined)

/** The guest of a machine, whatever boot is on. */
export const guestOf = (
  environment: Environment,
  ref: MachineRef,
  access: Access,
  emit: (event: MachineEvent) => Effect.Effect<void>
): Guest => {
  const { backend, conditions, fs, output, scope, spec } = environment
  const { controlOf, current, hypervisorOf, shellOf } = access
  const hypervisor = conditions.guard(Effect.flatMap(current, hypervisorOf))
  const shellNow = conditions.guard(Effect.flatMap(current, shellOf))
  const reboots = { ref, access, allowReboot: spec.allowReboot }
  const held = NextBoot.make(reboots)
  return {
    name: spec.name,
    backend,
    emit,
    shell: Effect.map(shellNow, held),
    shellNow,
    nextBoot: () => {
      const before = NextBoot.idOf(reboots)
      return (error) =>
        spec.allowReboot && NextBoot.isReboot(reboots, error)
          ? NextBoot.untilBack(reboots, before)
          : Effect.succeed(false)
    },
    hypervisor,
    control: conditions.guard(Effect.flatMap(current, controlOf)),
    console: Effect.suspend(() => {
      const last = ref.life.boot?.hypervisor
      return last === undefined ? Effect.map(hypervisor, ({ console }) => console) : Effect.succeed(last.console)
    }),
    shellLost: GenStatem.cast(ref.name, "doubt"),
    // Of a machine that was never started, the first boot: what guards a wait is there before the wait starts it.
    died: Effect.suspend(() =>
      ref.life.boot === undefined
        ? Effect.flatMap(Deferred.await(ref.began), ({ lost }) => Deferred.await(lost))
        : Deferred.await(ref.life.boot.lost)
    ),
    isPaused: Effect.sync(() => isPaused(ref.life)),
    conditions,
    consoleTail: Effect.suspend(() => {
      const { boot } = ref.life
      if (boot?.loss !== undefined) return Effect.succeed(boot.loss.console)
      return boot?.hypervisor === undefined ? Effect.succeed("") : boot.hypervisor.console.tail(20)
    }),
    output,
    fs,
    scope
  }
}

/** The guest of one boot as only what makes it ready may use it: its commands do not wait until it is ready. */
export const insideOf = (guest: Guest, access: Access, boot: Boot): Guest => {
  const shell = Effect.suspend(() => {
    const shell = access.running()?.shell ?? boot.shell
    return shell === undefined ? guest.shellNow : Effect.succeed(shell)
  })
  return { ...guest, shell, shellNow: shell, nextBoot: () => () => Effect.succeed(false) }
}
