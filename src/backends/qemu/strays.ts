/** Processes of a start script that have left its process group: a QEMU that was started with `setsid`, or that went into the background. */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Disk from "../../host/Disk.ts"

const variable = "VMTEST_MACHINE_FOLDER"

/** What everything that a start script starts has in its environment. */
export const markOf = (directory: string): Readonly<Record<string, string>> => ({ [variable]: directory })

/** The same as an entry of an environment. */
export const entryOf = (directory: string): string => `${variable}=${directory}`

const isMarked = (pid: string, mark: string): boolean => {
  // Another user's cannot be read, and is none of ours.
  const environment = Result.try(() => Fs.readFileSync(`/proc/${pid}/environ`, "latin1"))
  return Result.isSuccess(environment) && environment.success.split("\0").includes(mark)
}

/** Ends all that still run for the machine of a folder. */
export const endStrays = (directory: string): Effect.Effect<void> =>
  Effect.sync(() => {
    const mark = Buffer.from(entryOf(directory)).toString("latin1")
    for (const pid of Disk.namesIn("/proc")) {
      if (!/^\d+$/.test(pid) || pid === String(process.pid) || !isMarked(pid, mark)) continue
      Result.try(() => process.kill(Number(pid), "SIGKILL"))
    }
  })
