/** What a test looks for in a text: a string, taken literally, or a regular expression. */
import { isRegExp } from "node:util/types"
import * as Effect from "effect/Effect"
import type { Guest } from "./Guest.ts"
import { InvalidArgument } from "./MachineError.ts"

export type Pattern = RegExp | string

/** As messages name it. */
export const shown = (pattern: Pattern): string =>
  typeof pattern === "string" ? JSON.stringify(pattern) : String(pattern)

/** Of an empty one, as of a variable that is not set, every text has a match. */
const problem = (pattern: unknown): string | undefined => {
  if (typeof pattern !== "string" && !isRegExp(pattern)) return "is neither a string nor a regular expression"
  const empty = typeof pattern === "string" ? pattern === "" : pattern.source === "(?:)"
  return empty ? "is empty, and would be found in anything" : undefined
}

/** Refuses what nobody can mean to look for. */
export const check = (guest: Pick<Guest, "name">, argument: string, pattern: Pattern) =>
  Effect.suspend((): Effect.Effect<void, InvalidArgument> => {
    const reason = problem(pattern)
    return reason === undefined
      ? Effect.void
      : Effect.fail(new InvalidArgument({ machine: guest.name, argument, value: String(pattern), reason }))
  })

/** What a pattern matches first; it does not depend on where the last match ended. */
export const matchIn = (pattern: Pattern, text: string): string | undefined => {
  if (typeof pattern === "string") return text.includes(pattern) ? pattern : undefined
  return new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, "")).exec(text)?.[0]
}
