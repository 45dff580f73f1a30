/** A start script of the user's own: looked at, and run by whoever starts the machine. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Digest from "../../host/Digest.ts"
import * as Disk from "../../host/Disk.ts"
import { quote } from "../../host/Quote.ts"
import type { BootImage, StartScript } from "../BootImage.ts"
import type { StartScriptImage } from "../Image.ts"
import { describe } from "../Image.ts"
import { BadImage } from "../ImageError.ts"
import { checkDescription } from "./checked.ts"

/** How long it may take until QEMU runs. */
export const defaultTimeout = "2 minutes"

/** Only of a script: what a program of another kind has inside says nothing. */
const longestScript = 1024 * 1024

interface Program {
  /** What a shell runs. */
  readonly command: string
  /** What it is known by, and what it does as far as its text says. */
  readonly text: string
  readonly takes: StartScript["takes"]
  readonly container: boolean
  readonly changedAt: number
}

const textOf = (path: string, size: number): string => {
  const text = size > longestScript ? "" : Fs.readFileSync(path, "latin1")
  return text.startsWith("#!") ? text : ""
}

/** A script that names neither takes arguments, or hands them on to one that does. */
const takes = (text: string): StartScript["takes"] =>
  !/\$[@*]|\$\{[@*]/.test(text) && /\bQEMU_OPTS\b/.test(text) ? "QEMU_OPTS" : "arguments"

/** The VLANs that a text names; undefined if it names none, as a script that runs another one, or puts a name together. */
const vlansIn = (text: string): ReadonlyArray<number> | undefined => {
  const named = [...text.matchAll(/QEMU_VDE_SOCKET_(\d*)/g)].map(([, number]) => number)
  return named.length === 0 || named.includes("") ? undefined : [...new Set(named.map(Number))]
}

/** Nix names the start scripts of a test's containers so. */
const containerName = /^run-.*-nspawn$/

const programAt = (path: string): Program => {
  const { mtimeMs, size } = Fs.statSync(path)
  const text = textOf(path, size)
  return {
    command: quote(path),
    text: `${path} ${size} ${mtimeMs} ${text}`,
    takes: takes(text),
    container: containerName.test(Path.basename(path)),
    changedAt: Math.round(mtimeMs)
  }
}

/** The program that a command line begins with, in quotes or not. */
const firstWord = /^(?:'([^']*)'|"([^"$`\\]*)"|([^\s'"$;&|<>()`\\#*?[\]{}~!=]+))(?=\s|$)/

/** A command line. Where it begins with the path of a script, what that says of how it takes arguments counts. */
const programOf = (command: string): Program => {
  const path = firstWord
    .exec(command)
    ?.slice(1)
    .find((word) => word !== undefined)
  const script = Result.try(() => (path?.startsWith("/") === true ? programAt(path) : undefined))
  const found = Result.isSuccess(script) ? script.success : undefined
  return found === undefined
    ? { command, text: command, takes: "arguments", container: false, changedAt: 0 }
    : { ...found, command, text: `${command} ${found.text}` }
}

/** What is wrong with the file that is to be the script. */
const problemOf = (path: string): string | undefined => {
  const stat = Fs.statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) {
    const hint = path.includes(" ") ? "" : "; a command line needs an argument, or { command }"
    return `must be a start script, but ${path} does not exist${hint}`
  }
  if (!stat.isFile()) return `must be a start script, but ${path} is not a file`
  const allowed = Result.try(() => Fs.accessSync(path, Fs.constants.R_OK | Fs.constants.X_OK))
  return Result.isSuccess(allowed)
    ? undefined
    : `must be a start script, but ${path} is not executable; make it so with chmod +x`
}

/** What to start; `BadImage` for a script that is not there, or cannot be run. */
export const bootScript = Effect.fnUntraced(function* (image: StartScriptImage) {
  yield* checkDescription(image)
  const bad = (field: "path" | "command", reason: string) =>
    new BadImage({ image: describe(image), field, reason: `${field} ${reason}` })
  const program = yield* Effect.gen(function* () {
    if (image.path === undefined) {
      const command = (image.command ?? "").trim()
      if (command === "") return yield* bad("command", "must be a command line of QEMU, got only blanks")
      return programOf(command)
    }
    const path = Path.resolve(image.path)
    const problem = problemOf(path)
    if (problem !== undefined) return yield* bad("path", problem)
    return yield* Effect.try({
      try: () => programAt(path),
      catch: (error) => bad("path", `could not be read: ${Disk.reasonOf(error)}`)
    })
  })
  const { command, container, takes, text } = program
  const vlans = vlansIn(text)
  const startScript: StartScript = {
    ...{ command, container, takes },
    ...(vlans === undefined ? {} : { vlans }),
    env: image.env ?? {},
    ports: image.ports ?? true,
    graphic: image.graphic ?? false,
    // QEMU takes its accelerator from one place: either `-accel` or `-machine accel=`.
    accelerated: /(^|\s)--?accel[\s=]/.test(text),
    timeout: Duration.toMillis(Duration.fromInputUnsafe(image.timeout ?? defaultTimeout))
  }
  const boot: BootImage = {
    digest: Digest.ofValue({ text, startScript }),
    ...{ kernel: "", initrd: "", cmdline: "", root: undefined, startScript },
    guest: "script",
    builtAt: program.changedAt
  }
  return boot
})
