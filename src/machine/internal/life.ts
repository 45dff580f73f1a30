/** The methods of a machine's life, on whatever boot is on. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import type * as SubscriptionRef from "effect/SubscriptionRef"
import * as GenStatem from "../../actors/GenStatem.ts"
import * as Process from "../../actors/Process.ts"
import { action, guard, traced } from "../../guest/Action.ts"
import { CommandFailed } from "../../guest/Command.ts"
import { disconnect } from "../../guest/Disconnect.ts"
import type { Guest, WaitOptions } from "../../guest/Guest.ts"
import { MachineNotRunning, WaitTimeout } from "../../guest/MachineError.ts"
import type { MachineState } from "../../guest/MachineEvent.ts"
import { pausedMessage } from "../../guest/Paused.ts"
import { withoutTimeout } from "../../guest/Run.ts"
import { timeoutOf } from "../../guest/Timeout.ts"
import { wait } from "../../guest/Wait.ts"
import { lastLines } from "../../host/Evidence.ts"
import { type LifeMethods, NotInInitrd, RebootNotAllowed } from "../Life.ts"
import type { Access } from "./access.ts"
import { type Boot, isPaused } from "./boot.ts"
import * as Orders from "./orders.ts"
import { ask, type MachineRef } from "./protocol.ts"
import * as SwitchRoot from "./switchRoot.ts"

/** What the methods of a life work with. */
export interface LifeContext {
  readonly ref: MachineRef
  readonly guest: Guest
  readonly access: Access
  readonly allowReboot: boolean
  readonly state: SubscriptionRef.SubscriptionRef<MachineState>
  /** Whether the test is over. */
  readonly retired: () => boolean
}

/** The reboots that the test knows of: its own, and those that it has waited for. */
class KnownReboots {
  private number = 0
  private resets = 0

  of(boot: Boot): number {
    return boot.number === this.number ? this.resets : 0
  }

  note({ number, resets }: Boot): void {
    this.number = number
    this.resets = resets
  }
}

type Methods<K extends keyof LifeMethods> = Pick<LifeMethods, K>

const asked = ({ ref }: LifeContext, yes: boolean) => GenStatem.cast(ref.name, "asked", yes)

interface Ending<E> {
  /** The method. */
  readonly name: string
  readonly awaited: string
  /** What brings the end about, where it does not come by itself. */
  readonly bring: Effect.Effect<unknown, E>
  /** What is in the way of that. */
  readonly hindrance: () => string
}

/** Waits for the end of a boot. */
const untilEnded = <E>(
  { guest, ref }: LifeContext,
  on: Boot,
  options: WaitOptions | undefined,
  { awaited, bring, hindrance, name }: Ending<E>
) =>
  Effect.gen(function* () {
    const timeout = yield* timeoutOf(guest, options)
    const started = yield* Clock.currentTimeMillis
    const late = Effect.gen(function* () {
      const console = yield* guest.consoleTail
      const waited = Duration.millis((yield* Clock.currentTimeMillis) - started)
      const why = isPaused(ref.life) ? pausedMessage : hindrance()
      const lastSeen = why === "" ? console : `${why}\n${lastLines(console, 5)}`
      return yield* new WaitTimeout({ machine: guest.name, awaited, waited, lastSeen, console })
    })
    const over = Effect.raceFirst(Effect.andThen(disconnect(bring), Effect.never), Deferred.await(on.over))
    const ended = Effect.timeoutOrElse(over, { duration: timeout, orElse: () => late })
    yield* action(guest, { name, doing: `waiting for ${awaited}` }, guest.conditions.guard(ended))
  })

/** Waits until the processes of the last boot have released what they had. */
const released = ({ ref }: LifeContext) =>
  Effect.suspend(() => {
    const supervisor = ref.life.boot?.supervisor
    return supervisor === undefined ? Effect.void : Process.awaitExit(supervisor)
  })

const ending = (life: LifeContext): Methods<"shutdown" | "crash" | "waitForShutdown"> => {
  const { access, guest } = life
  return {
    shutdown: Effect.fnUntraced(function* (options) {
      const on = yield* access.on
      if (on === undefined) return
      let hindrance = Orders.notTaken
      const bring = Effect.gen(function* () {
        const shell = yield* guest.shell
        const control = yield* access.controlOf(on)
        yield* asked(life, true)
        yield* Orders.give(shell, Orders.powerOff, {
          timeScale: guest.backend.timeScale,
          onHindrance: (reason) => {
            hindrance = reason
          },
          otherwise: guest.backend.capabilities.has("powerdown") ? control.powerdown : undefined
        })
      })
      const awaited = "the machine to shut down"
      yield* untilEnded(life, on, options, { name: "shutdown", awaited, bring, hindrance: () => hindrance }).pipe(
        // One that runs on does so for itself: how it ends is news again.
        Effect.onError(() => (life.retired() ? Effect.void : asked(life, false)))
      )
      const loss = life.ref.life.boot?.loss
      if (loss?._tag === "MachineDied" && loss.ended === "panic") return yield* loss
    }),
    crash: () =>
      Effect.gen(function* () {
        const on = yield* Effect.orElseSucceed(access.on, () => undefined)
        if (on === undefined) return
        yield* asked(life, true)
        // One that has no hypervisor yet may wait long for it.
        if (!(yield* Effect.orElseSucceed(ask(life.ref, "cancel", on.number), () => true))) {
          yield* Effect.ignore(Effect.flatMap(access.hypervisorOf(on), (hypervisor) => hypervisor.kill))
        }
        yield* Deferred.await(on.over)
        yield* released(life)
      }).pipe((crash) => traced(guest, { name: "crash" }, crash)),
    waitForShutdown: Effect.fnUntraced(function* (options) {
      const on = yield* Effect.orElseSucceed(access.on, () => undefined)
      if (on === undefined) return
      const awaited = "the machine to end"
      yield* untilEnded(life, on, options, {
        name: "waitForShutdown",
        awaited,
        bring: Effect.void,
        hindrance: () => ""
      })
    })
  }
}

interface Reset<E> {
  readonly name: string
  readonly awaited: string
  /** What resets the guest. */
  readonly bring: Effect.Effect<unknown, E>
  readonly lastSeen: Effect.Effect<string>
}

/** Waits until a guest that is being reset is ready again; one that did not go down is as ready as it was. */
const untilBack = <E>(
  { access, guest, ref }: LifeContext,
  on: Boot,
  options: WaitOptions | undefined,
  { bring, ...reset }: Reset<E>
) =>
  wait(guest, { ...reset, options, once: true, until: Effect.andThen(bring, access.untilReady(on)) }).pipe(
    Effect.onError(() => GenStatem.cast(ref.name, "notRebooted", on.resets)),
    Effect.asVoid
  )

const reboot = (life: LifeContext, known: KnownReboots): LifeMethods["reboot"] =>
  Effect.fnUntraced(function* (options) {
    const { access, allowReboot, guest, ref } = life
    if (!allowReboot) return yield* new RebootNotAllowed({ machine: guest.name })
    const on = yield* Effect.flatMap(access.current, access.untilReady)
    const shell = yield* guest.shellNow
    let hindrance = Orders.notTaken
    yield* ask(ref, "rebooting", undefined)
    const bring = Effect.gen(function* () {
      yield* Orders.give(shell, Orders.reboot, {
        timeScale: guest.backend.timeScale,
        onHindrance: (reason) => {
          hindrance = reason
        }
      })
      // The machine's process sees the reset and makes the guest ready again.
      const { resets } = yield* access.controlOf(on)
      if (resets === undefined) yield* GenStatem.cast(ref.name, "reset", on.attempt)
    })
    const lastSeen = Effect.map(guest.consoleTail, (tail) =>
      hindrance === "" ? tail : `${hindrance}\n${lastLines(tail, 5)}`
    )
    yield* untilBack(life, on, options, { name: "reboot", awaited: "the guest to be ready again", bring, lastSeen })
    known.note(yield* access.untilReady(on))
  })

const waitForReboot = (life: LifeContext, known: KnownReboots): LifeMethods["waitForReboot"] => {
  const { access, allowReboot, guest, ref } = life
  return Effect.fnUntraced(function* (options) {
    if (!allowReboot) return yield* new RebootNotAllowed({ machine: guest.name })
    const on = yield* access.current
    const resets = known.of(on) + 1
    const until = Effect.map(
      Effect.raceFirst(ask(ref, "rebooted", { number: on.number, resets }), Deferred.await(on.lost)),
      (boot) => known.note(boot)
    )
    const lastSeen = Effect.map(guest.consoleTail, (tail) => {
      const boot = access.running()
      const down = boot !== undefined && boot.resets >= resets
      const how = down
        ? "it has rebooted, and is not ready yet"
        : "phase" in ref.life && ref.life.phase === "reset"
          ? "it is shutting down"
          : "it has not rebooted"
      return `${how}\n${lastLines(tail, 5)}`
    })
    const awaited = "the guest to reboot"
    yield* wait(guest, { name: "waitForReboot", awaited, options, once: true, until, lastSeen })
  })
}

const switchRoot = (life: LifeContext): LifeMethods["switchRoot"] =>
  Effect.fnUntraced(function* (options) {
    const { access, guest, ref } = life
    const on = yield* Effect.flatMap(access.current, access.untilReady)
    const shell = yield* guest.shell
    const run = (command: string) => withoutTimeout(shell.execute(command, { timeout: Duration.infinity }))
    const bring = Effect.gen(function* () {
      if ((yield* run(SwitchRoot.untilReady)).exitCode === 3) return yield* new NotInInitrd({ machine: guest.name })
      const before = yield* run(SwitchRoot.whoAnswers)
      yield* ask(ref, "rebooting", undefined)
      const begun = yield* run(SwitchRoot.begin)
      if (begun.exitCode !== 0) {
        const command = SwitchRoot.begin
        return yield* new CommandFailed({ machine: guest.name, command, wanted: "success", ...begun })
      }
      yield* SwitchRoot.untilAnother(
        Effect.sync(() => access.running()?.shell ?? shell),
        before.stdout
      )
      yield* GenStatem.cast(ref.name, "reset", on.attempt)
    })
    const awaited = "the guest to be in its real root"
    yield* untilBack(life, on, options, { name: "switchRoot", awaited, bring, lastSeen: guest.consoleTail })
  })

const pausing = ({ access, guest, ref }: LifeContext): Methods<"pause" | "resume"> => {
  const set = (paused: boolean) =>
    Effect.gen(function* () {
      const name = paused ? "pause" : "resume"
      if (ref.life.boot === undefined) {
        return yield* new MachineNotRunning({ machine: guest.name, state: "stopped", action: `${name} it` })
      }
      const control = yield* Effect.flatMap(access.current, access.controlOf)
      const doing = paused ? "pausing" : "resuming"
      yield* guard(guest, { name, doing }, paused ? control.pause : control.resume)
      yield* ask(ref, "paused", paused)
    })
  return { pause: () => set(true), resume: () => set(false) }
}

/** The methods of a machine's life. */
export const make = (life: LifeContext): LifeMethods => {
  const { access, guest, state } = life
  const known = new KnownReboots()
  return {
    start: () =>
      Effect.suspend(() => {
        const on = access.running()
        return on === undefined ? access.launch() : Effect.succeed(on)
      }).pipe(Effect.flatMap(access.untilReady), Effect.asVoid, guest.conditions.guard, (start) =>
        traced(guest, { name: "start" }, start)
      ),
    ...ending(life),
    reboot: reboot(life, known),
    waitForReboot: waitForReboot(life, known),
    switchRoot: switchRoot(life),
    isUp: () =>
      Effect.map(
        Effect.orElseSucceed(access.on, () => undefined),
        (on) => on !== undefined
      ),
    ...pausing(life),
    // Subscribed to at once: what guards the stream has it read by another fiber, which would miss the state of this moment.
    state: Stream.unwrap(
      Effect.map(PubSub.subscribe(state.pubsub), (subscription) =>
        Stream.fromSubscription(subscription).pipe(
          Stream.changes,
          Stream.interruptWhen(guest.conditions.guard(Effect.never))
        )
      )
    )
  }
}
