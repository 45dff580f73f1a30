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
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as ScriptError from "../cli/ScriptError.ts"
import * as ScriptLoader from "../cli/ScriptLoader.ts"
import * as TestCase from "../driver/TestCase.ts"
import * as Image from "../images/Image.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import * as Python from "../python/Python.ts"
import * as Setting from "../python/Setting.ts"
import type { Language } from "./CommandLine.ts"
import type { Configuration } from "./Configuration.ts"
import * as Vsock from "./Vsock.ts"

/** A test declares a machine that the configuration has. */
export class MachineTwice extends Schema.TaggedError<MachineTwice>()("MachineTwice", {
  script: Schema.String,
  machine: Schema.String
}) {
  override get message() {
    return `${this.script}: the test declares the machine ${JSON.stringify(this.machine)}, which the configuration has; take it from the test's argument, or choose another name`
  }
}

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

type Body = Parameters<typeof TestCase.test<Declared>>[2]

const fromModule = Effect.fnUntraced(function* (configuration: Configuration, setting: Setting.ScriptSetting) {
  const { script } = configuration
  const starts = setting.prompt === undefined ? {} : { autoStart: false }
  const machines = machinesOf(configuration, setting, { allowReboot: true, ...starts })
  const limit = limitOf(configuration, setting)
  const exported = yield* ScriptLoader.loadDefault(script)
  const name = nameOf(configuration)
  const found =
    Predicate.isFunction(exported) && !Effect.isEffect(exported)
      ? // What it gives is looked at when it is run.
        [TestCase.test(name, {}, exported as Body)]
      : (TestCase.fromExport(name, exported) ?? [])
  if (found.length === 0) {
    return yield* new ScriptError.NoTests({ script, found: ScriptLoader.describeExport(exported) })
  }
  return yield* Effect.forEach(found, (test) => {
    const machine = Object.keys(test.machines).find((one) => one in machines)
    if (machine !== undefined) return Effect.fail(new MachineTwice({ script, machine }))
    const own = test.timeout === undefined ? limit : Duration.fromInputUnsafe(test.timeout)
    return Effect.succeed<TestCase.TestCase>({
      ...test,
      machines: { ...machines, ...test.machines },
      timeout: Duration.min(own, limit)
    })
  })
})

const fromPython = (configuration: Configuration, setting: Setting.ScriptSetting): TestCase.TestCase => {
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
  return tests.map((test): TestCase.TestCase => ({ ...test, ...folders, file: configuration.script }))
})
