/**
 * The script of a NixOS test as tests of vmtest: in Python, or in TypeScript.
 *
 * A module in TypeScript exports by default a function of the machines and the driver, which gives an Effect; or whatever `vmtest run` takes: a test,
 * an array of tests, or an Effect. Tests have the machines of the configuration besides those that they declare.
 *
 * **Example** (A script in TypeScript)
 *
 * ```ts
 * import { Effect } from "effect"
 * import type { Machine } from "vmtest"
 *
 * export default ({ web }: Record<"web", Machine>) =>
 *   Effect.gen(function* () {
 *     yield* web.waitForUnit("nginx.service")
 *   })
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Limits from "../backends/Limits.ts"
import * as GivenMachines from "../cli/GivenMachines.ts"
import type { TestCase } from "../driver/TestCase.ts"
import * as Image from "../images/Image.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import * as Python from "../python/Python.ts"
import * as Setting from "../python/Setting.ts"
import type { Language } from "./CommandLine.ts"
import type { Configuration } from "./Configuration.ts"
import * as Vsock from "./Vsock.ts"

type Declared = Readonly<Record<string, MachineOptions>>

/** The declarations of a configuration's machines. Whether a reboot keeps a machine is said by each start of a script in Python, and true otherwise. */
const machinesOf = ({ machines, vlans }: Configuration, setting: Setting.ScriptSetting, more: object): Declared =>
  Object.fromEntries(
    machines.map(({ name, startScript }): [string, MachineOptions] => {
      const image = { ...Image.startScript(startScript), graphic: Image.hasDisplay() }
      const pair = setting.vsocks?.[name]
      return [name, { image, vlans, qemuArguments: pair === undefined ? [] : Vsock.words(pair), ...more }]
    })
  )

/** The switches of the driver of nixpkgs are hubs: a machine sees what others send to each other. */
const hubs = Object.fromEntries(
  Array.from({ length: Limits.mostVlan }, (_, index) => [`vlan${index + 1}`, { vlan: index + 1, hub: true }])
)

/** The language of a script: as it is said, or by the ending of its name. */
export const languageOf = (script: string, said: Language | undefined): Language =>
  said ?? (/\.[cm]?[jt]sx?$/.test(script) ? "typescript" : "python")

/** The name of the test: that of the configuration, else that of the script without its ending. */
export const nameOf = ({ name, script }: Configuration): string => {
  if (name !== undefined) return name
  const [base = ""] = NodePath.basename(script)
    .replace(/^[a-z0-9]{32}-/, "")
    .split(".")
  return base === "" ? "test" : base
}

/** As long as the driver of nixpkgs waits if nobody says how long. */
const mostSeconds = 7 * 24 * 60 * 60

/** The time limit: that of the configuration; a prompt has none. */
const limitOf = ({ globalTimeout = mostSeconds }: Configuration, { prompt }: Setting.ScriptSetting) =>
  prompt === undefined ? Duration.seconds(globalTimeout) : Duration.infinity

const fromModule = Effect.fnUntraced(function* (configuration: Configuration, setting: Setting.ScriptSetting) {
  const { script } = configuration
  // Machines start before a test, as everywhere in TypeScript; at a prompt, when they are used.
  const starts = setting.prompt === undefined ? {} : { autoStart: false }
  const machines = machinesOf(configuration, setting, { allowReboot: true, ...starts })
  const tests = yield* GivenMachines.load(script, { machines, timeout: limitOf(configuration, setting) })
  // One that has no name of its own has that of its file.
  return tests.map((test) =>
    test.name === NodePath.basename(script) ? { ...test, name: nameOf(configuration) } : test
  )
})

const fromPython = (configuration: Configuration, setting: Setting.ScriptSetting): TestCase => {
  const test = Python.python(
    nameOf(configuration),
    { machines: machinesOf(configuration, setting, {}), timeout: limitOf(configuration, setting) },
    { file: NodePath.resolve(configuration.script) }
  )
  return {
    ...test,
    body: (machines, driver) => Effect.provideService(test.body(machines, driver), Setting.Setting, setting)
  }
}

/** The tests of a script, in a setting: one if it is in Python. */
export const load = Effect.fnUntraced(function* (
  configuration: Configuration,
  language: Language,
  setting: Setting.ScriptSetting
) {
  const tests = language === "python" ? [fromPython(configuration, setting)] : yield* fromModule(configuration, setting)
  // Pictures and copies of a single test are where the driver of nixpkgs puts them.
  const folders = tests.length === 1 ? { folder: "." } : {}
  return tests.map(
    (test): TestCase => ({ ...test, networks: test.networks ?? hubs, ...folders, file: configuration.script })
  )
})
