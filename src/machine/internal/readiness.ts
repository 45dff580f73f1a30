/** What makes a guest with a shell ready: the machine that the test declared, settled and warm. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as GenStatem from "../../actors/GenStatem.ts"
import type { ControlService } from "../../backends/Backend.ts"
import * as Thrown from "../../host/Thrown.ts"
import { progressSchedule, quietBoot, type ShellService } from "../../transport/Shell.ts"
import { rebootedReason, ShellError } from "../../transport/ShellError.ts"
import type { Machine } from "../Machine.ts"
import type { Environment } from "../MachineTree.ts"
import type { Boot, Step } from "./boot.ts"
import * as Identity from "./identity.ts"
import { ask, type MachineRef } from "./protocol.ts"
import { savingWhenIdle, settle, unsettled } from "./settle.ts"

const isShellError = Schema.is(ShellError)

/** How a guest whose shell was lost while it was given its identity is tried again: every quarter of a second, until the boot is late. */
export const identitySchedule = Schedule.spaced("250 millis")

/** Long keys take an emulated guest on a busy host minutes. */
const keysTimeout = "10 minutes"
const identityTimeout = "2 minutes"

/** What makes a boot ready. */
export interface ReadinessOptions {
  readonly ref: MachineRef
  readonly boot: Boot
  readonly shell: ShellService
  readonly environment: Environment
  /** The machine as only what makes it ready may use it: its commands do not wait until it is ready. */
  readonly inside: Machine
  /** Reports what a boot that takes long waits for. */
  readonly progress: (detail: string) => Effect.Effect<void>
}

/** The message of what went wrong first. */
const messageOf = (cause: Cause.Cause<unknown>): string => Thrown.messageOf(Cause.squash(cause))

/** Tells the guest who it is, unless it knows that by itself. One that was resumed from a snapshot is made itself once; when it reboots it has booted. */
const identify = Effect.fnUntraced(function* ({ boot, environment, shell }: ReadinessOptions) {
  const { from, identity: who } = boot.origin
  const all = yield* environment.all
  const identity = { self: environment.self, all, internet: environment.spec.internet }
  const run = (script: string) =>
    shell.execute(script, { timeout: who === "new" ? keysTimeout : identityTimeout }).pipe(
      // The guest may be lost, found again and asked again.
      Effect.retry({ schedule: identitySchedule, while: isShellError })
    )
  const isOwn = environment.shape.image.guest === "script"
  if (isOwn && (from === undefined || boot.done.has("identified"))) return
  const identified = isOwn
    ? Identity.renewed(run, { machineId: who !== "kept" })
    : from === undefined || boot.done.has("identified")
      ? run(Identity.identityScript(identity))
      : who === "kept"
        ? Identity.restore(run)
        : Identity.fork(run, identity, { newHostKeys: who === "new" })
  const result = yield* Effect.mapError(identified, ({ message }) => message)
  if (result.exitCode === 0) return
  const said = result.stderr.trim()
  return yield* Effect.fail(said.startsWith("its ") ? said : `could not set up its network: ${said}`)
})

/** Reports what an effect that takes long does: when it has taken 10 s, 20 s, 40 s, and then every 30 s. */
const telling =
  ({ progress }: ReadinessOptions, doing: Effect.Effect<string>) =>
  <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.flatMap(Clock.currentTimeMillis, (begun) => {
      const tell = Effect.gen(function* () {
        const what = yield* doing
        const seconds = Math.round(((yield* Clock.currentTimeMillis) - begun) / 1000)
        yield* progress(`${what}; it has taken ${seconds} s so far`)
      })
      const reports = Effect.andThen(Effect.delay(tell, quietBoot), Effect.schedule(tell, progressSchedule))
      return Effect.acquireUseRelease(Effect.forkChild(reports), () => effect, Fiber.interrupt)
    })

/** Waits until the guest has come to rest, and saves it for later runs. */
const settled = (
  options: ReadinessOptions,
  onSettled: (control: ControlService) => Effect.Effect<void>,
  control: Effect.Effect<ControlService, string>
): Effect.Effect<void, string> => {
  const { boot, environment, shell } = options
  const { untimed = (effect) => effect } = boot.origin
  const saving = Effect.flatMap(control, onSettled).pipe(
    telling(options, Effect.succeed("its guest is ready, and is saved for later runs"))
  )
  return untimed(
    Effect.andThen(settle(shell, environment.backend.timeScale).pipe(telling(options, unsettled(shell))), saving)
  )
}

/** Makes the guest what the test declared, and again after each of its reboots. Fails with the reason why it cannot be. */
export const make = (options: ReadinessOptions): Effect.Effect<void, string> =>
  Effect.gen(function* () {
    const { boot, inside, ref, shell } = options
    const { onSettled, warmUp } = boot.origin
    const done = (step: Step) => GenStatem.cast(ref.name, "step", { attempt: boot.attempt, step })
    const control: Effect.Effect<ControlService, string> = Effect.map(
      Effect.mapError(ask(ref, "control", boot.number), ({ message }) => message),
      (control) => savingWhenIdle(control, shell)
    )
    if (!boot.done.has("identified")) yield* boot.origin.onAnswer ?? Effect.void
    yield* identify(options).pipe(
      telling(options, Effect.succeed("its shell answers, and it is given its name and addresses"))
    )
    yield* done("identified")
    if (onSettled !== undefined && !boot.done.has("settled")) yield* settled(options, onSettled, control)
    yield* done("settled")
    if (warmUp !== undefined && !boot.done.has("warm")) {
      const warming = warmUp(inside, yield* control).pipe(telling(options, Effect.succeed("its warm-up runs")))
      yield* Effect.catchCause(warming, (cause) =>
        Cause.hasInterrupts(cause)
          ? Effect.failCause(cause as Cause.Cause<never>)
          : Effect.fail(`its warm-up failed: ${messageOf(cause)}`)
      )
    }
    yield* done("warm")
  })

/** Waits until the shell of a guest that was reset answers again. */
export const returned = (shell: ShellService): Effect.Effect<void, string> =>
  Effect.gen(function* () {
    yield* shell.reset(rebootedReason)
    yield* shell
      .execute(":", { timeout: "Infinity" })
      .pipe(Effect.retry({ schedule: identitySchedule, while: isShellError }))
  }).pipe(Effect.orDie)
