/** Which options of `vmtest run` an interactive session has no use for. */
import type { Invocation } from "../CommandLine.ts"

type Run = Extract<Invocation, { readonly _tag: "Run" }>

/** Options that say how tests run, and what is kept of them. In a session nothing runs but the lines that are typed. */
const ofRuns = {
  jobs: "--jobs",
  workers: "--workers",
  retries: "--retries",
  repeatEach: "--repeat-each",
  failFast: "--fail-fast",
  timeout: "--timeout",
  waitTimeout: "--wait-timeout",
  globalTimeout: "--global-timeout",
  watch: "--watch",
  onlyFailed: "--only-failed",
  shard: "--shard",
  durations: "--durations",
  forbidOnly: "--forbid-only",
  list: "--list",
  listJson: "--list-json",
  snapshotOnFailure: "--snapshot-on-failure",
  capture: "--capture",
  junit: "--junit",
  json: "--json",
  html: "--html",
  pauseOnFailure: "--pause-on-failure",
  pauseTimeout: "--pause-timeout"
} as const satisfies Partial<Record<keyof Run, string>>

/** Why a session cannot be opened with the options of a command line; undefined if it can. */
export const refusal = (given: Run): string | undefined => {
  const options = Object.entries(ofRuns).flatMap(([field, option]) => {
    const value = given[field as keyof typeof ofRuns]
    return value === undefined || value === false ? [] : [option]
  })
  if (options.length === 0) return undefined
  const them = options.length === 1 ? "it is" : "they are"
  return `${options.join(", ")} cannot be used with --interactive: ${them} for runs, and a session runs only the lines that you type`
}
