/** The command with a snapshot store of its own, and the images of everybody. */
import { spawn, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { isAbsolute, join } from "node:path"
import { fileURLToPath } from "node:url"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))

/** Every tool that saves and loads must cope with where the cache is. */
const cacheName = `cache %2F'"[1],\\`

/** A folder with everything in it that a run makes, but for the images. */
export const makePlace = (): string => {
  const place = mkdtempSync(join(tmpdir(), "vmtest-snap-"))
  for (const name of ["tmp", "run", "work", `${cacheName}/vmtest`])
    mkdirSync(join(place, name), { mode: 0o700, recursive: true })
  const asked = process.env.XDG_CACHE_HOME
  const cache = join(asked !== undefined && isAbsolute(asked) ? asked : join(homedir(), ".cache"), "vmtest")
  for (const name of ["images", "host", "node"]) {
    mkdirSync(join(cache, name), { recursive: true, mode: 0o700 })
    symlinkSync(join(cache, name), join(place, cacheName, "vmtest", name))
  }
  return place
}

/** What root may read and write without being asked would hide what others may not: it gives that right up. */
const asOthers: ReadonlyArray<string> = (() => {
  if (process.getuid?.() !== 0) return []
  const words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
  const { error, status } = spawnSync(words[0] ?? "", [...words.slice(1), "true"])
  if (error === undefined && status === 0) return words
  process.stderr.write("no setpriv that works: what a user without the rights of root meets is not tested\n")
  return []
})()

const commandLine = (
  args: ReadonlyArray<string>,
  before: ReadonlyArray<string> = [],
  script = launcher
): readonly [string, ReadonlyArray<string>] => {
  const [program = process.execPath, ...words] = [...asOthers, ...before, process.execPath, script, ...args]
  return [program, words]
}

const options = (place: string) => ({
  cwd: join(place, "work"),
  env: {
    ...process.env,
    TMPDIR: join(place, "tmp"),
    XDG_RUNTIME_DIR: join(place, "run"),
    XDG_CACHE_HOME: join(place, cacheName),
    NO_COLOR: "1"
  }
})

/** Runs the command to its end, with no more rights than any user has; `before` are the words before its own. */
export const vmtest = (
  place: string,
  args: ReadonlyArray<string>,
  input = "",
  env: Readonly<Record<string, string>> = {},
  before: ReadonlyArray<string> = []
) => {
  const { env: usual, ...others } = options(place)
  const { status, stderr, stdout } = spawnSync(...commandLine(args, before), {
    ...others,
    env: { ...usual, ...env },
    encoding: "utf8",
    input,
    timeout: 240_000
  })
  return { status, stderr, stdout, all: stdout + stderr }
}

/** The command as it is installed, from `dist`. */
export const installed = fileURLToPath(new URL("../bin/vmtest.js", import.meta.url))

/** Starts the command, from its sources or as it is installed. */
export const start = (place: string, args: ReadonlyArray<string>, script = launcher) =>
  spawn(...commandLine(args, [], script), { ...options(place), stdio: "ignore" })

/** Writes a script and gives its name. */
export const script = (place: string, name: string, text: string): string => {
  writeFileSync(join(place, "work", name), text)
  return name
}

export const storeOf = (place: string): string => join(place, cacheName, "vmtest", "snapshots")

/** The processes that were started for something in the place, by what they were started with. */
export const processes = (place: string): ReadonlyArray<string> =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")
      } catch {
        return ""
      }
    })
    .filter((command) => command.includes(place))
