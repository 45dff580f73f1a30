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
import type { Language } from "./CommandLine.ts"
import type { Configuration } from "./Configuration.ts"

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

/** Without a display, QEMU gets `-nographic`. */
const hasDisplay = () => ["DISPLAY", "WAYLAND_DISPLAY"].some((name) => process.env[name] !== undefined)

/** The machines of a configuration. */
export const machinesOf = ({ machines, vlans }: Configuration): Declared =>
  Object.fromEntries(
    machines.map(({ name, startScript }) => {
      const image = { ...Image.startScript(startScript), graphic: hasDisplay() }
      return [name, { image, vlans, allowReboot: true }]
    })
  )

/** The language of a script: as it is said, or by the ending of its name. */
export const languageOf = (script: string, said: Language | undefined): Language =>
  said ?? (/\.[cm]?[jt]sx?$/.test(script) ? "typescript" : "python")

/** The name of the test: that of the configuration, else that of the script without its ending. */
export const nameOf = ({ name, script }: Configuration): string =>
  name ??
  (NodePath.basename(script)
    .replace(/^[a-z0-9]{32}-/, "")
    .replace(/\.\w+$/, "") ||
    "test")

type Body = Parameters<typeof TestCase.test<Declared>>[2]

const fromModule = Effect.fnUntraced(function* (configuration: Configuration) {
  const { script } = configuration
  const machines = machinesOf(configuration)
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
    return machine === undefined
      ? Effect.succeed<TestCase.TestCase>({ ...test, machines: { ...machines, ...test.machines } })
      : Effect.fail(new MachineTwice({ script, machine }))
  })
})

const fromPython = (configuration: Configuration): ReadonlyArray<TestCase.TestCase> => {
  const machines = Object.fromEntries(
    Object.entries(machinesOf(configuration)).map(([name, { allowReboot: _, ...options }]) => [name, options])
  )
  // Whether a reboot keeps a machine is said by each start.
  return [Python.python(nameOf(configuration), { machines }, { file: NodePath.resolve(configuration.script) })]
}

/** The time limit of a test: its own, or that of the configuration if that is shorter. */
const limited = (test: TestCase.TestCase, seconds: number | undefined): TestCase.TestCase => {
  if (seconds === undefined) return test
  const limit = Duration.seconds(seconds)
  const own = test.timeout === undefined ? limit : Duration.fromInputUnsafe(test.timeout)
  return { ...test, timeout: Duration.min(own, limit) }
}

/** The tests of a script: one if it is in Python. */
export const load = Effect.fnUntraced(function* (configuration: Configuration, language: Language | undefined) {
  const { globalTimeout, script } = configuration
  const tests = languageOf(script, language) === "python" ? fromPython(configuration) : yield* fromModule(configuration)
  const folders = tests.length === 1 ? { folder: "." } : {}
  return tests.map((test) => ({ ...limited(test, globalTimeout), ...folders, file: script }))
})
