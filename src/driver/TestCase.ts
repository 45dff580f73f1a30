/**
 * Declaring a test: its machines, and the program that uses them.
 *
 * A test is a value; nothing runs until a runner is given it.
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
import type { Machine } from "../machine/Machine.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import type { Driver, DriverService } from "./Driver.ts"
import { bodyProblem, runBody } from "./internal/refuse.ts"
import { type Location, scriptFrame } from "./internal/scriptLocation.ts"

export type {
  /** A place in a script: line and column count from 1. */
  Location
} from "./internal/scriptLocation.ts"

const TypeId = "~vmtest/driver/TestCase"

/** What a test's program may ask for: the driver, a scope that closes with the test, and the platform's files and processes. */
export type TestServices = Driver | Scope.Scope | NodeServices.NodeServices

/** A test, ready to be run. */
export interface TestCase {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  readonly machines: Readonly<Record<string, MachineOptions>>
  /** From the start of the machines to the end of the body; the building of images does not count. */
  readonly timeout: Duration.Input | undefined
  /** What its waits may take that do not say; the run's, or the default of `Deadlines`, if undefined. */
  readonly waitTimeout?: Duration.Input | undefined
  readonly body: (
    machines: Readonly<Record<string, Machine>>,
    driver: DriverService
  ) => Effect.Effect<unknown, unknown, TestServices>
  /** The digest of the script that declares it, where a command has bundled one: what is kept of warm-ups goes by it. */
  readonly script?: string | undefined
  /** The script that declares it, as the command was given it: what reports call it. */
  readonly file?: string | undefined
  /** What is wrong with how it is declared, its machines apart: it is not run. */
  readonly problem?: string | undefined
  /** Where the script declares it, if that can be told. */
  readonly declaredAt: () => Location | undefined
}

const example = "{ machines: { web: { image: Image.tiny() } } }"
const LongTime = Fields.time({ endless: true })

/** What a test declares besides its name and its program. */
export const TestOptions = Schema.Struct({
  /** The machines by name; each is checked by `MachineOptions` when the test is run. */
  machines: Schema.optional(
    Schema.declare<Readonly<Record<string, MachineOptions>>>(
      (value): value is Readonly<Record<string, MachineOptions>> =>
        Predicate.isObject(value) && !Array.isArray(value) && !Effect.isEffect(value),
      { expected: `an object of names and declarations, such as ${example}` }
    )
  ),
  /** How long the test may take, image builds apart. Default 30 minutes. */
  timeout: Schema.optional(LongTime),
  /** How long each wait on a machine may take that does not say so itself, three times that under emulation. Default 5 minutes. */
  waitTimeout: Schema.optional(LongTime)
}).annotate({
  expected: `an object of options, such as ${example}, or {} for no machines`,
  /** NixOS's word among them. */
  aliases: { nodes: "machines", vms: "machines", hosts: "machines" }
})

/** What a test declares besides its name and its program. */
export interface TestOptions<Machines extends Readonly<Record<string, MachineOptions>>>
  extends Omit<Schema.Schema.Type<typeof TestOptions>, "machines"> {
  /** The machines by name. Their keys are the guests' host names, and the keys of the body's first argument. Default none. */
  readonly machines?: Machines | undefined
}

const optionsProblem = Decode.checker(TestOptions, { whole: "the options" })

/**
 * Declares a test.
 *
 * The body is given the machines by name and the test's driver. It passes if its Effect succeeds; any failure, defect or failed assertion
 * fails the test, and so does a value that is an Effect, or a failed Exit: somebody forgot to `yield*` it. What is wrong with the declaration itself is found before anything starts.
 *
 * ```ts
 * export default test("greets", { machines: { web: { image: Image.tiny() } } }, ({ web }) => web.succeed("echo hello"))
 * ```
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
  const problem = optionsProblem(options)?.reason ?? bodyProblem(body)
  const { machines, timeout, waitTimeout }: TestOptions<Machines> = problem === undefined ? options : {}
  return {
    [TypeId]: TypeId,
    name,
    machines: machines ?? {},
    timeout,
    waitTimeout,
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
    declaredAt: () => scriptFrame(stack)
  }
}

/** Whether a value is a test. */
export const isTestCase = (value: unknown): value is TestCase => Predicate.hasProperty(value, TypeId)

/** A test without machines of its own: a program that asks the `Driver` service for what it needs. */
export const fromEffect = (
  name: string,
  program: Effect.Effect<unknown, unknown, TestServices>,
  options: { readonly timeout?: Duration.Input } = {}
): TestCase => test(name, options, () => program)

/**
 * The tests in a script's default export: one test, an array of tests, or a plain Effect.
 *
 * Gives undefined when it is none of these. `name` names a plain Effect.
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
