/** What a test looks for in a text: a string, taken literally, or a regular expression. */
import { isRegExp } from "node:util/types"
import * as Schema from "effect/Schema"

/** An empty one, as of a variable that is not set, is found in any text. Those of the prompt of `vmtest resume` come from a realm of their own. */
export const Pattern = Schema.declare<RegExp | string>(
  (value): value is RegExp | string =>
    isRegExp(value) ? value.source !== "(?:)" : typeof value === "string" && value !== "",
  { expected: "a string or a regular expression that is not empty: an empty one is found in any text" }
)

/** A string, taken literally, or a regular expression. */
export type Pattern = typeof Pattern.Type

/** As messages name it. */
export const shown = (pattern: Pattern): string =>
  typeof pattern === "string" ? JSON.stringify(pattern) : String(pattern)

/** What a pattern matches first; it does not depend on where the last match ended. */
export const matchIn = (pattern: Pattern, text: string): string | undefined => {
  if (typeof pattern === "string") return text.includes(pattern) ? pattern : undefined
  return new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, "")).exec(text)?.[0]
}
