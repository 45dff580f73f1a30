/**
 * Tests in Python: scripts for the NixOS test driver, unmodified.
 *
 * The script runs in a CPython interpreter of its own (3.9 or newer), with the globals of the NixOS test driver: `start_all`, `subtest`, a name for each
 * machine, and so on. docs/nixos.md lists what differs. Machines start when the script starts them, as there.
 *
 * **Example** (A script in a TypeScript file, and one in a file of its own)
 *
 * ```ts
 * import { Image, python } from "vmtest"
 *
 * const machines = { web: { image: Image.debian({ packages: ["nginx-light"] }) } }
 *
 * export default [
 *   python("serves", { machines }, `
 *     web.wait_for_unit("nginx.service")
 *     web.succeed("curl -sf http://localhost")
 *   `),
 *   python("restarts", { machines }, { file: "restart.py" })
 * ]
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { DriverService } from "../driver/Driver.ts"
import * as Places from "../driver/Places.ts"
import { type TestCase, type TestOptions, test } from "../driver/TestCase.ts"
import { shown } from "../host/Decode.ts"
import { attempt } from "../host/OutputFolder.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import * as Session from "./internal/session.ts"
import * as Text from "./internal/text.ts"
import { ScriptUnreadable } from "./PythonError.ts"

export {
  /** Where a file is not valid Python; undefined if it is valid. Fails if Python could not be asked. */
  check
} from "./internal/interpreter.ts"

/** A script: its text, or its file. A path is relative to the file that declares the test. */
export type PythonScript = string | { readonly file: string | URL }

type Declared = Readonly<Record<string, MachineOptions>>

/** Seconds; the default of a test. */
const defaultTimeout = 1800

/** The declarations of a script's machines: the script starts them, and says at each start what a reboot does. */
const asThere = (machines: Declared): Declared =>
  Object.fromEntries(
    Object.entries(machines).map(([name, options]) => [
      name,
      Predicate.isObject(options) ? { autoStart: false, allowReboot: true, ...options } : options
    ])
  )

const read = (file: string) =>
  Effect.mapError(
    attempt(() => Fs.readFileSync(file, "utf8")),
    (reason) => new ScriptUnreadable({ file, reason })
  )

/** A script in a file of its own. */
const fromFile = (file: string): Effect.Effect<Session.Script, ScriptUnreadable> =>
  Effect.map(read(file), (text) => ({ text, file, folder: NodePath.dirname(file), columns: 0 }))

/** A script that is a text: at its lines in the file that declares the test if that has it as it is, else in a file of its own in the run's folder. */
const fromText = Effect.fnUntraced(function* (
  given: string,
  declaredAt: ReturnType<TestCase["declaredAt"]>,
  driver: DriverService
) {
  const { columns, text } = Text.dedent(given)
  const around = declaredAt === undefined ? "" : yield* Effect.orElseSucceed(read(declaredAt.file), () => "")
  const line = declaredAt === undefined ? undefined : Text.lineIn(around, given, declaredAt.line)
  if (declaredAt !== undefined && line !== undefined) {
    const { file } = declaredAt
    return { text: "\n".repeat(line) + text, file, folder: NodePath.dirname(file), columns }
  }
  const folder = yield* Places.of(driver)?.shared ?? Effect.succeed("/tmp")
  const file = NodePath.join(folder, "test-script.py")
  yield* attempt(() => Fs.writeFileSync(file, text)).pipe(
    Effect.mapError((reason) => new ScriptUnreadable({ file, reason }))
  )
  return { text, file, folder: declaredAt === undefined ? "." : NodePath.dirname(declaredAt.file), columns: 0 }
})

const problemOf = (script: unknown): string | undefined => {
  if (typeof script === "string") return script.trim() === "" ? "the script must not be empty" : undefined
  const file = Predicate.hasProperty(script, "file") ? script.file : undefined
  return (typeof file === "string" && file !== "") || file instanceof URL
    ? undefined
    : `the script must be a text or { file: "test.py" }, got ${shown(script)}`
}

/**
 * Declares a test whose body is a Python script.
 *
 * Machines are declared as those of `test`, but by default they do not start before the script starts them, and whether a reboot ends them is said by
 * `start(allow_reboot=…)`. An exception that the script does not catch fails the test, at the script's line: with the error of the method that it comes
 * from, or with `ScriptRaised`. A script that is not valid Python fails with `PythonSyntaxError` before a machine starts.
 */
export const python = <const Machines extends Declared>(
  name: string,
  options: TestOptions<Machines>,
  script: PythonScript
): TestCase => {
  const machines: Declared = Predicate.isObject(options?.machines) ? options.machines : {}
  const declared: TestOptions<Declared> = Predicate.isObject(options?.machines)
    ? { ...options, machines: asThere(machines) }
    : options
  const rebootIsDeclared = new Set(
    Object.keys(machines).filter((one) => Predicate.isObject(machines[one]) && "allowReboot" in machines[one])
  )
  const timeout = options?.timeout === undefined ? defaultTimeout : Duration.toSeconds(options.timeout)
  const made: TestCase = test(name, declared, (_, driver) =>
    Effect.gen(function* () {
      const at = made.declaredAt()
      const path = typeof script === "string" ? undefined : script.file
      const loaded =
        path === undefined
          ? yield* fromText(script as string, at, driver)
          : yield* fromFile(
              path instanceof URL ? fileURLToPath(path) : NodePath.resolve(NodePath.dirname(at?.file ?? "./_"), path)
            )
      yield* Session.run(driver, { script: loaded, timeout, rebootIsDeclared })
    })
  )
  return { ...made, programs: ["python3"], problem: made.problem ?? problemOf(script) }
}
