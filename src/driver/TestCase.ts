/**
 * Declaring a test: its machines, and the program that uses them.
 *
 * A test is a value; nothing runs until it is given to a runner.
 *
 * **Example** (A script with one test)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Image, test } from "vmtest"
 *
 * export default test("greets", { machines: { web: { image: Image.tiny() } } }, ({ web }) =>
 *   Effect.gen(function* () {
 *     yield* web.succeed("echo hello")
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as NodeServices from "@effect/platform-node/NodeServices"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import type { Location } from "../host/Location.ts"
import type { Machine } from "../machine/Machine.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import * as NetworkSpec from "../network/NetworkSpec.ts"
import type { Driver, DriverService } from "./Driver.ts"
import { bodyProblem, runBody } from "./internal/refuse.ts"
import { scriptFrames } from "./internal/scriptLocation.ts"

export type {
  /** A place in a script: line and column count from 1. */
  Location
} from "../host/Location.ts"

const TypeId = "~vmtest/driver/TestCase"

/** The services that a test's body can use: the driver, a scope that closes with the test, and the platform's files and processes. */
export type TestServices = Driver | Scope.Scope | NodeServices.NodeServices

/** A test, ready to be run. */
export interface TestCase {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  readonly machines: Readonly<Record<string, MachineOptions>>
  /** Its networks by name; undefined if it declares none, so that every VLAN is there. */
  readonly networks?: NetworkSpec.Networks | undefined
  /** From the start of the machines to the end of the body, without the time of image builds and of saving machines for later runs. */
  readonly timeout: Duration.Input | undefined
  /** The timeout of waits that set none themselves; if undefined, that of the run, or the default of `Deadlines`. */
  readonly waitTimeout?: Duration.Input | undefined
  readonly body: (
    machines: Readonly<Record<string, Machine>>,
    driver: DriverService
  ) => Effect.Effect<unknown, unknown, TestServices>
  /** The text of the body as it was written, if it is a function of the script's. */
  readonly source?: (() => string) | undefined
  /** The digest of the script that declares it, if the command has bundled one: stored warm-ups depend on it. */
  readonly script?: string | undefined
  /** The script that declares it, as it was given to the command, for reports. */
  readonly file?: string | undefined
  /** Its folder in the output folder; `.` is that folder itself. Default: a folder that has the test's name. */
  readonly folder?: string | undefined
  /** What happens if its body makes Effects that are never run. */
  readonly unrun?: "fail" | "warn" | "ignore" | undefined
  /** What is wrong with its declaration, apart from its machines; the test is not run then. */
  readonly problem?: string | undefined
  /** Where the script declares it, if that is known. */
  readonly declaredAt: () => Location | undefined
  /** The lines that called that one, the nearest first. */
  readonly declaredFrom: () => ReadonlyArray<Location>
}

const example = "{ machines: { web: { image: Image.tiny() } } }"
const LongTime = Fields.time({ endless: true })

/** The options of a test. */
export const TestOptions = Schema.Struct({
  /** The machines by name; each is checked by `MachineOptions` when the test is run. */
  machines: Schema.optional(
    Schema.declare<Readonly<Record<string, MachineOptions>>>(
      (value): value is Readonly<Record<string, MachineOptions>> =>
        Predicate.isObject(value) && !Array.isArray(value) && !Effect.isEffect(value),
      { expected: `an object of names and declarations, such as ${example}` }
    )
  ),
  /**
   * The networks by name: their numbers, and what is particular to them. Machines can be on these only, and are on the first by default. Default: every
   * VLAN from 1 to 254 is there, and machines are on VLAN 1.
   */
  networks: Schema.optional(NetworkSpec.Networks),
  /** The timeout of the test, without the time of image builds and of saving machines for later runs. Default 30 minutes. */
  timeout: Schema.optional(LongTime),
  /** The timeout of waits that set none themselves, multiplied by three under emulation. Default 5 minutes. */
  waitTimeout: Schema.optional(LongTime),
  /**
   * What happens if methods of machines and of the driver gave the body Effects that were never run: the test fails (the default), they are logged,
   * or nothing. `asValue` is for single Effects that need not run.
   */
  unrun: Schema.optional(
    Schema.Literals(["fail", "warn", "ignore"]).annotate({ expected: '"fail", "warn" or "ignore"' })
  )
}).annotate({
  expected: `an object of options, such as ${example}, or {} for no machines`,
  /** NixOS's word among them. */
  aliases: { nodes: "machines", vms: "machines", hosts: "machines", vlans: "networks", lans: "networks" }
})

/** The options of a test. */
export interface TestOptions<Machines extends Readonly<Record<string, MachineOptions>>>
  extends Omit<Schema.Codec.Encoded<typeof TestOptions>, "machines"> {
  /** The machines by name. Their keys are the guests' host names, and the keys of the body's first argument. Default none. */
  readonly machines?: Machines | undefined
}

const nameProblem = Decode.checker(Fields.title, { whole: "the name" })
const optionsProblem = Decode.checker(TestOptions, { whole: "the options" })

/**
 * Declares a test.
 *
 * The body receives the machines by name, and the test's driver. The test passes if the body's Effect succeeds. A failure, a defect or a
 * failed assertion fails it, and so does a value that is an Effect or a failed Exit, because a `yield*` is missing then. A wrong declaration,
 * such as a blank name, is an error before anything starts; so is a body whose text names a machine that is not declared.
 */
export const test = <
  const Machines extends Readonly<Record<string, MachineOptions>> = Readonly<Record<never, MachineOptions>>
>(
  name: string,
  options: TestOptions<Machines>,
  body: (
    machines: { readonly [Name in keyof Machines]: Machine },
    driver: DriverService<Extract<keyof Machines, string>>
  ) => Effect.Effect<unknown, unknown, TestServices>
): TestCase => {
  const { stack = "" } = new Error()
  const problem = nameProblem(name)?.reason ?? optionsProblem(options)?.reason ?? bodyProblem(body)
  const { machines, networks, timeout, unrun, waitTimeout }: TestOptions<Machines> =
    problem === undefined ? options : {}
  return {
    [TypeId]: TypeId,
    // What no compiler checked may be of any type.
    name: String(name),
    machines: machines ?? {},
    networks,
    timeout,
    waitTimeout,
    unrun,
    problem,
    // The runner hands over exactly the machines that are declared, so the record has the keys that the body's type names.
    body: (machines, driver) =>
      runBody(
        "the body",
        body(
          machines as { readonly [Name in keyof Machines]: Machine },
          driver as DriverService<Extract<keyof Machines, string>>
        ),
        { last: true }
      ),
    source: () => Function.prototype.toString.call(body),
    declaredAt: () => scriptFrames(stack)[0],
    declaredFrom: () => scriptFrames(stack).slice(1)
  }
}

/** Whether a value is a test. */
export const isTestCase = (value: unknown): value is TestCase => Predicate.hasProperty(value, TypeId)

/** A test without declared machines, whose program uses the `Driver` service. */
export const fromEffect = (
  name: string,
  program: Effect.Effect<unknown, unknown, TestServices>,
  options: { readonly timeout?: Duration.Input } = {}
): TestCase => test(name, options, () => program)

/**
 * The tests in a script's default export: one test, an array of tests, or a plain Effect.
 *
 * Gives undefined if it is something else. `name` is the name of a plain Effect.
 */
export const fromExport = (name: string, exported: unknown): ReadonlyArray<TestCase> | undefined => {
  if (isTestCase(exported)) return [exported]
  if (Effect.isEffect(exported)) {
    // What an untyped script exports can only be trusted to ask for what a test is given; a service it lacks is a defect of the test.
    return [fromEffect(name, exported as Effect.Effect<unknown, unknown, TestServices>)]
  }
  if (!Array.isArray(exported)) return undefined
  const tests = exported.map((item, index) => fromExport(`${name} ${index + 1}`, item))
  return tests.some((test) => test === undefined) ? undefined : tests.flatMap((test) => test ?? [])
}
