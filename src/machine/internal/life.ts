/** A machine over all its boots: what is running now, and what state that is. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
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
import * as Origin from "../Origin.ts"
import * as Snapshot from "../Snapshot.ts"
import { Boot } from "./boot.ts"
import { hostsScript } from "./identity.ts"
import * as SwitchRoot from "./switchRoot.ts"

/** How long the guest may take to accept an order that ends its shell. */
const orderTimeout = Duration.seconds(15)

const notYet = "the guest has not taken the command yet"

/** A machine that was not started yet; `launch` starts the processes of a boot. */
export const make = Effect.fnUntraced(function* (
  environment: Environment,
  launchBoot: (boot: Boot) => Effect.Effect<unknown>
) {
  const { backend, conditions, fs, output, scope, spec } = environment
  const emit = yield* MachineEvents
  const state = yield* SubscriptionRef.make<MachineState>("stopped")
  let boot: Boot | undefined
  let retired = false
  let starts = 0

  /** What whoever reports was told last. */
  let reported = { state: "stopped", detail: "" }

  const onState = (next: MachineState, detail: string) =>
    Effect.gen(function* () {
      yield* SubscriptionRef.set(state, next)
      if (retired || (reported.state === next && reported.detail === detail)) return
      reported = { state: next, detail }
      yield* emit({ _tag: "MachineState", machine: spec.name, state: next, detail })
    })

  const running = (): Boot | undefined => (boot?.isOver === false ? boot : undefined)

  const launchFrom = (origin: Effect.Effect<Origin.Origin, never, Scope.Scope>) =>
    Effect.suspend(() => {
      const next = new Boot({ machine: spec.name, onState }, origin, inside)
      boot = next
      // Reported by the hypervisor's process, which knows whether it boots at all.
      return Effect.andThen(SubscriptionRef.set(state, "booting"), Effect.as(launchBoot(next), next))
    })

  const launch = Effect.suspend(() => {
    starts += 1
    return launchFrom((environment.origins ?? Origin.boots)(starts))
  })

  /** The boot that is on; a machine that was never started is started, one that ended says how. */
  const current: Effect.Effect<Boot, Unavailable> = Effect.suspend((): Effect.Effect<Boot, Unavailable> => {
    if (boot === undefined) return launch
    if (!boot.isOver) return Effect.succeed(boot)
    if (!boot.asked) return boot.lost
    return new MachineNotRunning({ machine: spec.name, state: "stopped", action: "use it" })
  })

  const guest: Guest = {
    name: spec.name,
    backend,
    emit,
    shell: conditions.guard(Effect.flatMap(current, (on) => Effect.andThen(on.ready.get, on.shell.get))),
    hypervisor: conditions.guard(Effect.flatMap(current, (on) => on.hypervisor.get)),
    console: Effect.suspend(() =>
      boot?.console === undefined
        ? Effect.map(guest.hypervisor, ({ console }) => console)
        : Effect.succeed(boot.console)
    ),
    shellLost: Effect.suspend(() => running()?.onShellLost ?? Effect.void),
    died: Effect.suspend(() => boot?.lost ?? Effect.never),
    isPaused: Effect.sync(() => running()?.isPaused === true),
    conditions,
    consoleTail: Effect.suspend(() =>
      boot === undefined
        ? Effect.succeed("")
        : boot.hypervisor.get.pipe(
            Effect.flatMap((hypervisor) => hypervisor.console.tail(20)),
            Effect.catch((loss) => Effect.succeed(loss.console)),
            Effect.timeoutOrElse({ duration: "1 second", orElse: () => Effect.succeed("") })
          )
    ),
    output,
    fs,
    scope
  }

  /** Does not wait until the machine is ready, nor start it: for what makes it ready. */
  const inside = (on: Boot): Machine.Machine =>
    Machine.make(
      { ...guest, shell: on.shell.get, hypervisor: on.hypervisor.get },
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
    ask: Effect.Effect<unknown, E>,
    hindered: () => string = () => ""
  ) =>
    Effect.gen(function* () {
      const timeout = yield* timeoutOf(guest, options)
      const started = yield* Clock.currentTimeMillis
      const late = Effect.gen(function* () {
        const console = yield* guest.consoleTail
        const waited = Duration.millis((yield* Clock.currentTimeMillis) - started)
        const hindrance = on.isPaused ? pausedMessage : hindered()
        const lastSeen = hindrance === "" ? console : `${hindrance}\n${lastLines(console, 5)}`
        return yield* new WaitTimeout({ machine: spec.name, awaited, waited, lastSeen, console })
      })
      const asked = Effect.raceFirst(Effect.andThen(disconnect(ask), Effect.never), on.ended)
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

  const life: LifeMethods = {
    start: () =>
      Effect.suspend(() => (running() === undefined ? launch : Effect.succeed(running()!))).pipe(
        Effect.flatMap((on) => on.ready.get),
        conditions.guard
      ),
    shutdown: (options) =>
      Effect.gen(function* () {
        yield* timeoutOf(guest, options)
        const on = running()
        if (on === undefined) return
        let hindered = notYet
        const ask = Effect.gen(function* () {
          const shell = yield* guest.shell
          const hypervisor = yield* on.hypervisor.get
          on.asked = true
          const button = backend.capabilities.has("powerdown") ? hypervisor.powerdown : Effect.void
          yield* order(shell, powerOff, (reason) => (hindered = reason), button)
        })
        yield* untilEnded("the machine to shut down", on, options, ask, () => hindered).pipe(
          // One that goes on does so for itself: how it ends is news again.
          Effect.onError(() => Effect.sync(() => (on.asked = on.asked && (on.isOver || retired))))
        )
      }),
    crash: () =>
      Effect.gen(function* () {
        const on = running()
        if (on === undefined) return
        on.asked = true
        yield* Effect.ignore(Effect.flatMap(on.hypervisor.get, (hypervisor) => hypervisor.kill))
        yield* on.ended
      }),
    reboot: (options) =>
      Effect.gen(function* () {
        if (!spec.allowReboot) return yield* new RebootNotAllowed({ machine: spec.name })
        yield* timeoutOf(guest, options)
        const on = yield* current
        const shell = yield* guest.shell
        const { resets } = on
        let hindered = notYet
        on.ready.takeBack()
        yield* on.state("booting")
        yield* wait(guest, {
          awaited: "the guest to be ready again",
          options,
          until: Effect.gen(function* () {
            // The guest's machine process sees the reset and makes it ready again.
            yield* order(shell, rebootNow, (reason) => (hindered = reason))
            const hypervisor = yield* on.hypervisor.get
            if (hypervisor.control === undefined) yield* on.rebooted
            yield* on.ready.get
          }),
          lastSeen: Effect.map(guest.consoleTail, (tail) =>
            hindered === "" ? tail : `${hindered}\n${lastLines(tail, 5)}`
          )
        }).pipe(
          // One that did not go down is as ready as it was.
          Effect.onError(() =>
            on.resets !== resets || on.isOver
              ? Effect.void
              : Effect.andThen(
                  Effect.sync(() => on.ready.give()),
                  on.state("ready")
                )
          )
        )
      }),
    switchRoot: (options) =>
      Effect.gen(function* () {
        yield* timeoutOf(guest, options)
        const on = yield* current
        const shell = yield* guest.shell
        const ask = (command: string) => withoutTimeout(shell.execute(command, { timeout: Duration.infinity }))
        let moved = false
        const go = Effect.gen(function* () {
          if ((yield* ask(SwitchRoot.untilReady)).exitCode === 3) return yield* new NotInInitrd({ machine: spec.name })
          const before = yield* ask(SwitchRoot.whoAnswers)
          on.ready.takeBack()
          yield* on.state("booting")
          const begun = yield* ask(SwitchRoot.begin)
          if (begun.exitCode !== 0) {
            const command = SwitchRoot.begin
            return yield* new CommandFailed({ machine: spec.name, command, wanted: "success", ...begun })
          }
          yield* SwitchRoot.untilAnother(on.shell.get, before.stdout)
          moved = true
          yield* on.rebooted
          yield* on.ready.get
        })
        yield* wait(guest, {
          awaited: "the guest to be in its real root",
          options,
          until: go,
          lastSeen: guest.consoleTail
        }).pipe(
          // It is where it was: what waits for it may go on.
          Effect.onError(() =>
            moved || on.isOver
              ? Effect.void
              : Effect.andThen(
                  Effect.sync(() => on.ready.give()),
                  on.state("ready")
                )
          )
        )
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
        if (boot === undefined) {
          return yield* new MachineNotRunning({ machine: spec.name, state: "stopped", action: "pause it" })
        }
        const on = yield* current
        const hypervisor = yield* on.hypervisor.get
        yield* guard(guest, "pausing", hypervisor.pause)
        yield* on.paused
      }),
    resume: () =>
      Effect.gen(function* () {
        if (boot === undefined) {
          return yield* new MachineNotRunning({ machine: spec.name, state: "stopped", action: "resume it" })
        }
        const on = yield* current
        const hypervisor = yield* on.hypervisor.get
        yield* guard(guest, "resuming", hypervisor.resume)
        yield* on.resumed
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
      const on = yield* launchFrom(Effect.succeed({ from, identity: "kept" }))
      yield* on.ready.get
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
      const parts = Effect.all({ hypervisor: on.hypervisor.get, shell: on.shell.get })
      return Effect.orElseSucceed(Effect.andThen(on.ready.get, parts), () => undefined)
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
    retire: Effect.sync(() => {
      retired = true
      if (boot !== undefined) boot.asked = true
    })
  }
  return handle
})
