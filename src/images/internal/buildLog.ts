/** What the tools of a failed build said: all of it in a file that the error names, and of that the cause for the error itself. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Disk from "../../host/Disk.ts"
import type * as Store from "../../host/Store.ts"

const folderOf = (store: Store.Store): string => Path.join(store.root, "logs")

/** The log of the last failed build of an image, by what the store calls its key. */
export const fileOf = (store: Store.Store, name: string): string => Path.join(folderOf(store), `${name}.log`)

/** Gives the file, or the empty string where it could not be written. */
export const write = (file: string, text: string): Effect.Effect<string> =>
  Disk.attempt(
    () => {
      Fs.mkdirSync(Path.dirname(file), { recursive: true, mode: 0o700 })
      Fs.writeFileSync(file, text, { mode: 0o600 })
      return file
    },
    () => ""
  ).pipe(Effect.orElseSucceed(() => ""))

/** Removes the log of an image that was built. */
export const forget = (file: string): Effect.Effect<void> => Disk.quietly(() => Fs.rmSync(file, { force: true }))

/** Removes logs that were written before a time, in milliseconds since the epoch. */
export const prune = (store: Store.Store, before: number): Effect.Effect<void> =>
  Effect.sync(() => {
    for (const name of Disk.namesIn(folderOf(store))) {
      const path = Path.join(folderOf(store), name)
      const written = Fs.statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? before
      if (written < before) Fs.rmSync(path, { force: true })
    }
  })

/** How a script of ours says on its standard error what it does next, and that this failed. */
export const marks = {
  /** Shell text that makes a script tell of its failure; once, at its start. */
  start: `vm_doing='preparing'
trap 'vm_code=$?; [ $vm_code = 0 ] || echo "vmtest: failed with exit code $vm_code: $vm_doing" >&2' EXIT`,
  begin: (quotedDoing: string): string => `vm_doing=${quotedDoing}; echo "vmtest: begin: $vm_doing" >&2`
}

/** What went wrong, in one line, and the lines that belong to it, the most telling first to be kept. */
export interface Cause {
  readonly reason: string
  readonly said: string
}

const shownLines = 25

const ending = (lines: ReadonlyArray<string>): string =>
  lines
    .filter((line) => line.trim() !== "")
    .slice(-shownLines)
    .join("\n")

/** What mmdebstrap adds about itself once something that it runs has failed. */
const aftermath =
  /^(E|W): (setup failed|command failed|mmdebstrap failed|hooklistener|received eof|run_chroot|cannot read)|^I: /

/** Lines of progress, which explain nothing. */
const progress =
  /^(\(Reading database|Reading |Building dependency|Selecting previously|Preparing to unpack|Unpacking |Setting up |Processing triggers|Get:\d|Fetched |I: )/

/** The first error that dpkg tells, with the lines that go on with it: the package and the script, in one line. */
const dpkgError = (lines: ReadonlyArray<string>): Cause | undefined => {
  const at = lines.findIndex((line) => line.startsWith("dpkg: error"))
  if (at < 0) return undefined
  const more = lines.slice(at + 1).findIndex((line) => !line.startsWith(" "))
  const whole = lines.slice(at, more < 0 ? undefined : at + 1 + more)
  const before = lines.slice(Math.max(0, at - 12), at).filter((line) => !progress.test(line))
  return { reason: whole.map((line) => line.trim()).join(" "), said: ending(before) }
}

/** Of a step of ours: what it said since it began. */
const stepError = (lines: ReadonlyArray<string>): Cause | undefined => {
  const at = lines.findLastIndex((line) => line.startsWith("vmtest: failed with exit code "))
  const failed = /^vmtest: failed with exit code (\d+): (.*)$/.exec(lines[at] ?? "")
  if (failed === null) return undefined
  const [, code = "", doing = ""] = failed
  const begun = lines.slice(0, at).lastIndexOf(`vmtest: begin: ${doing}`)
  const own = lines.slice(begun + 1, at).filter((line) => line.trim() !== "" && !line.startsWith("vmtest: begin: "))
  const last = own.at(-1)
  const reason = `${doing} failed with exit code ${code}`
  return last === undefined ? { reason, said: "" } : { reason: `${reason}: ${last}`, said: ending(own.slice(0, -1)) }
}

/** An error of apt or mmdebstrap, or else the last line that is not about the end itself. */
const plainError = (lines: ReadonlyArray<string>): Cause | undefined => {
  const telling = lines.filter((line) => line.trim() !== "" && !aftermath.test(line))
  const at = telling.findIndex((line) => line.startsWith("E: "))
  const end = at < 0 ? telling.length - 1 : at
  const reason = telling[end]
  if (reason === undefined) return undefined
  const before = telling.slice(Math.max(0, end - 12), end).filter((line) => !progress.test(line))
  return { reason: reason.replace(/^E: /, ""), said: ending(before) }
}

/** The cause of a failed build in what mmdebstrap and all that it ran said. */
export const causeOf = (text: string): Cause | undefined => {
  const lines = text.split("\n")
  return stepError(lines) ?? dpkgError(lines) ?? plainError(lines)
}
