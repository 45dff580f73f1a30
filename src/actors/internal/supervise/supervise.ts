/**
 * The body of a supervisor's process: checks its options, starts its children, and then serves.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as ExitReason from "../../ExitReason.ts"
import { fail, supervisorBody } from "./body.ts"
import { checkFlags, checkSpecs } from "./childSpec.ts"
import { SupervisorLoop } from "./supervisor.ts"

/** Options as they come, unchecked. */
export type RawOptions = Readonly<Record<string, unknown>> & { readonly children: ReadonlyArray<unknown> }

/** A supervisor's body. `options` gives `undefined` when there is nothing to supervise. */
export const supervise = supervisorBody((process, init, raw: RawOptions) => {
  if (typeof raw !== "object" || raw === null || !Array.isArray(raw.children)) {
    return fail(ExitReason.badReturn(raw))
  }
  const flags = checkFlags(raw)
  if (Result.isFailure(flags)) return fail(ExitReason.custom(flags.failure))
  const loop = new SupervisorLoop(process, flags.success)
  const specs = checkSpecs(raw.children, flags.success)
  if (Result.isFailure(specs)) return fail(ExitReason.custom(specs.failure))
  process.details = () => ({ strategy: loop.flags.strategy, restarts: loop.intensity.total })
  if (loop.children.simple) {
    loop.children.template = specs.success[0]
    init.done()
    return loop.guarded()
  }
  return Effect.flatMap(loop.startAll(specs.success), (failed) => {
    if (failed !== undefined) return fail(failed)
    init.done()
    return loop.guarded()
  })
})
