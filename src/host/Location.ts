/**
 * Places in scripts, and how messages begin with them.
 *
 * **Example** (a message about a place)
 *
 * ```ts
 * Location.before({ file: "/home/me/web.ts", line: 3, column: 16 }, "unknown option") // "web.ts:3:16: unknown option", in /home/me
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as OutputFolder from "./OutputFolder.ts"

/** A place in a script: its file by its full path; line and column count from 1. */
export const Location = Schema.Struct({ file: Schema.String, line: Schema.Int, column: Schema.Int })

/** A place in a script: its file by its full path; line and column count from 1. */
export interface Location extends Schema.Schema.Type<typeof Location> {}

/** A message after the place that it is about, if that is known. */
export const before = (location: Location | undefined, message: string): string =>
  location === undefined
    ? message
    : `${OutputFolder.shown(location.file)}:${location.line}:${location.column}: ${message}`
