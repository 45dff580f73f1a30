/**
 * What a script has started and left: programs in groups of their own, which the end of the interpreter's group does not reach. They are known by a
 * variable of their environment, which every program inherits.
 */
import { randomBytes } from "node:crypto"
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Disk from "../../host/Disk.ts"

/** The variable; its value is a token of one interpreter. */
export const variable = "VMTEST_SCRIPT"

/** The variable as an entry of an environment. */
export const entryOf = (token: string): string => `${variable}=${token}`

export const token = Effect.sync(() => randomBytes(12).toString("hex"))

const has = (pid: string, entry: string): boolean => {
  const environment = Result.try(() => Fs.readFileSync(`/proc/${pid}/environ`, "latin1"))
  return Result.isSuccess(environment) && environment.success.split("\0").includes(entry)
}

/** A program that starts another between two looks is found by the next one. */
const rounds = 5

/** Kills every program that has the token. */
export const kill = (token: string): Effect.Effect<void> =>
  Effect.sync(() => {
    const entry = entryOf(token)
    for (let round = 0; round < rounds; round++) {
      const left = Disk.namesIn("/proc").filter((name) => /^\d+$/.test(name) && has(name, entry))
      if (left.length === 0) return
      for (const pid of left) Result.try(() => process.kill(Number(pid), "SIGKILL"))
    }
  })
