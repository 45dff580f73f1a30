/** What makes a guest with a shell ready: the machine that the test declared, settled and warm. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as GenStatem from "../../actors/GenStatem.ts"
import type { ControlService } from "../../backends/Backend.ts"
import type { ShellService } from "../../transport/Shell.ts"
import { ShellError } from "../../transport/ShellError.ts"
import type { Machine } from "../Machine.ts"
import type { Environment } from "../MachineTree.ts"
import type { Boot, Step } from "./boot.ts"
import * as Identity from "./identity.ts"
import { ask, type MachineRef } from "./protocol.ts"
import { savingWhenIdle, settle } from "./settle.ts"

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
}

/** The message of what went wrong first. */
const messageOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}

/** Tells the guest who it is. One that was resumed from a snapshot is made itself once; when it reboots it has booted. */
const identify = Effect.fnUntraced(function* ({ boot, environment, shell }: ReadinessOptions) {
  const { from, identity: who } = boot.origin
  const all = yield* environment.all
  const identity = { self: environment.self, all, internet: environment.spec.internet }
  const run = (script: string) =>
    shell.execute(script, { timeout: who === "new" ? keysTimeout : identityTimeout }).pipe(
      // The guest may be lost, found again and asked again.
      Effect.retry({ schedule: identitySchedule, while: isShellError })
    )
  const identified =
    from === undefined || boot.done.has("identified")
      ? run(Identity.identityScript(identity))
      : who === "kept"
        ? Identity.restore(run)
        : Identity.fork(run, identity, { newHostKeys: who === "new" })
  const result = yield* Effect.mapError(identified, ({ message }) => message)
  if (result.exitCode === 0) return
  const said = result.stderr.trim()
  return yield* Effect.fail(said.startsWith("its ") ? said : `could not set up its network: ${said}`)
})

/** Makes the guest what the test declared, and again after each of its reboots. Fails with the reason why it cannot be. */
export const make = (options: ReadinessOptions): Effect.Effect<void, string> =>
  Effect.gen(function* () {
    const { boot, environment, inside, ref, shell } = options
    const { onSettled, warmUp } = boot.origin
    const done = (step: Step) => GenStatem.cast(ref.name, "step", { attempt: boot.attempt, step })
    const control: Effect.Effect<ControlService, string> = Effect.map(
      Effect.mapError(ask(ref, "control", boot.number), ({ message }) => message),
      (control) => savingWhenIdle(control, shell)
    )
    yield* identify(options)
    yield* done("identified")
    if (onSettled !== undefined && !boot.done.has("settled")) {
      yield* settle(shell, environment.backend.timeScale)
      yield* onSettled(yield* control)
    }
    yield* done("settled")
    if (warmUp !== undefined && !boot.done.has("warm")) {
      yield* Effect.catchCause(warmUp(inside, yield* control), (cause) =>
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
    yield* shell.reset("the guest rebooted")
    yield* shell
      .execute(":", { timeout: "Infinity" })
      .pipe(Effect.retry({ schedule: identitySchedule, while: isShellError }))
  }).pipe(Effect.orDie)
