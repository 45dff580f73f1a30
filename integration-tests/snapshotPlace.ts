/** The command with a snapshot store of its own, and the images of everybody. */
import { spawn, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { isAbsolute, join } from "node:path"
import { fileURLToPath } from "node:url"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))

/** A folder with everything in it that a run makes, but for the images. */
export const makePlace = (): string => {
  const place = mkdtempSync(join(tmpdir(), "vmtest-snap-"))
  for (const name of ["tmp", "run", "work", "cache/vmtest"])
    mkdirSync(join(place, name), { mode: 0o700, recursive: true })
  const asked = process.env.XDG_CACHE_HOME
  const cache = join(asked !== undefined && isAbsolute(asked) ? asked : join(homedir(), ".cache"), "vmtest")
  for (const name of ["images", "host", "node"]) {
    mkdirSync(join(cache, name), { recursive: true, mode: 0o700 })
    symlinkSync(join(cache, name), join(place, "cache", "vmtest", name))
  }
  return place
}

const options = (place: string) => ({
  cwd: join(place, "work"),
  env: {
    ...process.env,
    TMPDIR: join(place, "tmp"),
    XDG_RUNTIME_DIR: join(place, "run"),
    XDG_CACHE_HOME: join(place, "cache"),
    NO_COLOR: "1"
  }
})

/** Runs the command to its end. */
export const vmtest = (place: string, args: ReadonlyArray<string>, input = "") => {
  const { status, stderr, stdout } = spawnSync(process.execPath, [launcher, ...args], {
    ...options(place),
    encoding: "utf8",
    input,
    timeout: 240_000
  })
  return { status, stderr, stdout, all: stdout + stderr }
}

/** Starts the command. */
export const start = (place: string, args: ReadonlyArray<string>) =>
  spawn(process.execPath, [launcher, ...args], { ...options(place), stdio: "ignore" })

/** Writes a script and gives its name. */
export const script = (place: string, name: string, text: string): string => {
  writeFileSync(join(place, "work", name), text)
  return name
}

export const storeOf = (place: string): string => join(place, "cache", "vmtest", "snapshots")

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
