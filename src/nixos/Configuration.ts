/**
 * The configuration of a test: its machines, networks, time limit and script, as nixpkgs writes it in JSON.
 *
 * Fields that vmtest does not know, such as those of a newer nixpkgs, are ignored.
 *
 * **Example** (The machines of a configuration)
 *
 * ```ts
 * const names = Effect.map(Configuration.load("driverConfiguration.json"), ({ machines }) => machines.map(({ name }) => name))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { unsupported } from "../backends/BackendError.ts"
import * as Limits from "../backends/Limits.ts"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import * as OutputFolder from "../host/OutputFolder.ts"
import * as Thrown from "../host/Thrown.ts"
import * as MachineSpec from "../machine/MachineSpec.ts"
import type { Source } from "./CommandLine.ts"

/** A configuration could not be read, or is not one. */
export class BadConfiguration extends Schema.TaggedError<BadConfiguration>()("BadConfiguration", {
  file: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.file}: ${this.reason}`
  }
}

/** A machine, and the script that starts it. */
export interface MachineConfiguration {
  readonly name: string
  /** A path, or a command line. */
  readonly startScript: string
}

/** The configuration of a test. */
export interface Configuration {
  /** The test's name, if it is known. */
  readonly name: string | undefined
  readonly machines: ReadonlyArray<MachineConfiguration>
  readonly vlans: ReadonlyArray<number>
  /** Seconds; undefined for no limit but vmtest's own. */
  readonly globalTimeout: number | undefined
  readonly sshBackdoor: boolean
  /** The path of the script. */
  readonly script: string
}

const Machines = Schema.Record(
  Schema.String,
  Schema.Struct({ name: Schema.optionalKey(Fields.filled("a name")), start_script: Fields.filled("a path") }).annotate({
    expected: "an object with a start_script"
  })
).annotate({ expected: "an object of names and machines" })

const Seconds = Schema.Finite.check(Schema.isGreaterThan(0)).annotate({ expected: "a number of seconds above 0" })

/** The form of the file. Only the script is required. */
const File = Schema.Struct({
  name: Schema.optionalKey(Schema.String),
  vms: Schema.optionalKey(Machines),
  containers: Schema.optionalKey(
    Schema.Record(Schema.String, Schema.Unknown).annotate({ expected: "an object of containers" })
  ),
  vlans: Schema.optionalKey(
    Schema.Array(Fields.whole(1, Limits.mostVlan)).annotate({ expected: "an array of numbers" })
  ),
  global_timeout: Schema.optionalKey(Seconds),
  enable_ssh_backdoor: Schema.optionalKey(Schema.Boolean.annotate({ expected: "true or false" })),
  test_script: Schema.optionalKey(Schema.String.annotate({ expected: "the path of a script" }))
}).annotate({ expected: "an object with vms, vlans and test_script" })

const decode = Decode.decoder(File, { whole: "the configuration", unknown: "ignored" })

/** In a build of Nix that runs the test. */
const nameInBuild = (): string | undefined => /^vm-test-run-(.+)$/.exec(process.env.name ?? "")?.[1]

/** Folders and files get the names of machines. */
const decodeName = Decode.decoder(MachineSpec.ScriptName, { whole: "the name of a machine" })

/** What is wrong with the names of machines; undefined if nothing is. */
const nameProblem = (machines: ReadonlyArray<MachineConfiguration>): string | undefined => {
  const names = machines.map(({ name }) => name)
  const wrong = names.map((name) => decodeName(name)).find(Result.isFailure)
  if (wrong !== undefined) return wrong.failure.reason
  const twin = names.find((name, index) => names.indexOf(name) !== index)
  return twin === undefined ? undefined : `has two machines with the name ${JSON.stringify(twin)}`
}

/** Fails for a test that has containers. */
const withoutContainers = (containers: ReadonlyArray<string>) =>
  containers.length === 0
    ? Effect.void
    : Effect.andThen(
        Effect.logError(`vmtest does not run containers (${containers.join(", ")}); declare them as nodes`),
        unsupported("qemu", "containers")
      )

/** Decodes a configuration that was read from `file`. */
export const fromJson = Effect.fnUntraced(function* (file: string, text: string, script?: string) {
  const bad = (reason: string) => new BadConfiguration({ file, reason })
  // What is null might as well not be there.
  const json: unknown = yield* Effect.try({
    try: () => JSON.parse(text, (_, value: unknown) => value ?? undefined) as unknown,
    catch: (error) => bad(`is not JSON: ${Thrown.messageOf(error)}`)
  })
  const result = decode(json)
  if (Result.isFailure(result)) return yield* bad(result.failure.reason)
  const decoded = result.success
  yield* withoutContainers(Object.keys(decoded.containers ?? {}))
  const path = script ?? decoded.test_script
  if (path === undefined) return yield* bad("test_script is missing")
  const machines = Object.entries(decoded.vms ?? {}).map(([key, { name, start_script }]) => ({
    name: name ?? key,
    startScript: start_script
  }))
  const problem = nameProblem(machines)
  if (problem !== undefined) return yield* bad(problem)
  return {
    name: decoded.name ?? nameInBuild(),
    machines,
    vlans: [...new Set(decoded.vlans ?? [])],
    globalTimeout: decoded.global_timeout,
    sshBackdoor: decoded.enable_ssh_backdoor ?? false,
    script: path
  } satisfies Configuration
})

/** Reads a configuration. `script` is used instead of its own. */
export const load = Effect.fnUntraced(function* (file: string, script?: string) {
  const text = yield* Effect.mapError(
    OutputFolder.attempt(() => Fs.readFileSync(file, "utf8")),
    (reason) => new BadConfiguration({ file, reason })
  )
  return yield* fromJson(file, text, script)
})

/** The name in the file name that Nix gives a start script: `run-NAME-vm`. */
const nameOf = (startScript: string): string => /^run-(.+)-vm$/.exec(Path.basename(startScript))?.[1] ?? "machine"

/** The configuration that a command line asks for. */
export const of = Effect.fnUntraced(function* (source: Source) {
  if (source._tag === "Configuration") return yield* load(source.file, source.script)
  const { containers, globalTimeout, names, script, startScripts, vlans } = source
  yield* withoutContainers(containers)
  const machines = startScripts.map((startScript, index) => ({
    name: names?.[index] ?? nameOf(startScript),
    startScript
  }))
  const problem = nameProblem(machines)
  if (problem !== undefined) return yield* new BadConfiguration({ file: "the command line", reason: problem })
  return {
    name: nameInBuild(),
    machines,
    vlans: [...new Set(vlans)],
    globalTimeout,
    sshBackdoor: false,
    script
  } satisfies Configuration as Configuration
})

/** The configuration that a command line asks for, with start scripts that are there. A command line in the place of a path has blanks, and is not looked at. */
export const usable = Effect.fnUntraced(function* (source: Source) {
  const configuration = yield* of(source)
  const missing = configuration.machines.find(
    ({ startScript }) => !/\s/.test(startScript.trim()) && !Fs.existsSync(startScript.trim())
  )
  if (missing === undefined) return configuration
  return yield* new BadConfiguration({
    file: source._tag === "Configuration" ? source.file : "the command line",
    reason: `start_script of ${JSON.stringify(missing.name)}: no such file: ${missing.startScript}`
  })
})
