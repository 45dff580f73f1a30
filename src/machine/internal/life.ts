/** A machine over all its boots: what is running now, and what state that is. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as GenStatem from "../../actors/GenStatem.ts"
import * as Process from "../../actors/Process.ts"
import type { ControlService, Hypervisor } from "../../backends/Backend.ts"
import { action, guard } from "../../guest/Action.ts"
import { CommandFailed } from "../../guest/Command.ts"
import { disconnect } from "../../guest/Disconnect.ts"
import type { Guest, Unavailable, WaitOptions } from "../../guest/Guest.ts"
import { MachineNotRunning, WaitTimeout } from "../../guest/MachineError.ts"
import type { MachineState } from "../../guest/MachineEvent.ts"
import { MachineEvents } from "../../guest/MachineEvent.ts"
import { pausedMessage } from "../../guest/Paused.ts"
import { withoutTimeout } from "../../guest/Run.ts"
import { timeoutOf } from "../../guest/Timeout.ts"
import { wait } from "../../guest/Wait.ts"
import { lastLines } from "../../host/Evidence.ts"
import type { ShellService } from "../../transport/Shell.ts"
import { type LifeMethods, NotInInitrd, RebootNotAllowed } from "../Life.ts"
import * as Machine from "../Machine.ts"
import type { Environment, Handle } from "../MachineTree.ts"
import * as Snapshot from "../Snapshot.ts"
import { type Boot, isPaused, isRunning, type Loss, type OriginEffect, publicState } from "./boot.ts"
import { hostsScript } from "./identity.ts"
import { ask, type MachineRef } from "./protocol.ts"
import * as SwitchRoot from "./switchRoot.ts"

/** How long the guest may take to accept an order that ends its shell. */
const orderTimeout = Duration.seconds(15)

const notYet = "the guest has not taken the command yet"

/** What a machine over all its boots is to the test and to its tree. */
export interface Made {
  readonly handle: Handle
  /** The machine as only what makes a boot ready may use it: its commands do not wait until it is ready. */
  readonly inside: (boot: Boot) => Machine.Machine
  /** Tells of a state that a test can see. */
  readonly publish: (state: MachineState, detail: string) => Effect.Effect<void>
}

/** A machine that was not started yet, whose process is found by `ref`. */
export const make = Effect.fnUntraced(function* (environment: Environment, ref: MachineRef) {
  const { backend, conditions, fs, output, scope, spec } = environment
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

  const running = (): Boot | undefined => (isRunning(ref.life) ? ref.life.boot : undefined)

  /** Starts a boot where none is on. It is published by its hypervisor's process, which knows whether it boots at all. */
  const launch = (origin?: OriginEffect) =>
    Effect.tap(ask(ref, "launch", origin), () =>
      isRunning(ref.life) && publicState(ref.life) === "booting" ? SubscriptionRef.set(state, "booting") : Effect.void
    )

  /** The boot that is on; a machine that was never started is started, one that ended says how. */
  const current: Effect.Effect<Boot, Unavailable> = Effect.suspend((): Effect.Effect<Boot, Unavailable> => {
    const { boot } = ref.life
    if (boot === undefined) return launch()
    if (boot.loss === undefined) return Effect.succeed(boot)
    if (!boot.asked) return Effect.fail(boot.loss)
    return new MachineNotRunning({ machine: spec.name, state: "stopped", action: "use it" })
  })

  /** A boot once it is ready. Where it is, nobody has to be asked. */
  const untilReady = ({ number }: Boot): Effect.Effect<Boot, Loss> =>
    Effect.suspend(() =>
      ref.life._tag === "Ready" || ref.life._tag === "Paused"
        ? Effect.succeed(ref.life.boot)
        : ask(ref, "ready", number)
    )
  const shellOf = (boot: Boot): Effect.Effect<ShellService, Unavailable> =>
    Effect.flatMap(untilReady(boot), ({ shell }) =>
      shell === undefined ? Effect.flatMap(current, shellOf) : Effect.succeed(shell)
    )
  const hypervisorOf = ({ number }: Boot): Effect.Effect<Hypervisor, Unavailable> =>
    Effect.suspend(() => {
      const on = running()
      return on?.hypervisor === undefined ? ask(ref, "hypervisor", number) : Effect.succeed(on.hypervisor)
    })
  const controlOf = ({ number }: Boot): Effect.Effect<ControlService, Unavailable> =>
    Effect.suspend(() => {
      const on = running()
      return on?.control === undefined ? ask(ref, "control", number) : Effect.succeed(on.control)
    })

  const guest: Guest = {
    name: spec.name,
    backend,
    emit,
    shell: conditions.guard(Effect.flatMap(current, shellOf)),
    hypervisor: conditions.guard(Effect.flatMap(current, hypervisorOf)),
    control: conditions.guard(Effect.flatMap(current, controlOf)),
    console: Effect.suspend(() => {
      const { boot } = ref.life
      return boot?.hypervisor === undefined
        ? Effect.map(guest.hypervisor, ({ console }) => console)
        : Effect.succeed(boot.hypervisor.console)
    }),
    shellLost: GenStatem.cast(ref.name, "doubt"),
    died: Effect.suspend(() => (ref.life.boot === undefined ? Effect.never : Deferred.await(ref.life.boot.lost))),
    isPaused: Effect.sync(() => isPaused(ref.life)),
    conditions,
    consoleTail: Effect.suspend(() => {
      const { boot } = ref.life
      if (boot === undefined) return Effect.succeed("")
      if (boot.loss !== undefined) return Effect.succeed(boot.loss.console)
      return boot.hypervisor === undefined ? Effect.succeed("") : boot.hypervisor.console.tail(20)
    }),
    output,
    fs,
    scope
  }

  const inside = (boot: Boot): Machine.Machine =>
    Machine.make(
      {
        ...guest,
        shell: Effect.suspend(() => {
          const shell = running()?.shell ?? boot.shell
          return shell === undefined ? guest.shell : Effect.succeed(shell)
        })
      },
      { ...life, start: () => Effect.void },
      spec,
      environment.self.interfaces,
      snapshots
    )

  /** Waits for the end of a boot; `ask` is what brings it about, if it is not to come by itself, and `hindered` says what is in its way. */
  const untilEnded = <E>(
    awaited: string,
    on: Boot,
    options: WaitOptions | undefined,
    bring: Effect.Effect<unknown, E>,
    hindered: () => string = () => ""
  ) =>
    Effect.gen(function* () {
      const timeout = yield* timeoutOf(guest, options)
      const started = yield* Clock.currentTimeMillis
      const late = Effect.gen(function* () {
        const console = yield* guest.consoleTail
        const waited = Duration.millis((yield* Clock.currentTimeMillis) - started)
        const hindrance = isPaused(ref.life) ? pausedMessage : hindered()
        const lastSeen = hindrance === "" ? console : `${hindrance}\n${lastLines(console, 5)}`
        return yield* new WaitTimeout({ machine: spec.name, awaited, waited, lastSeen, console })
      })
      const asked = Effect.raceFirst(Effect.andThen(disconnect(bring), Effect.never), Deferred.await(on.over))
      const ended = Effect.timeoutOrElse(asked, { duration: timeout, orElse: () => late })
      yield* action(guest, `waiting for ${awaited}`, conditions.guard(ended))
    })

  const powerOff = `if [ -d /run/systemd/system ]; then systemctl --no-block poweroff
else { sleep 0.1; sync; poweroff -f; } </dev/null >/dev/null 2>&1 &
fi`
  const rebootNow = `if [ -d /run/systemd/system ]; then systemctl --no-block reboot
else { sleep 0.1; sync; reboot -f; } </dev/null >/dev/null 2>&1 &
fi`

  /**
   * Gives the guest an order that ends its shell. A power button is another way to give the one to power off. Where all lanes are in use, or the
   * guest is too busy, it is tried again; other errors may be that the power was gone before the answer was out.
   */
  const order = (
    shell: ShellService,
    command: string,
    hindered: (reason: string) => unknown,
    otherwise: Effect.Effect<unknown, unknown> = Effect.void
  ): Effect.Effect<void> =>
    shell.execute(command, { timeout: Duration.times(orderTimeout, backend.timeScale) }).pipe(
      Effect.andThen(Effect.sync(() => hindered(""))),
      Effect.asVoid,
      Effect.catch((error) => {
        hindered(error.message)
        const busy = error._tag === "CommandRejected" && error.reason === "Busy"
        const again = busy || error._tag === "CommandTimeout"
        return Effect.andThen(
          Effect.ignore(otherwise),
          again ? order(shell, command, hindered, otherwise) : Effect.void
        )
      })
    )

  /** Waits until the processes of the last boot have released what they had. */
  const released = Effect.suspend(() => {
    const supervisor = ref.life.boot?.supervisor
    return supervisor === undefined ? Effect.void : Process.awaitExit(supervisor)
  })

  const asked = (yes: boolean) => GenStatem.cast(ref.name, "asked", yes)

  /** Waits until a guest that is being reset is ready again; one that did not go down is as ready as it was. */
  const untilBack = <E>(
    on: Boot,
    options: WaitOptions | undefined,
    awaited: string,
    go: Effect.Effect<unknown, E>,
    lastSeen: Effect.Effect<string> = guest.consoleTail
  ) =>
    wait(guest, { awaited, options, until: Effect.andThen(go, untilReady(on)), lastSeen }).pipe(
      Effect.onError(() => GenStatem.cast(ref.name, "notRebooted", on.resets)),
      Effect.asVoid
    )

  const life: LifeMethods = {
    start: () =>
      Effect.suspend(() => (running() === undefined ? launch() : Effect.succeed(running()!))).pipe(
        Effect.flatMap(untilReady),
        Effect.asVoid,
        conditions.guard
      ),
    shutdown: (options) =>
      Effect.gen(function* () {
        yield* timeoutOf(guest, options)
        const on = running()
        if (on === undefined) return
        let hindered = notYet
        const bring = Effect.gen(function* () {
          const shell = yield* guest.shell
          const control = yield* controlOf(on)
          yield* asked(true)
          const button = backend.capabilities.has("powerdown") ? control.powerdown : Effect.void
          yield* order(shell, powerOff, (reason) => (hindered = reason), button)
        })
        yield* untilEnded("the machine to shut down", on, options, bring, () => hindered).pipe(
          // One that runs on does so for itself: how it ends is news again.
          Effect.onError(() => (retired ? Effect.void : asked(false)))
        )
      }),
    crash: () =>
      Effect.gen(function* () {
        const on = running()
        if (on === undefined) return
        yield* asked(true)
        yield* Effect.ignore(Effect.flatMap(hypervisorOf(on), (hypervisor) => hypervisor.kill))
        yield* Deferred.await(on.over)
        yield* released
      }),
    reboot: (options) =>
      Effect.gen(function* () {
        if (!spec.allowReboot) return yield* new RebootNotAllowed({ machine: spec.name })
        yield* timeoutOf(guest, options)
        const on = yield* Effect.flatMap(current, untilReady)
        const shell = yield* guest.shell
        let hindered = notYet
        yield* ask(ref, "rebooting", undefined)
        const go = Effect.gen(function* () {
          // The machine's process sees the reset and makes the guest ready again.
          yield* order(shell, rebootNow, (reason) => (hindered = reason))
          const { resets } = yield* controlOf(on)
          if (resets === undefined) yield* GenStatem.cast(ref.name, "reset", on.attempt)
        })
        const lastSeen = Effect.map(guest.consoleTail, (tail) =>
          hindered === "" ? tail : `${hindered}\n${lastLines(tail, 5)}`
        )
        yield* untilBack(on, options, "the guest to be ready again", go, lastSeen)
      }),
    switchRoot: (options) =>
      Effect.gen(function* () {
        yield* timeoutOf(guest, options)
        const on = yield* Effect.flatMap(current, untilReady)
        const shell = yield* guest.shell
        const run = (command: string) => withoutTimeout(shell.execute(command, { timeout: Duration.infinity }))
        const go = Effect.gen(function* () {
          if ((yield* run(SwitchRoot.untilReady)).exitCode === 3) return yield* new NotInInitrd({ machine: spec.name })
          const before = yield* run(SwitchRoot.whoAnswers)
          yield* ask(ref, "rebooting", undefined)
          const begun = yield* run(SwitchRoot.begin)
          if (begun.exitCode !== 0) {
            const command = SwitchRoot.begin
            return yield* new CommandFailed({ machine: spec.name, command, wanted: "success", ...begun })
          }
          const open = Effect.suspend(() => Effect.succeed(running()?.shell ?? shell))
          yield* SwitchRoot.untilAnother(open, before.stdout)
          yield* GenStatem.cast(ref.name, "reset", on.attempt)
        })
        yield* untilBack(on, options, "the guest to be in its real root", go)
      }),
    waitForShutdown: (options) =>
      Effect.gen(function* () {
        yield* timeoutOf(guest, options)
        const on = running()
        if (on !== undefined) yield* untilEnded("the machine to end", on, options, Effect.void)
      }),
    isUp: () => Effect.sync(() => running() !== undefined),
    pause: () =>
      Effect.gen(function* () {
        if (ref.life.boot === undefined) {
          return yield* new MachineNotRunning({ machine: spec.name, state: "stopped", action: "pause it" })
        }
        const control = yield* Effect.flatMap(current, controlOf)
        yield* guard(guest, "pausing", control.pause)
        yield* ask(ref, "paused", true)
      }),
    resume: () =>
      Effect.gen(function* () {
        if (ref.life.boot === undefined) {
          return yield* new MachineNotRunning({ machine: spec.name, state: "stopped", action: "resume it" })
        }
        const control = yield* Effect.flatMap(current, controlOf)
        yield* guard(guest, "resuming", control.resume)
        yield* ask(ref, "paused", false)
      }),
    // Subscribed to at once: what guards the stream has it read by another fiber, which would miss the state of this moment.
    state: Stream.unwrap(
      Effect.map(PubSub.subscribe(state.pubsub), (subscription) =>
        Stream.fromSubscription(subscription).pipe(Stream.changes, Stream.interruptWhen(conditions.guard(Effect.never)))
      )
    )
  }

  const snapshots = Snapshot.make(guest, {
    isPaused: guest.isPaused,
    folder: environment.snapshots,
    restart: Effect.fnUntraced(function* (from) {
      yield* life.crash()
      yield* untilReady(yield* launch(Effect.succeed({ from, identity: "kept" })))
    }),
    fork: environment.fork
  })

  const handle: Handle = {
    machine: Machine.make(guest, life, spec, environment.self.interfaces, snapshots),
    spec,
    self: environment.self,
    shape: environment.shape,
    running: Effect.suspend(() => {
      const on = running()
      if (on === undefined) return Effect.succeed(undefined)
      const parts = Effect.all({ control: controlOf(on), shell: shellOf(on) })
      return Effect.orElseSucceed(parts, () => undefined)
    }),
    refreshNames: Effect.suspend(() =>
      running() === undefined
        ? Effect.void
        : Effect.gen(function* () {
            const all = yield* environment.all
            const shell = yield* guest.shell
            yield* shell.execute(hostsScript(environment.self, all), { timeout: "1 minute" })
          }).pipe(conditions.unguarded, Effect.ignore)
    ),
    retire: Effect.suspend(() => {
      retired = true
      return asked(true)
    })
  }
  const made: Made = { handle, inside, publish }
  return made
})
