/** The library for PNGs, two dozen files that Node reads when the first picture is taken, and not before the first machine starts. */
import { createRequire } from "node:module"

const require = createRequire(import.meta.url)

/** Loads it, or gives it again. */
export const load = (): typeof import("pngjs") => require("pngjs")
