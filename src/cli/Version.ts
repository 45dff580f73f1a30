/**
 * The version of the package, apart from the command line's grammar, which the library need not load for it.
 *
 * **Example** (A line for a log)
 *
 * ```ts
 * const line = `vmtest ${version}`
 * ```
 *
 * @since 0.1.0
 */
import { readFileSync } from "node:fs"

/** The version of the package this module is part of. */
export const version: string = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version
