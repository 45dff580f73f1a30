/** The tests of a run: those of its scripts that are wanted. */
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type { InvalidTest } from "../../driver/InvalidTest.ts"
import * as Selection from "../../driver/Selection.ts"
import * as Shard from "../../driver/Shard.ts"
import type { TestCase } from "../../driver/TestCase.ts"
import * as Location from "../../host/Location.ts"
import * as Spelling from "../../host/Spelling.ts"
import * as LastRun from "../LastRun.ts"
import { pointAtLocation } from "../ScriptError.ts"
import type { Settings } from "./settings.ts"

/** A test that is wanted, and what it is known by. */
export interface Wanted {
  readonly key: string
  /** Among all tests that could be selected. */
  readonly index: number
  readonly test: TestCase
}

/** The tests that are to run, or why there are none, which need not be a mistake. */
export type Selected =
  | { readonly _tag: "Some"; readonly wanted: ReadonlyArray<Wanted> }
  | { readonly _tag: "None"; readonly reason: string; readonly isMistake: boolean }

/** How many marks an error shows. */
const mostShown = 5

/** A test or a suite is declared with `test.only` or `suite.only` where that is forbidden. */
export class OnlyForbidden extends Schema.TaggedError<OnlyForbidden>()("OnlyForbidden", {
  marks: Schema.Array(
    Schema.Struct({
      kind: Schema.Literals(["test", "suite"]),
      name: Schema.String,
      declaredAt: Schema.optional(Location.Location)
    })
  )
}) {
  override get message() {
    const shown = this.marks.slice(0, mostShown).map(({ declaredAt, kind, name }, index) => {
      const why = index > 0 ? "" : `, which --forbid-only refuses (by default where CI is set); write ${kind} instead`
      const what = `the ${kind} ${JSON.stringify(name)} is declared with ${kind}.only${why}`
      return declaredAt === undefined ? what : pointAtLocation(declaredAt, what)
    })
    const left = this.marks.length - shown.length
    return [...shown, ...(left > 0 ? [`and ${left} more`] : [])].join("\n")
  }
}

/** What is marked: tests, and suites as a whole. */
const marksOf = (tests: ReadonlyArray<TestCase>): OnlyForbidden["marks"] => {
  const seen = new Set<object>()
  return tests.flatMap((test) => {
    if (test.mark !== "only") return []
    // The tests that are marked in a suite that is marked, too, come to light when the mark of the suite is gone.
    const marked = test.suite?.mark === "only" ? test.suite : test
    if (seen.has(marked)) return []
    seen.add(marked)
    return [{ kind: marked === test ? "test" : "suite", name: marked.name, declaredAt: marked.declaredAt() } as const]
  })
}

const none = (reason: string, isMistake = false): Selected => ({ _tag: "None", reason, isMistake })

/** Keys of tests that run on the same machines, and of each other test alone. */
const unitsOf = (wanted: ReadonlyArray<Wanted>): ReadonlyArray<ReadonlyArray<string>> => {
  const units = new Map<object, Array<string>>()
  for (const { key, test } of wanted) {
    const together = test.suite?.isolation === "shared" ? test.suite : test
    units.set(together, [...(units.get(together) ?? []), key])
  }
  return [...units.values()]
}

/** The part of the tests that `--shard` asks for. Tests of one suite that share their machines stay together. */
const sharded = Effect.fnUntraced(function* (wanted: ReadonlyArray<Wanted>, settings: Settings) {
  const { durations, outputFolder, shard } = settings
  if (shard === undefined) return wanted
  const recorded = yield* LastRun.durations(durations ?? (yield* LastRun.durationsOf(outputFolder)))
  const keys = wanted.map(({ key }) => key)
  const parts = Shard.split(keys, shard.of, recorded, unitsOf(wanted))
  const own = new Set(parts[shard.index - 1] ?? [])
  return wanted.filter(({ key }) => own.has(key))
})

const repeated = (wanted: ReadonlyArray<Wanted>, times: number): ReadonlyArray<Wanted> =>
  times === 1
    ? wanted
    : wanted.flatMap(({ index, key, test }) =>
        Array.from({ length: times }, (_, count) => ({
          index,
          key: count === 0 ? key : `${key} [repeat ${count + 1}]`,
          test: { ...test, repeat: count + 1 }
        }))
      )

const timed =
  ({ timeout, usualTimeout, waitTimeout }: Settings) =>
  (test: TestCase): TestCase => ({
    ...test,
    timeout: timeout ?? test.timeout ?? usualTimeout,
    waitTimeout: test.waitTimeout ?? waitTimeout
  })

const quoted = (names: ReadonlyArray<string>) => names.map((name) => JSON.stringify(name)).join(" or ")

/** The name or the tag that one pattern was probably meant as. */
const meant = (all: ReadonlyArray<TestCase>, [pattern = "", ...others]: ReadonlyArray<string>): string => {
  const known = all.flatMap(({ name, tags = [] }) => [name, ...tags.map((tag) => `@${tag}`)])
  const found = others.length === 0 ? Spelling.near(pattern, known) : undefined
  return found === undefined ? "" : `; did you mean ${JSON.stringify(found)}?`
}

/** Those of the tests that are wanted, in their order. */
export const select: (
  all: ReadonlyArray<TestCase>,
  settings: Settings
) => Effect.Effect<
  Selected,
  InvalidTest | OnlyForbidden | Selection.InvalidPattern | LastRun.NoLastRun | LastRun.RecordUnusable,
  FileSystem.FileSystem
> = Effect.fnUntraced(function* (all: ReadonlyArray<TestCase>, settings: Settings) {
  yield* Selection.distinct(all)
  const marks = settings.forbidOnly ? marksOf(all) : []
  if (marks.length > 0) return yield* new OnlyForbidden({ marks })
  const keys = Selection.identities(all, (file) => NodePath.relative(process.cwd(), NodePath.resolve(file)))
  const focus = new Set(Selection.focused(all))
  const matches = yield* Selection.grep(settings.names)
  const named = all.flatMap(
    (test, index): ReadonlyArray<Wanted> =>
      matches(test) && focus.has(test) ? [{ test: timed(settings)(test), index, key: keys[index] ?? test.name }] : []
  )
  if (named.length === 0)
    return none(`no test matches --grep ${quoted(settings.names)}${meant(all, settings.names)}`, true)
  const failed = settings.onlyFailed ? yield* LastRun.failed(settings.outputFolder) : undefined
  const chosen = failed === undefined ? named : named.filter(({ key }) => failed.has(key))
  if (chosen.length === 0) return none("no test failed in the last run")
  const { shard } = settings
  const part = yield* sharded(chosen, settings)
  if (part.length === 0)
    return none(`part ${shard?.index} of ${shard?.of} has no tests: there are only ${chosen.length}`)
  return { _tag: "Some", wanted: repeated(part, settings.repeatEach) }
})
