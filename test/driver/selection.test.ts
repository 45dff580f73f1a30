import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Selection from "../../src/driver/Selection.ts"
import * as Shard from "../../src/driver/Shard.ts"
import * as SharedMachines from "../../src/driver/SharedMachines.ts"
import { test } from "../../src/driver/TestCase.ts"
import { offline, runOnMock } from "./support.ts"

const declared = (name: string, tags: ReadonlyArray<string> = []) => test(name, { tags }, () => Effect.void)

describe("--grep", () => {
  const all = [declared("web serves", ["slow"]), declared("web stops"), declared("db starts", ["slow", "db"])]
  const chosen = (...patterns: Array<string>) =>
    Effect.map(Selection.grep(patterns), (matches) => all.filter(matches).map(({ name }) => name))

  it.effect("takes texts, tags and regular expressions, and leaves out those after an exclamation mark", () =>
    Effect.gen(function* () {
      assert.lengthOf(yield* chosen(), 3)
      assert.deepStrictEqual(yield* chosen("web"), ["web serves", "web stops"])
      assert.deepStrictEqual(yield* chosen("stops", "starts"), ["web stops", "db starts"])
      assert.deepStrictEqual(yield* chosen("@slow"), ["web serves", "db starts"])
      assert.deepStrictEqual(yield* chosen("@slo"), [])
      assert.deepStrictEqual(yield* chosen("/^WEB s/i"), ["web serves", "web stops"])
      assert.deepStrictEqual(yield* chosen("/@db$/"), ["db starts"])
      assert.deepStrictEqual(yield* chosen("!@slow"), ["web stops"])
      assert.deepStrictEqual(yield* chosen("web", "!@slow"), ["web stops"])
    })
  )

  it.effect("refuses a regular expression that is none", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(chosen("/(/"))
      assert.include(error.message, '--grep "/(/" is not a regular expression: ')
    })
  )
})

describe("what tests are known by", () => {
  it("is their script and name", () => {
    const named = [{ name: "a", file: "x.ts" }, { name: "a", file: "y.ts" }, { name: "a" }]
    assert.deepStrictEqual(Selection.identities(named), ["x.ts › a", "y.ts › a", "a"])
    assert.deepStrictEqual(
      Selection.identities([{ name: "a", file: "/p/x.ts" }], (file) => file.slice(3)),
      ["x.ts › a"]
    )
  })

  it.effect("is one test's alone", () =>
    Effect.gen(function* () {
      const says = (tests: Parameters<typeof runOnMock>[0]) =>
        Effect.map(Effect.flip(Effect.andThen(runOnMock(tests), Effect.fail(undefined))), (error) => ({
          message: error?.message.replace(/^.*selection\.test\.ts/, "FILE") ?? "",
          otherAt: error !== undefined && "otherAt" in error ? error.otherAt?.line : undefined
        }))
      const one = test("boots", {}, () => Effect.void)
      const other = test("boots", {}, () => Effect.void)
      const line = one.declaredAt()?.line ?? 0
      assert.deepStrictEqual(yield* says([one, other]), {
        message: `FILE:${line + 1}:21: test "boots": another test of the script has this name, at line ${line}; give each a name of its own, or declare them with test.each`,
        otherAt: line
      })
      const made = [1, 2].map(() => test("boots", {}, () => Effect.void))
      assert.include(
        (yield* says(made)).message,
        "declares several tests of this name here; give each a name of its own"
      )
      assert.include((yield* says([one, { ...one }])).message, "the script has this test twice; to run a test several")
      assert.strictEqual((yield* says([one, { ...one, repeat: 2 }, { ...other, file: "y.ts" }])).message, "")
      const each = test.each([1, 1])("of %s", {}, () => Effect.void)
      assert.include((yield* says(each)).message, "test.each declares several tests of this name")
    })
  )
})

const millisOf = (keys: ReadonlyArray<string>, durations: Shard.Durations) =>
  keys.reduce((sum, key) => sum + (durations.get(key) ?? 0), 0)

describe("shards", () => {
  const Keys = Schema.UniqueArray(Schema.String)
  const Parts = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 }))
  const Weights = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 })))

  it.prop(
    "together are all tests, each once and in order, whatever is recorded",
    [Keys, Parts, Weights],
    ([keys, parts, weights]) => {
      const durations = new Map(
        keys.flatMap((key, index) => (weights[index] === undefined ? [] : [[key, weights[index]!]]))
      )
      const shares = Shard.split(keys, parts, durations)
      assert.lengthOf(shares, parts)
      assert.deepStrictEqual(shares.flat().toSorted(), keys.toSorted())
      for (const share of shares)
        assert.deepStrictEqual(
          share,
          keys.filter((key) => share.includes(key))
        )
    }
  )

  it.prop("do not depend on the order of the tests", [Keys, Parts, Weights], ([keys, parts, weights]) => {
    const durations = new Map(
      keys.flatMap((key, index) => (weights[index] === undefined ? [] : [[key, weights[index]!]]))
    )
    const sorted = (shares: ReadonlyArray<ReadonlyArray<string>>) => shares.map((share) => share.toSorted())
    assert.deepStrictEqual(
      sorted(Shard.split(keys.toReversed(), parts, durations)),
      sorted(Shard.split(keys, parts, durations))
    )
  })

  it("take about as long as each other", () => {
    const keys = Array.from({ length: 60 }, (_, index) => `test ${index}`)
    const durations = new Map(keys.map((key, index) => [key, 1000 + ((index * 7919) % 60) * 500]))
    const shares = Shard.split(keys, 4, durations).map((share) => millisOf(share, durations))
    const fair = millisOf(keys, durations) / 4
    assert.isAtMost(Math.max(...shares), fair * 1.01)
  })

  it("have as many tests as each other where nothing is recorded", () => {
    const keys = Array.from({ length: 10 }, (_, index) => `test ${index}`)
    const shares = Shard.split(keys, 4, new Map())
    assert.deepStrictEqual(
      shares.map(({ length }) => length),
      [3, 3, 2, 2]
    )
  })

  it("keep tests that belong together in one part", () => {
    const keys = ["a", "b", "c", "d"]
    const shares = Shard.split(keys, 2, new Map(), [["a", "d"], ["b"], ["c"]])
    assert.deepStrictEqual(shares, [
      ["a", "d"],
      ["b", "c"]
    ])
  })
})

describe("machines that tests name", () => {
  const definitions = { web: offline(), db: offline() }
  const origin = { from: "vmtest.config.ts", digest: "1" }
  const names = (wanted: ReadonlyArray<string>) => test("uses them", { machines: wanted }, () => Effect.void)

  it.effect("are those of the config file", () =>
    Effect.gen(function* () {
      const typed = test("typed", { machines: ["web"] }, ({ web }) => Effect.succeed(web.name))
      const [result] = yield* runOnMock(SharedMachines.resolve([typed], definitions, origin))
      assert.strictEqual(result?.value, "web")
    })
  )

  it.effect("must be defined there", () =>
    Effect.gen(function* () {
      const [misspelt] = SharedMachines.resolve([names(["wbe"])], definitions, origin)
      assert.include(
        (yield* Effect.flip(runOnMock([misspelt!]))).message,
        'vmtest.config.ts defines no machine "wbe"; did you mean "web"?'
      )
      const [none] = SharedMachines.resolve([names(["web"])], {}, origin)
      assert.include((yield* Effect.flip(runOnMock([none!]))).message, "it defines no machines")
      const alone = yield* Effect.flip(runOnMock([names(["web"])]))
      assert.include(alone.message, 'it names the machine "web", and there is no vmtest.config.ts that defines it')
    })
  )

  it("renew what is stored of their warm-ups when the config file changes", () => {
    const scripted = { ...names(["web"]), script: "digest" }
    const [one] = SharedMachines.resolve([scripted], definitions, origin)
    const [other] = SharedMachines.resolve([scripted], definitions, { ...origin, digest: "2" })
    assert.notStrictEqual(one?.script, other?.script)
  })
})
