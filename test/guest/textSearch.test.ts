import { assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { search } from "../../src/guest/internal/textSearch.ts"

const ended = (text: string) => Effect.fail(text)

describe("a pattern in a text that grows", () => {
  it.effect("is found however the text is cut, the lines' ends too", () =>
    Effect.gen(function* () {
      const text = "first\r\nsecond\r\nthird\rover\r\n"
      for (let length = 1; length <= text.length; length++) {
        const pieces = text.match(new RegExp(`[^]{1,${length}}`, "g")) ?? []
        for (const pattern of ["first\nsecond", /second\nth/, "d\rover", /^over$/m, "t"]) {
          const found = yield* Effect.forkChild(search(Stream.fromIterable(pieces), pattern, ended))
          yield* TestClock.adjust("1 second")
          assert.strictEqual(
            yield* Fiber.join(found),
            typeof pattern === "string" ? pattern : pattern.source.replace("\\n", "\n").replace(/[\^$]/g, "")
          )
        }
        assert.strictEqual(
          yield* Effect.flip(search(Stream.fromIterable(pieces), "first\nthird", ended)),
          "first\nsecond\nthird\rover\n"
        )
      }
    })
  )

  it.effect("is looked for at once when little comes, a moment later when much does, and at the end", () =>
    Effect.gen(function* () {
      const said = yield* Queue.unbounded<string, never>()
      const found = yield* Effect.forkChild(search(Stream.fromQueue(said), /the end: \d+\./, ended))
      yield* Queue.offer(said, "begin\n")
      yield* TestClock.adjust("0 millis")
      for (let piece = 0; piece < 1000; piece++) yield* Queue.offer(said, "some line of the kernel\n")
      yield* Queue.offer(said, "the end: 7.\n")
      yield* Effect.yieldNow
      assert.isUndefined(found.pollUnsafe())
      yield* TestClock.adjust("2 millis")
      assert.strictEqual(yield* Fiber.join(found), "the end: 7.")
      assert.strictEqual(yield* search(Stream.make("a", "b", "c"), /abc/, ended), "abc")
    })
  )

  it.live("is looked for during a tenth of the time at most, however much comes", () =>
    Effect.gen(function* () {
      const exec = RegExp.prototype.exec
      let looks = 0
      const slow = vi.spyOn(RegExp.prototype, "exec").mockImplementation(function (this: RegExp, text) {
        if (String(this) === "/progress: #+/") {
          looks++
          for (const began = performance.now(); performance.now() - began < 20; );
        }
        return exec.call(this, text)
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => slow.mockRestore()))
      const said = yield* Queue.unbounded<string, never>()
      const began = performance.now()
      const found = yield* Effect.forkChild(search(Stream.fromQueue(said), /progress: #+/, ended))
      yield* Queue.offer(said, "progress: #")
      for (let piece = 1; piece < 100; piece++) {
        yield* Effect.sleep("3 millis")
        yield* Queue.offer(said, "#")
      }
      assert.strictEqual(yield* Fiber.join(found), `progress: ${"#".repeat(100)}`)
      // The last look is the one after which nothing came.
      assert.isAtMost(looks, 2 + (performance.now() - began) / 200)
    })
  )
})
