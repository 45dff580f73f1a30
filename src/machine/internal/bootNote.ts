/** The note about a boot that takes long: what its console said since the last note, and what a guest of a start script has not done. */
import type { BootProgress } from "../../transport/Shell.ts"
import { formatProgress } from "../../transport/Shell.ts"

/** How many lines of the console are told at once. */
const most = 5

/** The lines of `now` that came after those of `before`; both are the last lines of one console. */
const after = (before: ReadonlyArray<string>, now: ReadonlyArray<string>): ReadonlyArray<string> => {
  for (let common = Math.min(before.length, now.length); common > 0; common -= 1) {
    const end = before.slice(-common)
    if (end.every((line, index) => line === now[index])) return now.slice(common)
  }
  return now
}

/** Of a guest that no image of vmtest made. */
const hint =
  'the guest has not written "Spawning backdoor root shell..." to /dev/hvc0 yet, as the service backdoor of NixOS tests does'

/** The notes about one boot, each with what is new. `ofScript`: of a machine of a start script. */
export const make = (ofScript: boolean): ((progress: BootProgress) => string) => {
  let before: ReadonlyArray<string> = []
  return (progress) => {
    const now = progress.console.trim() === "" ? [] : progress.console.trimEnd().split(/\r?\n/)
    const fresh = after(before, now)
    const nothingNew = now.length > 0 && fresh.length === 0
    before = now
    const text = formatProgress({ ...progress, console: fresh.slice(-most).join("\n") })
    const told = nothingNew ? text.replace(/the console is silent$/, "the console said nothing new") : text
    if (!ofScript) return told
    // In the line of the note: what the console said is last.
    const [first = "", ...lines] = told.split("\n")
    return [`${first.replace("; the console", `; ${hint}; the console`)}`, ...lines].join("\n")
  }
}
