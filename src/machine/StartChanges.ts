/**
 * What is different at one start of a machine with a start script: another command, other variables.
 *
 * **Example** (A variable that a script has set since its machine was made)
 *
 * ```ts
 * const web = driver.machine("web", { image: Image.startScript("./run-web-vm") }).pipe(
 *   Effect.provideService(StartChanges, () => Effect.succeed({ env: { NIX_DISK_IMAGE: "/tmp/disk.qcow2" } }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { MachineShape } from "../backends/Backend.ts"

/** What is different at one start. */
export interface Changes {
  /** The command line to run instead. Default: that of the image. */
  readonly command?: string | undefined
  /** Environment variables in addition to those of the image; null takes one away. */
  readonly env?: Readonly<Record<string, string | null>> | undefined
  /** Whether a reboot of the guest keeps the machine. Default: as it is declared. A machine that may reboot at any start is declared with `allowReboot`. */
  readonly allowReboot?: boolean | undefined
}

/** Asked before each start of a machine, by its name. */
export type BeforeStart = (machine: string) => Effect.Effect<Changes>

/** What the machines are asked for that are made where it is provided. Default: no changes. */
export const StartChanges = Context.Reference<BeforeStart>("vmtest/machine/StartChanges", {
  defaultValue: () => () => Effect.succeed({})
})

/** The shape of a machine at this start. */
export const apply = (shape: MachineShape): Effect.Effect<MachineShape> =>
  Effect.gen(function* () {
    const { startScript } = shape.image
    if (startScript === undefined) return shape
    const {
      allowReboot = shape.allowReboot,
      command = startScript.command,
      env
    } = yield* (yield* StartChanges)(shape.name)
    const { runner, takes, ...rest } = startScript
    const changed = {
      ...rest,
      ...{ command, env: { ...startScript.env, ...env } },
      // A command line of the caller's takes arguments, whatever the script before it did; one with more words is still that of a runner.
      takes: command === startScript.command ? takes : ("arguments" as const),
      ...(runner !== undefined && command.startsWith(startScript.command) ? { runner } : {})
    }
    return { ...shape, allowReboot, image: { ...shape.image, startScript: changed } }
  })
