/** What the bodies of both kinds of supervisors share. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ExitReason from "../../ExitReason.ts"
import type { ProcessImpl } from "../process/process.ts"
import type { Init } from "../process/start.ts"

/** The body of a supervisor's process. Its `options` give `undefined` when there is nothing to supervise; `begin` checks them and serves. */
export const supervisorBody =
  <Raw>(begin: (process: ProcessImpl, init: Init, raw: Raw) => Effect.Effect<unknown, unknown>) =>
  (options: Effect.Effect<Raw | undefined, unknown>) =>
  (process: ProcessImpl, init: Init): Effect.Effect<unknown, unknown> => {
    process.trapExit = true
    return Effect.flatMap(options, (raw): Effect.Effect<unknown, unknown> => {
      if (raw !== undefined) return begin(process, init, raw)
      init.ignore()
      return Exit.void
    })
  }

/** Ends the process with this reason. */
export const fail = (reason: ExitReason.ExitReason) => Exit.die(new ExitReason.ExitDefect(reason))
