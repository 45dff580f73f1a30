/** What each option of `vmtest run` is where the tests run on workers: sent along, done by this process, or refused. */
import type * as Fleet from "../../fleet/Fleet.ts"
import type { Config } from "../Config.ts"
import type { FleetRun } from "./grammar/fleet.ts"
import type { flags } from "./grammar/run.ts"
import { levelOf, type Settings } from "./settings.ts"

/** An option as the grammar of `vmtest run` names it. */
export type Option = keyof typeof flags

/** What becomes of an option, and for those that are refused why, as the end of a message. */
export type Way = { readonly way: "sent" | "local" } | { readonly way: "refused"; readonly why: string }

const sent = { way: "sent" } as const
const local = { way: "local" } as const
const refused = (why: string) => ({ way: "refused", why }) as const

const elsewhere = "the machines are on other hosts, and end with their test; run the test with 'vmtest run'"

/** What becomes of each option. */
export const ways: Readonly<Record<Option, Way>> = {
  config: local,
  names: local,
  onlyFailed: local,
  shard: local,
  durations: local,
  forbidOnly: local,
  list: local,
  listJson: local,
  repeatEach: sent,
  jobs: refused("how many files run at the same time is what --slots of the workers says"),
  workers: refused("how many files run at the same time is what --slots of the workers says"),
  retries: sent,
  failFast: sent,
  timeout: sent,
  waitTimeout: sent,
  globalTimeout: refused("files wait for as long as others need the workers; limit each test with --timeout"),
  seed: sent,
  watch: refused("run the file that changes with 'vmtest run --watch'"),
  snapshotOnFailure: refused("saved machines stay on the worker; run the test with 'vmtest run'"),
  capture: sent,
  updateReferences: refused("pictures are on this host, and screens on the workers; write them with 'vmtest run'"),
  logLevel: sent,
  junit: local,
  json: local,
  html: local,
  machines: sent,
  machineConfig: refused("it names files of this host; run the tests with 'vmtest run'"),
  accel: sent,
  interactive: refused(elsewhere),
  pauseOnFailure: refused(elsewhere),
  pauseTimeout: refused(elsewhere),
  keepState: refused("the state folder is on the worker; run the test with 'vmtest run'"),
  output: local,
  verbose: local,
  console: local,
  quiet: local,
  snapshot: sent,
  backend: sent
}

/** An option as the command line has it. */
export const nameOf = (option: Option): string =>
  option === "names" ? "--grep" : `--${option.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

/** Settings of a config file by the options that they stand for. How many tests run at once on one host is no part of what a test is. */
const settingsOf: ReadonlyArray<Option & keyof Config> = [
  "globalTimeout",
  "keepState",
  "machineConfig",
  "snapshotOnFailure"
]

const isGiven = (value: unknown): boolean => value !== undefined && value !== false

/** What a run on a fleet cannot do of what the command line and the config file ask for, and why; undefined if it can do all of it. */
export const refusalOf = (
  { options, ...own }: FleetRun,
  { config, file }: { readonly config: Config; readonly file: string | undefined }
): string | undefined => {
  const given: Readonly<Record<string, unknown>> = { ...own, ...options }
  for (const [option, way] of Object.entries(ways) as ReadonlyArray<[Option, Way]>) {
    if (way.way !== "refused") continue
    if (isGiven(given[option])) return `${nameOf(option)} cannot be used with a fleet: ${way.why}`
    const setting = settingsOf.find((one) => one === option)
    if (setting !== undefined && given[option] === undefined && isGiven(config[setting]))
      return `${file}: ${setting} cannot be used with a fleet: ${way.why}`
  }
  return undefined
}

/** How files are run that settings of `vmtest run` say, also with `--workers`. */
export const optionsOf = (settings: Settings, config: string | undefined) => {
  const { accel, capture, failFast, outputFolder: output, retries, seed, machines } = settings
  const { backend, snapshot: snapshots } = settings.options
  return {
    ...{ accel, backend, capture, config, failFast, machines, output, retries, seed, snapshots },
    ...{ evidence: true, logLevel: levelOf(settings) }
  } satisfies Fleet.RunOptions
}
