import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Watch from "../../src/cli/Watch.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vmtest-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

describe("--watch", () => {
  it.live("runs again what a changed file affects, and scripts that are new", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const [a, b, c, shared] = ["a.ts", "b.ts", "c.ts", "shared.ts"].map((name) => join(path, name)) as [
        string,
        string,
        string,
        string
      ]
      for (const file of [a, b, shared]) writeFileSync(file, "1")
      const runs = yield* Queue.unbounded<ReadonlyArray<string>>()
      let scripts = [a, b]
      const inputs = new Map([
        [a, [a, shared]],
        [b, [b]],
        [c, [c]]
      ])
      yield* Effect.forkScoped(
        Watch.loop({
          find: Effect.sync(() => scripts),
          run: (some) =>
            Effect.as(Queue.offer(runs, some), new Map([...inputs].filter(([script]) => some.includes(script))))
        })
      )
      const next = Queue.take(runs).pipe(Effect.timeout("10 seconds"))
      assert.deepStrictEqual(yield* next, [a, b])
      yield* Effect.sleep("300 millis")
      writeFileSync(shared, "2")
      assert.deepStrictEqual(yield* next, [a])
      yield* Effect.sleep("300 millis")
      // A file that is written as it was has not changed.
      writeFileSync(a, "1")
      yield* Effect.sleep("500 millis")
      writeFileSync(b, "2")
      assert.deepStrictEqual(yield* next, [b])
      yield* Effect.sleep("300 millis")
      scripts = [a, b, c]
      writeFileSync(c, "1")
      assert.deepStrictEqual(yield* next, [c])
    }).pipe(Effect.scoped)
  )

  it.live("goes on when scripts can be found no more for a moment", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const a = join(path, "a.ts")
      writeFileSync(a, "1")
      const runs = yield* Queue.unbounded<ReadonlyArray<string>>()
      let fails = false
      yield* Effect.forkScoped(
        Watch.loop({
          find: Effect.suspend(() => (fails ? Effect.fail(new Error("gone")) : Effect.succeed([a]))),
          run: (some) => Effect.as(Queue.offer(runs, some), new Map([[a, [a]]]))
        })
      )
      const next = Queue.take(runs).pipe(Effect.timeout("10 seconds"))
      yield* next
      yield* Effect.sleep("300 millis")
      fails = true
      writeFileSync(a, "2")
      yield* Effect.sleep("500 millis")
      fails = false
      writeFileSync(a, "3")
      assert.deepStrictEqual(yield* next, [a])
    }).pipe(Effect.scoped)
  )

  it("affects the scripts that are made of a file", () => {
    const known = new Map([
      ["a", ["/a", "/s"]],
      ["b", ["/b", "/s"]]
    ])
    assert.deepStrictEqual(Watch.affected(["a", "b", "c"], known, new Set(["/s"])), ["a", "b", "c"])
    assert.deepStrictEqual(Watch.affected(["a", "b"], known, new Set(["/b"])), ["b"])
    assert.deepStrictEqual(Watch.affected(["a", "b"], known, new Set(["/x"])), [])
  })
})
