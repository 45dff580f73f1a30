/** The states of a machine that runs, and what is asked of them. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as ExitReason from "../../actors/ExitReason.ts"
import * as Process from "../../actors/Process.ts"
import type { Running } from "./boot.ts"
import * as Boot from "./boot.ts"

export const withBoot = <L extends Running>(life: L, changes: Partial<Boot.Boot>): L => ({
  ...life,
  boot: { ...life.boot, ...changes }
})

/** Ends the span of a boot, unless it has ended. */
export const endSpan = ({ origin, span }: Boot.Boot, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Effect.map(Clock.currentTimeNanos, (now) => {
    if (span.status._tag === "Ended") return
    span.attribute("vmtest.forked", origin.from !== undefined)
    span.end(now, exit)
  })

/** Whether it is not known yet that the guest was really resumed from its snapshot, and it can boot instead. */
export const mayBoot = ({ boot }: Running): boolean =>
  boot.origin.from !== undefined &&
  boot.origin.otherwise !== undefined &&
  boot.shell === undefined &&
  boot.done.size === 0

export const cancel = (life: Running): Effect.Effect<void> =>
  "task" in life && life.task !== undefined ? Process.exit(life.task.pid, ExitReason.kill) : Effect.void

export const coming = (life: Running, phase: Boot.Phase, boot: Boot.Boot, task?: Boot.Coming["task"]): Running => ({
  _tag: Boot.isPaused(life) ? "PausedInBoot" : "Booting",
  boot,
  phase,
  task
})
