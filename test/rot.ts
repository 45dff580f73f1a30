import { statSync, utimesSync, writeFileSync } from "node:fs"

/** Changes what is in a file as a bad disk does: nobody sees when it was written. */
export const rot = (path: string, content: string | Uint8Array): void => {
  const { atime, mtimeMs } = statSync(path)
  writeFileSync(path, content)
  utimesSync(path, atime, mtimeMs / 1000)
}
