/** What a program says its version is. */
import * as Effect from "effect/Effect"
import type { HostProcessError } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { UnsuitableHypervisor } from "../BackendError.ts"

/** Runs it with `--version`; the first group of `pattern` is the version. */
export const ask = (program: string, pattern: RegExp): Effect.Effect<string, HostProcessError | UnsuitableHypervisor> =>
  Effect.flatMap(HostProcess.run({ command: program, args: ["--version"] }), ({ stderr, stdout }) => {
    const version = pattern.exec(stdout)?.[1]
    if (version !== undefined) return Effect.succeed(version)
    const said = `${stdout}${stderr}`.trim().split("\n")[0] ?? ""
    return Effect.fail(
      new UnsuitableHypervisor({ program, reason: `could not find its version; --version printed "${said}"` })
    )
  })

/** Whether a version of numbers and dots comes before another one. */
export const isBefore = (version: string, other: string): boolean => {
  const [left, right] = [version, other].map((text) => text.split(".").map(Number))
  for (let index = 0; index < Math.max(left?.length ?? 0, right?.length ?? 0); index++) {
    const difference = (left?.[index] ?? 0) - (right?.[index] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}
