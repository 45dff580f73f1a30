/** Where the lines of prompts are remembered: `${XDG_STATE_HOME:-~/.local/state}/vmtest/history`. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"

/** The file; its folder is made, for this user only. `/dev/null` where that cannot be written to. */
export const historyFile: Effect.Effect<string> = Effect.try(() => {
  const asked = process.env.XDG_STATE_HOME
  // A relative path is ignored, by the XDG base directory rules.
  const base = asked !== undefined && Path.isAbsolute(asked) ? asked : Path.join(Os.homedir(), ".local", "state")
  const folder = Path.join(base, "vmtest")
  Fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
  Fs.accessSync(folder, Fs.constants.W_OK | Fs.constants.X_OK)
  return Path.join(folder, "history")
}).pipe(Effect.orElseSucceed(() => "/dev/null"))
