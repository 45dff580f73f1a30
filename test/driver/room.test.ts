import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Reporter } from "../../src/driver/RunEvent.ts"
import { test } from "../../src/driver/TestCase.ts"
import { offline, runOnMock } from "./support.ts"

/** Runs tests that each take a while, and gives how many ran at once at most, their order, and what was logged. */
const runAll = (
  declared: ReadonlyArray<Parameters<typeof offline>[0]>,
  limits: { readonly memory: number; readonly cpus: number }
) =>
  Effect.gen(function* () {
    let [now, most] = [0, 0]
    const order: Array<number> = []
    const lines: Array<string> = []
    const tests = declared.map((options, index) =>
      test(`${index}`, { machines: { a: offline({ ...options, autoStart: false }) } }, () =>
        Effect.gen(function* () {
          now += 1
          most = Math.max(most, now)
          order.push(index)
          yield* Effect.sleep("30 millis")
          now -= 1
        })
      )
    )
    const results = yield* runOnMock(tests, {}, 0, { concurrency: tests.length }, limits).pipe(
      Effect.provideService(Reporter, (event) =>
        Effect.sync(() => {
          if (event._tag === "Log") lines.push(`${event.test}: ${event.line}`)
        })
      )
    )
    assert.isTrue(results.every(({ status }) => status === "passed"))
    // A test's own time does not include that in which it waited.
    assert.isTrue(results.every(({ millis }) => millis < 5000))
    return { most, order, lines }
  })

const gib = 2 ** 30

describe("tests that run at once", () => {
  it.live("have no more memory together than the host, and say what they wait for", () =>
    Effect.gen(function* () {
      const nine = { memory: "9 GiB" } as const
      const { lines, most, order } = yield* runAll([nine, nine, nine, nine], { memory: 23 * gib, cpus: 4 })
      assert.strictEqual(most, 2)
      assert.deepStrictEqual(order, [0, 1, 2, 3])
      assert.strictEqual(lines[0], "2: waiting for 9 GiB of memory (running tests use 18 GiB of 23 GiB)")
    })
  )

  it.live("have no more processors than the host, of machines with several; machines with one do not count", () =>
    Effect.gen(function* () {
      const three = yield* runAll([{ cpus: 3 }, { cpus: 3 }, { cpus: 1 }], { memory: 23 * gib, cpus: 4 })
      assert.strictEqual(three.most, 2)
      assert.strictEqual(three.lines[0], "1: waiting for 3 processors (running tests use 3 of 4)")
      const one = yield* runAll([{}, {}, {}, {}], { memory: 23 * gib, cpus: 1 })
      assert.deepStrictEqual([one.most, one.lines], [4, []])
    })
  )

  it.live("start in their order: one that needs much is not kept waiting by those after it that need little", () =>
    Effect.gen(function* () {
      const declared = ["4 GiB", "9 GiB", "1 GiB", "1 GiB"].map((memory) => ({ memory: memory as "1 GiB" }))
      const { order } = yield* runAll(declared, { memory: 10 * gib, cpus: 4 })
      assert.deepStrictEqual(order, [0, 1, 2, 3])
    })
  )
})
