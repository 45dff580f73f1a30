/** Which values of programs and of lines at the prompt are Effects that are still to be run. */
import { isNativeError } from "node:util/types"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

export type AnyEffect = Effect.Effect<unknown, unknown, unknown>

/** An Effect that is not itself a result: tagged errors, which `Effect.flip` gives, and the failed Exits of `Effect.exit` are Effects too. */
export const isToRun = (value: unknown): value is AnyEffect =>
  Effect.isEffect(value) && !isNativeError(value) && !(Exit.isExit(value) && Exit.isFailure(value))
