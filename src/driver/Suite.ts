/**
 * Suites: tests of a script that share the declaration of their machines, and the machines themselves.
 *
 * With the isolation `"shared"`, the machines start once, the tests run on them one after the other in their order, and what one of them changes is there
 * for the next. With `"fork"`, each test has the machines for itself, as they are after boot and warm-up: forks of one stored snapshot, which start in a
 * fraction of a second; such tests can run at the same time.
 *
 * **Example** (A database that boots once)
 *
 * ```ts
 * import { Image, suite } from "vmtest"
 *
 * export default suite("the database", { machines: { db: { image: Image.debian({ packages: ["redis"] }) } } }, (test) => {
 *   test("starts", ({ db }) => db.waitForUnit("redis-server.service"))
 *   test("keeps a value", ({ db }) => db.succeed("redis-cli set key value"))
 *   test("gives it back", ({ db }) => db.succeed("redis-cli get key | grep value"))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import { scriptFrames } from "./internal/scriptLocation.ts"
import {
  type Body,
  type Declared,
  type Isolation,
  type Mark,
  type SuiteOf,
  type TestCase,
  TestOptions,
  test
} from "./TestCase.ts"

/** The options of a suite: those of a test, which its tests can change, and what they share. */
export const SuiteOptions = Schema.Struct({
  ...TestOptions.fields,
  /** `"shared"`: the machines start once, for all tests in their order. `"fork"`: each test has fresh forks of them. Default `"shared"`. */
  isolation: Schema.optional(Schema.Literals(["shared", "fork"]).annotate({ expected: '"shared" or "fork"' }))
}).annotate({
  expected: "an object of options, such as { machines: { web: { image: Image.tiny() } } }",
  aliases: { nodes: "machines", vms: "machines", hosts: "machines", vlans: "networks", lans: "networks" }
})

/** The options of a suite. */
export interface SuiteOptions<Machines extends Declared = Declared>
  extends Omit<Schema.Codec.Encoded<typeof SuiteOptions>, "machines"> {
  /** The machines by name, as those of a test; or an array of names of machines that `vmtest.config.ts` defines. Default none. */
  readonly machines?: Machines | undefined
}

/** The options of a test in a suite. */
export const SuiteTestOptions = Fields.options(
  {
    timeout: TestOptions.fields.timeout,
    waitTimeout: TestOptions.fields.waitTimeout,
    /** Besides those of the suite. */
    tags: TestOptions.fields.tags,
    unrun: TestOptions.fields.unrun
  },
  '{ timeout: "1 minute" }'
)

/** The options of a test in a suite. */
export interface SuiteTestOptions extends Schema.Codec.Encoded<typeof SuiteTestOptions> {}

/** Declares a test of a suite. */
export interface DeclareInSuite<Machines extends Declared> {
  (name: string, body: Body<Machines>): void
  (name: string, options: SuiteTestOptions, body: Body<Machines>): void
}

/** Declares a test of a suite for each case: see `test.each`. */
export type DeclareEachInSuite<Machines extends Declared> = <const Case>(cases: ReadonlyArray<Case>) => {
  (name: Title<Case>, body: BodyOfCase<Case, Machines>): void
  (name: Title<Case>, options: SuiteTestOptions, body: BodyOfCase<Case, Machines>): void
}

type Title<Case> = string | ((one: Case) => string)
type BodyOfCase<Case, Machines extends Declared> = (
  one: Case,
  ...args: Parameters<Body<Machines>>
) => ReturnType<Body<Machines>>

/** Declares the tests of a suite, as `test` does outside of one. */
export interface SuiteTest<Machines extends Declared> extends DeclareInSuite<Machines> {
  readonly each: DeclareEachInSuite<Machines>
  readonly skip: DeclareInSuite<Machines>
  readonly fixme: DeclareInSuite<Machines>
  readonly only: DeclareInSuite<Machines>
}

type None = Readonly<Record<never, MachineOptions>>

const nameProblem = Decode.checker(Fields.title, { whole: "the name of the suite" })
const optionsProblem = Decode.checker(SuiteOptions, { whole: "the options of the suite" })
const ownProblem = Decode.checker(SuiteTestOptions, { whole: "the options" })

/** The suite whose tests are being declared. */
let open: string | undefined

/** A test that only says what is wrong with its suite. */
const wrong = (name: string, problem: string): ReadonlyArray<TestCase> => [
  { ...test(name, {}, () => Effect.void), problem }
]

/** The tests of a suite with the mark of the suite. A test that is skipped stays so, and `test.only` in `suite.only` chooses among its tests. */
const withMark = (tests: ReadonlyArray<TestCase>, mark: Mark | undefined): ReadonlyArray<TestCase> => {
  if (mark === undefined) return tests
  const isSkipped = (one: TestCase) => one.mark === "skip" || one.mark === "fixme"
  if (mark !== "only") return tests.map((one) => (isSkipped(one) ? one : { ...one, mark, reason: `suite.${mark}` }))
  const chosen = tests.filter((one) => one.mark === "only")
  return tests.map((one) => (isSkipped(one) || chosen.length > 0 ? one : { ...one, mark }))
}

/** Declares a suite. */
export type DeclareSuite = <const Machines extends Declared = None>(
  name: string,
  options: SuiteOptions<Machines>,
  define: (test: SuiteTest<Machines>) => void
) => ReadonlyArray<TestCase>

const declareSuite = <const Machines extends Declared>(
  { mark, stack }: { readonly mark: Mark | undefined; readonly stack: string },
  name: string,
  options: SuiteOptions<Machines>,
  define: (test: SuiteTest<Machines>) => void
): ReadonlyArray<TestCase> => {
  const problem =
    nameProblem(name)?.reason ??
    optionsProblem(options)?.reason ??
    (Predicate.isFunction(define) ? undefined : "the tests must be a function, such as (test) => { test(…) }")
  if (problem !== undefined) return wrong(String(name), problem)
  if (open !== undefined)
    throw new Error(`suite(${JSON.stringify(name)}) is in the suite ${JSON.stringify(open)}: suites cannot be nested`)
  const { isolation = "shared", tags = [], ...shared } = options
  const group: SuiteOf = { name, isolation: isolation as Isolation, mark, declaredAt: () => scriptFrames(stack)[0] }
  const tests: Array<TestCase> = []
  /** Adds what `declare` makes of a title and of what follows it: options, which can be left out, and a body. */
  const add = <B>(
    title: unknown,
    rest: readonly [B] | readonly [SuiteTestOptions, B],
    declare: (options: SuiteOptions<Machines>, body: B) => ReadonlyArray<TestCase>
  ) => {
    if (isClosed)
      throw new Error(`test(${JSON.stringify(title)}) was called after the suite ${JSON.stringify(name)} was declared`)
    const [own, body] = rest.length < 2 ? [{}, rest[0] as B] : (rest as readonly [SuiteTestOptions, B])
    const isTitle = typeof title === "function" || (typeof title === "string" && title.trim() !== "")
    const wrongly = isTitle ? ownProblem(own)?.reason : "the name must be a string that is not blank"
    const usable = wrongly === undefined ? own : {}
    const given = { ...shared, ...usable, tags: [...tags, ...(usable.tags ?? [])] } as SuiteOptions<Machines>
    for (const declared of declare(given, body))
      tests.push({ ...declared, suite: group, problem: wrongly ?? declared.problem })
  }
  const full = (title: string) => `${name} › ${title}`
  const declaring =
    (declare: typeof test | typeof test.skip): DeclareInSuite<Machines> =>
    (title: string, ...rest: [Body<Machines>] | [SuiteTestOptions, Body<Machines>]) =>
      add(title, rest, (given, body) => [declare<Machines>(full(title), given, body)])
  const each: DeclareEachInSuite<Machines> =
    <const Case>(cases: ReadonlyArray<Case>) =>
    (title: Title<Case>, ...rest: [BodyOfCase<Case, Machines>] | [SuiteTestOptions, BodyOfCase<Case, Machines>]) =>
      add(title, rest, (given, body) =>
        test.each(cases)<Machines>(typeof title === "function" ? (one) => full(title(one)) : full(title), given, body)
      )
  let isClosed = false
  open = name
  const ended = Result.try((): unknown =>
    define(
      Object.assign(declaring(test), {
        each,
        skip: declaring(test.skip),
        fixme: declaring(test.fixme),
        only: declaring(test.only)
      })
    )
  )
  open = undefined
  isClosed = true
  if (Result.isFailure(ended)) throw ended.failure
  if (Predicate.isPromiseLike(ended.success))
    return wrong(
      name,
      "the function of the tests must not be async: tests that it declares after an await would be lost"
    )
  return tests.length === 0 ? wrong(name, "the suite has no tests") : withMark(tests, mark)
}

const marked =
  (mark?: Mark): DeclareSuite =>
  (name, options, define) =>
    declareSuite({ mark, stack: new Error().stack ?? "" }, name, options, define)

/** What {@link suite} is: a function, and its variants. */
export interface SuiteFunction extends DeclareSuite {
  /** A suite whose tests are not run, and are reported as skipped. */
  readonly skip: DeclareSuite
  /** A suite that should pass and does not yet: its tests are not run, and are reported as skipped. */
  readonly fixme: DeclareSuite
  /**
   * While any suite or test of a run is declared with `only`, only those are run; of a suite that has `test.only` in it, only these tests.
   * `--forbid-only` refuses it, and so does a CI system (`CI=true`).
   */
  readonly only: DeclareSuite
}

/**
 * Declares tests that share machines. The function of the tests is called at once, with the function that declares a test. Gives the tests, named
 * `suite › test`, for the default export of a script. `suite.skip`, `suite.fixme` and `suite.only` are declared alike.
 */
export const suite: SuiteFunction = Object.assign(marked(), {
  skip: marked("skip"),
  fixme: marked("fixme"),
  only: marked("only")
})
