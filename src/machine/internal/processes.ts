/** The processes of one boot; `MachineTree` supervises them. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as ExitReason from "../../actors/ExitReason.ts"
import * as Process from "../../actors/Process.ts"
import { Deadlines } from "../../guest/Deadlines.ts"
import { MachineEvents } from "../../guest/MachineEvent.ts"
import type { ShellService } from "../../transport/Shell.ts"
import type { Environment } from "../MachineTree.ts"
import type { Origin } from "../Origin.ts"
import type { Boot } from "./boot.ts"
import * as Identity from "./identity.ts"
import { savingAtRest, settle } from "./settle.ts"
import { start } from "./start.ts"

/** Ends this process as its supervisor would: nothing is to be restarted because of it. */
const stop = Process.exit(ExitReason.shutdown)

/** The guest did not come up: nobody can use it any more, and its processes end with its hypervisor. */
const giveUp = (boot: Boot, reason: string, ofSilence = "") =>
  Effect.gen(function* () {
    const running = yield* boot.hypervisor.get
    const tail = yield* running.console.tail(80)
    yield* boot.fail(tail.trim() === "" ? reason + ofSilence : reason, tail)
    yield* running.kill
    return yield* stop
  })

/** Of a guest that was waited for, and whose kernel was told to be quiet. */
const howToHear =
  '; its console is silent: an image with kernelParameters: "loglevel=7 systemd.show_status=1" has more on it'

/** What a state has to say of a guest that has not booted since it went on from a saved one. */
const detailOf = ({ from }: Origin): string => (from === undefined ? "" : "forked")

/** Owns the hypervisor: while it lives, so does this process, and the other way round. */
export const hypervisor = (boot: Boot, environment: Environment) =>
  Effect.gen(function* () {
    const emit = yield* MachineEvents
    // Runs last of all when this process is ended from outside, after the hypervisor is gone.
    yield* Effect.addFinalizer(() => boot.end({ exitCode: undefined, signal: "SIGKILL", consoleTail: "", stderr: "" }))
    const { hypervisor: started, origin } = yield* start(environment, yield* boot.comesFrom, (from) =>
      boot.state("booting", detailOf(from))
    ).pipe(Effect.catch(({ reason }) => Effect.andThen(boot.fail(reason, ""), stop)))
    boot.origin = origin
    boot.console = started.console
    boot.hypervisor.give(started)
    yield* started.console.stream.pipe(
      Stream.splitLines,
      // What the saved machine had printed was told when that one ran. Its last line may go on.
      Stream.drop((started.console.inherited ?? 1) - 1),
      Stream.runForEach((line) => emit({ _tag: "ConsoleLine", machine: environment.spec.name, line })),
      Effect.forkScoped
    )
    yield* boot.end(yield* started.exited)
    return yield* stop
  }).pipe(
    // A defect of the backend is news; that this process was told to end is not.
    Effect.tapCause((cause) =>
      Cause.hasDies(cause) ? boot.fail(`its hypervisor's process crashed: ${Cause.pretty(cause)}`, "") : Effect.void
    )
  )

const Reset = Schema.Struct({ event: Schema.Literal("RESET"), data: Schema.Struct({ guest: Schema.Boolean }) })
const isReset = Schema.is(Reset)

/** Listens to the hypervisor's events. A guest that resets itself was rebooted. */
export const control = (boot: Boot) =>
  Effect.gen(function* () {
    const { control: channel } = yield* boot.hypervisor.get
    if (channel === undefined) return yield* Effect.never
    yield* Stream.runForEach(channel.events, (event) => (isReset(event) ? boot.rebooted : Effect.void))
    // The channel ended. If that is because the hypervisor did, its own process says so first.
    yield* Effect.sleep("2 seconds")
    return yield* Effect.die(new Error("the control channel ended"))
  }).pipe(Effect.catch(() => stop))

/** Owns the channel to the guest's shells. */
export const shells = (boot: Boot, environment: Environment) =>
  Effect.gen(function* () {
    const running = yield* boot.hypervisor.get
    const deadlines = yield* Deadlines
    const limit = Duration.times(deadlines.boot, environment.backend.timeScale)
    const shell = yield* running.shell.pipe(
      Effect.timeoutOrElse({
        duration: limit,
        orElse: () => giveUp(boot, `its shell did not answer within ${Duration.format(limit)}`, howToHear)
      }),
      // The console is evidence of its own, and so is the machine's name.
      Effect.catch((error) =>
        giveUp(boot, error.message.split("\n")[0]!.replace(`${environment.spec.name}: `, ""), howToHear)
      )
    )
    yield* Effect.addFinalizer(() => Effect.sync(() => (boot.isOver ? undefined : boot.shell.takeBack())))
    boot.shell.give(shell)
    boot.onShellLost = Process.send(yield* Process.self, "lost")
    // A shell mends itself where it can; one that cannot is opened anew by the process that replaces this one.
    while (true) {
      yield* Process.receive()
      yield* shell.execute(":", { timeout: Duration.times(Duration.seconds(30), environment.backend.timeScale) }).pipe(
        // Commands that take their time on all lanes are no reason to lose them.
        Effect.catchIf(
          (error) => error._tag === "CommandRejected" && error.reason === "Busy",
          () => Effect.void
        ),
        Effect.orDie
      )
    }
  }).pipe(Effect.catch(() => stop))

/** The message of what went wrong first. */
const messageOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}

/** A guest that goes on from a saved one is made itself once; when it reboots it is one that has booted. */
const tellWho = (boot: Boot, shell: ShellService, identity: Parameters<typeof Identity.identityScript>[0]) => {
  const { from, identity: who } = boot.origin
  // Long keys take an emulated guest on a busy host minutes.
  const run = (script: string) => shell.execute(script, { timeout: who === "new" ? "10 minutes" : "2 minutes" })
  if (from === undefined || boot.renewed) return run(Identity.identityScript(identity))
  return who === "kept" ? Identity.restore(run) : Identity.fork(run, identity, { newHostKeys: who === "new" })
}

/** Makes the guest what the test declared, and again after each of its reboots. */
export const machine = (boot: Boot, environment: Environment) =>
  Effect.gen(function* () {
    const self = yield* Process.self
    boot.onReset = Process.send(self, "reset")
    yield* Effect.addFinalizer(() => Effect.sync(() => (boot.isOver ? undefined : boot.ready.takeBack())))
    const limit = Duration.times((yield* Deadlines).boot, environment.backend.timeScale)
    /** Ends a boot that does not get on: one deadline until the guest is ready, however often this process is started again. */
    const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        boot.begun ??= now
        const left = Duration.toMillis(limit) - (now - boot.begun)
        const late = Effect.suspend(() => {
          const what = boot.resets > 0 ? "come back after its reboot" : "take its name and addresses"
          return giveUp(boot, `it did not ${what} within ${Duration.format(limit)}`, howToHear)
        })
        return yield* Effect.timeoutOrElse(effect, { duration: Math.max(left, 0), orElse: () => late })
      })
    const identify = Effect.gen(function* () {
      const shell = yield* boot.shell.get
      const all = yield* environment.all
      const who = { self: environment.self, all, internet: environment.spec.internet }
      const result = yield* inTime(tellWho(boot, shell, who))
      if (result.exitCode !== 0) {
        const said = result.stderr.trim()
        return yield* giveUp(boot, said.startsWith("its ") ? said : `its network could not be set up: ${said}`)
      }
      boot.renewed = true
      yield* boot.once("settled", (origin, running) =>
        origin.onSettled === undefined
          ? Effect.void
          : Effect.andThen(settle(shell, environment.backend.timeScale), origin.onSettled(savingAtRest(running, shell)))
      )
      yield* boot.once("warm", ({ warmUp }, running) =>
        (warmUp?.(boot.inside(), savingAtRest(running, shell)) ?? Effect.void).pipe(
          Effect.catchCause((cause) =>
            Cause.hasInterrupts(cause)
              ? Effect.failCause(cause as Cause.Cause<never>)
              : giveUp(boot, `its warm-up failed: ${messageOf(cause)}`)
          )
        )
      )
      // Told first: a test may be over before whoever waits for it has had a turn.
      yield* boot.state("ready", boot.resets > 0 ? "" : detailOf(boot.origin))
      boot.begun = undefined
      boot.ready.give()
    })
    yield* identify
    while (true) {
      yield* Process.receive()
      // It may have waited for what is done once in a boot.
      boot.begun = undefined
      yield* inTime(
        Effect.gen(function* () {
          const shell = yield* boot.shell.get
          yield* shell.reset("the guest rebooted")
          yield* shell.execute(":", { timeout: Duration.infinity })
        })
      )
      // A kernel tries several ways to reset its machine; those that came before its shell is back are one reboot.
      yield* Effect.forever(Process.receiveWithin(0, () => true)).pipe(
        Effect.catchTag("ReceiveTimeout", () => Effect.void)
      )
      yield* identify
    }
  }).pipe(Effect.catchTag(["MachineDied", "BootFailed"], () => stop))
