/**
 * Which files are vmtest's own: no line of theirs is a line of the user's script.
 *
 * **Example** (A frame of a stack)
 *
 * ```ts
 * OwnFiles.has("/home/me/project/web.ts") // false
 * ```
 *
 * @since 0.1.0
 */
import { fileURLToPath } from "node:url"

/** Compiled modules, and the sources that Node maps their frames to. */
const folders = ["dist/", "src/"].map((folder) => fileURLToPath(new URL(`../../${folder}`, import.meta.url)))

/** Whether a file, by its full path, is one of vmtest's. */
export const has = (file: string): boolean => folders.some((folder) => file.startsWith(folder))
