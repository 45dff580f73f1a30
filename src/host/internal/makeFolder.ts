/** Folders that may have to be made. */
import * as Fs from "node:fs"
import * as Path from "node:path"

/**
 * Makes a folder and those above it; one that is there is left as it is. Throws what the file system says.
 *
 * Node's own recursive `mkdirSync` never returns where the file system answers ENOENT for a parent that is there, as
 * /proc does.
 */
export const makeFolder = (path: string, mode = 0o700): void => {
  if (Fs.existsSync(path)) return
  const parent = Path.dirname(path)
  if (parent !== path) makeFolder(parent, mode)
  try {
    Fs.mkdirSync(path, { mode })
  } catch (error) {
    // Another process was quicker.
    if (!Fs.existsSync(path)) throw error
  }
}
