/**
 * Which tests of a run are wanted, and what they are known by.
 *
 * **Example** (The slow tests of a web server)
 *
 * ```ts
 * const wanted = Effect.map(Selection.grep(["@slow", "!/client$/"]), (matches) => tests.filter(matches))
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Location } from "../host/Location.ts"
import { InvalidTest } from "./InvalidTest.ts"
import type { TestCase } from "./TestCase.ts"

/** A pattern of `--grep` is not a regular expression, though it is written as one. */
export class InvalidPattern extends Schema.TaggedError<InvalidPattern>()("InvalidPattern", {
  pattern: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `--grep ${JSON.stringify(this.pattern)} is not a regular expression: ${this.reason}`
  }
}

type Named = Pick<TestCase, "name" | "tags">

interface Pattern {
  readonly isWanted: boolean
  readonly matches: (test: Named) => boolean
}

const patternOf = Effect.fnUntraced(function* (written: string) {
  const isWanted = !written.startsWith("!")
  const text = isWanted ? written : written.slice(1)
  const [, source, flags] = /^\/(.+)\/([a-z]*)$/s.exec(text) ?? []
  if (source !== undefined) {
    const made = Result.try(() => new RegExp(source, flags?.replaceAll(/[gy]/g, "")))
    if (Result.isFailure(made)) {
      const reason = made.failure instanceof Error ? made.failure.message : String(made.failure)
      return yield* new InvalidPattern({ pattern: written, reason })
    }
    const expression = made.success
    const whole = ({ name, tags = [] }: Named) => [name, ...tags.map((tag) => `@${tag}`)].join(" ")
    return { isWanted, matches: (test) => expression.test(whole(test)) } satisfies Pattern as Pattern
  }
  const matches = ({ name, tags = [] }: Named) =>
    name.includes(text) || (text.startsWith("@") && tags.includes(text.slice(1)))
  return { isWanted, matches } satisfies Pattern as Pattern
})

/**
 * Whether a test matches one of the patterns: its name contains the text, it has the tag `@text`, or its name and tags match `/text/`. None of those
 * that begin with `!` may match. Without other patterns, all tests match.
 */
export const grep = Effect.fnUntraced(function* (patterns: ReadonlyArray<string>) {
  const all = yield* Effect.forEach(patterns, patternOf)
  const wanted = all.filter(({ isWanted }) => isWanted)
  const unwanted = all.filter(({ isWanted }) => !isWanted)
  return (test: Named): boolean =>
    (wanted.length === 0 || wanted.some(({ matches }) => matches(test))) &&
    !unwanted.some(({ matches }) => matches(test))
})

/** Those declared with `test.only` if there are any, or else all. */
export const focused = (tests: ReadonlyArray<TestCase>): ReadonlyArray<TestCase> => {
  const only = tests.filter(({ mark }) => mark === "only")
  return only.length === 0 ? tests : only
}

/**
 * What tests are known by from run to run and from host to host, in their order: their script and their name. `place` gives a script's path from a
 * folder that is the same on all hosts.
 */
export const identities = (
  tests: ReadonlyArray<Pick<TestCase, "name" | "file">>,
  place: (file: string) => string = (file) => file
): ReadonlyArray<string> => tests.map(({ file, name }) => (file === undefined ? name : `${place(file)} › ${name}`))

/** Why two tests of a script may not have one name, and how to change that. */
const sameName = (first: TestCase, second: TestCase): InvalidTest => {
  const [declaredAt, otherAt] = [second.declaredAt(), first.declaredAt()]
  const invalid = (reason: string, other?: Location) =>
    new InvalidTest({ test: second.name, reason, declaredAt, otherAt: other })
  if (first.body === second.body)
    return invalid("the script has this test twice; to run a test several times, use --repeat-each")
  if (declaredAt !== undefined && declaredAt.line === otherAt?.line && declaredAt.column === otherAt.column)
    return invalid(
      "the script declares several tests of this name here; give each a name of its own, for example with test.each"
    )
  const where = otherAt === undefined ? "" : `, at line ${otherAt.line}`
  return invalid(
    `another test of the script has this name${where}; give each a name of its own, or declare them with test.each`,
    otherAt
  )
}

/**
 * Fails with the first test whose name another test of its script has: a test is known by its script and its name. Outside of scripts, the file that
 * declares a test is its script. Repetitions of a test are that test.
 */
export const distinct = (tests: ReadonlyArray<TestCase>): Effect.Effect<void, InvalidTest> =>
  Effect.suspend(() => {
    const seen = new Map<string, ReadonlyArray<TestCase>>()
    const scriptOf = (test: TestCase) => test.file ?? test.declaredAt()?.file
    for (const test of tests) {
      // What is declared wrongly has more to say for itself.
      if (test.problem !== undefined) continue
      const key = `${test.repeat ?? 1} ${test.name}`
      const namesakes = seen.get(key) ?? []
      // Where a test is declared takes time to find out.
      const other =
        namesakes.length === 0
          ? undefined
          : namesakes.find((one) => one.script === test.script && scriptOf(one) === scriptOf(test))
      if (other !== undefined) return sameName(other, test)
      seen.set(key, [...namesakes, test])
    }
    return Effect.void
  })
