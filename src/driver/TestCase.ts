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

/** `skip`: does not apply now. `fixme`: does not pass yet. `only`: is worked on. */
export type Mark = "skip" | "fixme" | "only"

/** How the tests of a suite share machines: the same ones in turn, or each has forks of them. */
export type Isolation = "shared" | "fork"

/** A suite; its tests have the same object. */
export interface SuiteOf {
  readonly name: string
  readonly isolation: Isolation
  /** That of the suite itself; its tests have theirs. */
  readonly mark?: Mark | undefined
  /** Where the script declares it, if that is known. */
  readonly declaredAt: () => Location | undefined
}

/** A test, ready to be run. */
export interface TestCase {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  readonly machines: Readonly<Record<string, MachineOptions>>
  /** The names of machines that `vmtest.config.ts` defines for all tests, until they are among `machines`. */
  readonly shared?: ReadonlyArray<string> | undefined
  /** What reports and `--grep @tag` know it by, besides its name; without the `@`. */
  readonly tags?: ReadonlyArray<string> | undefined
  /** `skip` and `fixme`: it is not run. `only`: of its run, only tests with this are. */
  readonly mark?: Mark | undefined
  /** Why it is not run. */
  readonly reason?: string | undefined
  /** The suite that declares its machines. */
  readonly suite?: SuiteOf | undefined
  /** Which repetition of the test it is, from 1. Default 1. */
  readonly repeat?: number | undefined
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
  /** The files that its script is made of, with full paths, if the command has bundled it. */
  readonly inputs?: ReadonlyArray<string> | undefined
  /** Its folder in the output folder; `.` is that folder itself. Default: a folder that has the test's name. */
  readonly folder?: string | undefined
  /** What happens if its body makes Effects that are never run. */
  readonly unrun?: "fail" | "warn" | "ignore" | undefined
  /** Programs of the host that its body needs, besides those of its machines. Default none. */
  readonly programs?: ReadonlyArray<string> | undefined
  /** What is wrong with its declaration, apart from its machines; the test is not run then. */
  readonly problem?: string | undefined
  /** Where the script declares it, if that is known. */
  readonly declaredAt: () => Location | undefined
  /** The lines that called that one, the nearest first. */
  readonly declaredFrom: () => ReadonlyArray<Location>
}

/** The machines of a test by name, or the names of shared ones. */
export type Declared = Readonly<Record<string, MachineOptions>> | ReadonlyArray<string>

/** The machines that a test's body receives. */
export type MachinesOf<D extends Declared> =
  D extends ReadonlyArray<infer Name extends string>
    ? { readonly [N in Name]: Machine }
    : { readonly [Name in keyof D]: Machine }

type NamesOf<D extends Declared> = D extends ReadonlyArray<infer Name extends string> ? Name : Extract<keyof D, string>

const isNames = (value: unknown): value is ReadonlyArray<string> =>
  Array.isArray(value) && value.every((one) => typeof one === "string")

const isDeclarations = (value: unknown): value is Readonly<Record<string, MachineOptions>> =>
  Predicate.isObject(value) && !Array.isArray(value) && !Effect.isEffect(value)

const Tag = Fields.text('a word without blanks and without "@", such as "slow"', /^[^\s@]\S*$/)

const example = "{ machines: { web: { image: Image.tiny() } } }"
const LongTime = Fields.time({ endless: true })

/** The options of a test. */
export const TestOptions = Schema.Struct({
  /**
   * The machines by name; each is checked by `MachineOptions` when the test is run. Or the names of machines that `vmtest.config.ts` defines.
   */
  machines: Schema.optional(
    Schema.declare<Declared>((value): value is Declared => isNames(value) || isDeclarations(value), {
      expected: `an object of names and declarations, such as ${example}`
    })
  ),
  /** What `--grep @slow` selects it by: words without blanks, such as `"slow"`. Default none. */
  tags: Schema.optional(Schema.Array(Tag)),
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
export interface TestOptions<Machines extends Declared = Declared>
  extends Omit<Schema.Codec.Encoded<typeof TestOptions>, "machines"> {
  /**
   * The machines by name. Their keys are the guests' host names, and the keys of the body's first argument. Or an array of names of machines that
   * `vmtest.config.ts` defines. Default none.
   */
  readonly machines?: Machines | undefined
}

/** A test's program. */
export type Body<Machines extends Declared> = (
  machines: MachinesOf<Machines>,
  driver: DriverService<NamesOf<Machines>>
) => Effect.Effect<unknown, unknown, TestServices>

type None = Readonly<Record<never, MachineOptions>>

/** Declares one test. */
export type Declare = <const Machines extends Declared = None>(
  name: string,
  options: TestOptions<Machines>,
  body: Body<Machines>
) => TestCase

/** Declares one test for each case. */
export type DeclareEach = <const Case>(
  cases: ReadonlyArray<Case>
) => <const Machines extends Declared = None>(
  name: string | ((one: Case) => string),
  options: TestOptions<Machines> | ((one: Case) => TestOptions<Machines>),
  body: (one: Case, ...args: Parameters<Body<Machines>>) => ReturnType<Body<Machines>>
) => ReadonlyArray<TestCase>

const nameProblem = Decode.checker(Fields.title, { whole: "the name" })
const optionsProblem = Decode.checker(TestOptions, { whole: "the options" })

const declare = <Machines extends Declared>(
  { mark, stack, text }: { readonly mark?: Mark | undefined; readonly stack: string; readonly text?: () => string },
  name: string,
  options: TestOptions<Machines>,
  body: Body<Machines>
): TestCase => {
  const problem = nameProblem(name)?.reason ?? optionsProblem(options)?.reason ?? bodyProblem(body)
  const { machines, networks, tags, timeout, unrun, waitTimeout }: TestOptions<Machines> =
    problem === undefined ? options : {}
  const given: Declared = machines ?? {}
  return {
    [TypeId]: TypeId,
    // What no compiler checked may be of any type.
    name: String(name),
    machines: isNames(given) ? {} : given,
    shared: isNames(given) ? given : undefined,
    ...{ networks, tags, timeout, waitTimeout, unrun, mark, problem },
    // The runner hands over exactly the machines that are declared, so the record has the keys that the body's type names.
    body: (machines, driver) =>
      runBody("the body", body(machines as MachinesOf<Machines>, driver as DriverService<NamesOf<Machines>>), {
        last: true
      }),
    source: text ?? (() => Function.prototype.toString.call(body)),
    declaredAt: () => scriptFrames(stack)[0],
    declaredFrom: () => scriptFrames(stack).slice(1)
  }
}

/** Where the script calls. */
const stackHere = (): string => new Error().stack ?? ""

const marked =
  (mark?: Mark): Declare =>
  (name, options, body) =>
    declare({ mark, stack: stackHere() }, name, options, body)

/** A case in a name: what `$key` names of it, or what `%s` is. */
const inName = (name: string, one: unknown): string =>
  name
    .replaceAll("%s", () => (typeof one === "string" ? one : Decode.shown(one)))
    .replaceAll(/\$(\w+)/g, (whole, key: string) => (Predicate.hasProperty(one, key) ? String(one[key]) : whole))

const each =
  (mark?: Mark): DeclareEach =>
  (cases) =>
  (name, options, body) => {
    const stack = stackHere()
    const taken = new Set<string>()
    if (!Array.isArray(cases)) {
      const problem = `the cases of test.each must be an array, got ${Decode.shown(cases)}`
      return [{ ...declare({ mark, stack, text: () => "" }, String(name), {}, () => Effect.void), problem }]
    }
    return cases.map((one) => {
      const called = typeof name === "function" ? name(one) : inName(String(name), one)
      const given = typeof options === "function" ? options(one) : options
      // Its machines are in the second argument, where their names are not looked for.
      const made = declare({ mark, stack, text: () => "" }, called, given, (...args) => body(one, ...args))
      const problem = taken.has(called)
        ? `test.each declares several tests of this name: name them by their cases, with %s, $key or a function`
        : undefined
      taken.add(called)
      return problem === undefined ? made : { ...made, problem: made.problem ?? problem }
    })
  }

/** What {@link test} is: a function, and its variants. */
export interface TestFunction extends Declare {
  /** A test that is not run, and reported as skipped. */
  readonly skip: Declare
  /** A test that should pass and does not yet: it is not run, and reported as skipped. */
  readonly fixme: Declare
  /** While any test of a run is declared with this, only those are run; `--forbid-only` refuses them, and so does a CI system (`CI=true`). */
  readonly only: Declare
  /**
   * A test for each case of an array. In the name, `%s` is the case and `$key` is its property; a function of the case gives the name or the options.
   * The body has the case as its first argument.
   */
  readonly each: DeclareEach
}

/**
 * Declares a test.
 *
 * The body receives the machines by name, and the test's driver. The test passes if the body's Effect succeeds. A failure, a defect or a
 * failed assertion fails it, and so does a value that is an Effect or a failed Exit, because a `yield*` is missing then. A wrong declaration,
 * such as a blank name, is an error before anything starts; so is a body whose text names a machine that is not declared.
 *
 * `test.skip`, `test.fixme` and `test.only` are declared alike, and `test.each` declares a test for each case.
 *
 * **Example** (A test for each size)
 *
 * ```ts
 * export default test.each([1, 64])("serves %s MiB", { machines: { web: { image: Image.tiny() } } }, (size, { web }) =>
 *   web.succeed(`dd if=/dev/zero of=/tmp/file bs=1M count=${size}`)
 * )
 * ```
 */
export const test: TestFunction = Object.assign(marked(), {
  skip: marked("skip"),
  fixme: marked("fixme"),
  only: marked("only"),
  each: each()
})

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
