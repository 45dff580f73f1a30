/**
 * Reading `vmtest.config.ts`.
 *
 * The nearest one from the working folder upwards is read. Its paths and patterns start from its own folder.
 *
 * **Example** (The settings of the project around the working folder)
 *
 * ```ts
 * const config = Effect.map(ConfigFile.read(undefined), ({ config }) => config)
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as NodePath from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Decode from "../host/Decode.ts"
import { check as checkMachine, HostLimits, type MachineOptions } from "../machine/MachineSpec.ts"
import { Config } from "./Config.ts"
import * as MachineModule from "./MachineModule.ts"
import * as ScriptError from "./ScriptError.ts"
import * as ScriptLoader from "./ScriptLoader.ts"

/** A config file has a setting that does not exist, or one that is wrong. */
export class InvalidConfig extends Schema.TaggedError<InvalidConfig>()("InvalidConfig", {
  file: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.file}: ${this.reason}`
  }
}

const check = Decode.checker(Config, { whole: "the config" })

/** The names that a config file can have, the first that a folder has counts. */
export const fileNames = ["vmtest.config.ts", "vmtest.config.mts", "vmtest.config.js", "vmtest.config.mjs"] as const

/** The nearest config file, from a folder upwards. */
export const nearest = (folder: string): string | undefined => {
  const here = fileNames.map((name) => NodePath.join(folder, name)).find((file) => Fs.existsSync(file))
  const above = NodePath.dirname(folder)
  return here ?? (above === folder ? undefined : nearest(above))
}

/** A config file that was read: its settings with full paths, and its folder. */
export interface Read {
  /** Undefined if there is no config file. */
  readonly file: string | undefined
  readonly folder: string
  /** Of its program. */
  readonly digest: string
  /** The files that it is made of, with full paths. */
  readonly inputs: ReadonlyArray<string>
  readonly config: Config
}

/** Whether a machine is on a network by a name, which each test that uses the machine must declare. */
const namesNetwork = ({ vlans = [] }: MachineOptions): boolean =>
  vlans.some((card) => typeof (typeof card === "object" ? card.vlan : card) === "string")

/** Checks the machines that a config file defines, whether tests name them or not: all that does not depend on tests, nor on the memory of this host. */
const checkMachines = Effect.fnUntraced(
  function* (file: string, machines: Readonly<Record<string, MachineOptions>>) {
    for (const [name, options] of Object.entries(machines)) {
      yield* checkMachine(name, options).pipe(
        Effect.catchIf(
          ({ option }) => option.startsWith("vlans[") && namesNetwork(options),
          () => checkMachine(name, { ...options, vlans: undefined })
        ),
        Effect.catch(({ message }) =>
          Effect.flatMap(
            ScriptLoader.readable(file),
            ({ text }) =>
              new ScriptError.WrongMachine({
                script: file,
                place: MachineModule.placeOf(file, text, name),
                problem: message
              })
          )
        )
      )
    }
  },
  Effect.provideService(HostLimits, { memory: Number.POSITIVE_INFINITY, cpus: Number.POSITIVE_INFINITY })
)

/** Reads a config file, or the nearest one; no settings if there is none. */
export const read = Effect.fnUntraced(function* (given: string | undefined) {
  const file = given === undefined ? nearest(process.cwd()) : given
  if (file === undefined) {
    return { file, folder: process.cwd(), digest: "", inputs: [], config: {} } satisfies Read as Read
  }
  const shown = NodePath.relative(process.cwd(), NodePath.resolve(file))
  const { digest, exported, inputs } = yield* ScriptLoader.loadModule(shown, "config file").pipe(
    Effect.catchTag("NoDefaultExport", () =>
      Effect.fail(
        new InvalidConfig({ file: shown, reason: "no default export; write: export default defineConfig({ … })" })
      )
    )
  )
  const problem = check(exported)
  if (problem !== undefined) return yield* new InvalidConfig({ file: shown, reason: problem.reason })
  const folder = NodePath.dirname(NodePath.resolve(file))
  const config = exported as Config
  yield* checkMachines(shown, config.machines ?? {})
  const inFolder = (path: string | undefined) => (path === undefined ? undefined : NodePath.resolve(folder, path))
  return {
    ...{ file: shown, folder, digest, inputs },
    config: {
      ...config,
      output: inFolder(config.output),
      durations: inFolder(config.durations),
      junit: inFolder(config.junit),
      json: inFolder(config.json),
      html: inFolder(config.html),
      machineConfig: inFolder(config.machineConfig)
    }
  } satisfies Read as Read
})

/** A time of a config file, in milliseconds. */
export const millis = (time: Duration.Input | undefined): number | undefined =>
  time === undefined ? undefined : Duration.toMillis(Duration.fromInputUnsafe(time))
