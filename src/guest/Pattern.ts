/**
 * What a test looks for in a text: a string, which is matched literally, or a regular expression.
 *
 * **Example** (A string and a regular expression)
 *
 * ```ts
 * matchIn("1.5", "version 1x5") // undefined
 * matchIn(/1.5/, "version 1x5") // "1x5"
 * ```
 *
 * @since 0.1.0
 */
import { isRegExp } from "node:util/types"
import * as Schema from "effect/Schema"

/** An empty pattern, such as a variable that is not set, would match every text. The prompt of `vmtest resume` has a realm of its own. */
export const Pattern = Schema.declare<RegExp | string>(
  (value): value is RegExp | string =>
    isRegExp(value) ? value.source !== "(?:)" : typeof value === "string" && value !== "",
  { expected: "a string or a regular expression that is not empty: an empty one matches every text" }
)

/** A string, which is matched literally, or a regular expression. */
export type Pattern = typeof Pattern.Type

/** A pattern in a message. */
export const shown = (pattern: Pattern): string =>
  typeof pattern === "string" ? JSON.stringify(pattern) : String(pattern)

/** The first match of a pattern, wherever the last match of a RegExp ended. */
export const matchIn = (pattern: Pattern, text: string): string | undefined => {
  if (typeof pattern === "string") return text.includes(pattern) ? pattern : undefined
  return new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, "")).exec(text)?.[0]
}
