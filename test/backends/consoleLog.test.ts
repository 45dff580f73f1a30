import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { PassThrough } from "node:stream"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as consoleLog from "../../src/backends/internal/consoleLog.ts"

const made = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
  )
  const file = Path.join(folder, "console.log")
  const source = new PassThrough()
  return { file, source, console: yield* consoleLog.make(source, file) }
})

const all = (stream: Stream.Stream<string>) => Stream.mkString(stream)

describe("a console's log", () => {
  it.live("gives every reader everything, from the first byte to the last", () =>
    Effect.gen(function* () {
      const { console, file, source } = yield* made
      const early = yield* Effect.forkChild(all(console.stream), { startImmediately: true })
      source.write("one\n")
      yield* Effect.sleep("5 millis")
      const late = yield* Effect.forkChild(all(console.stream), { startImmediately: true })
      source.write("two\n")
      source.end()
      yield* console.ended
      assert.strictEqual(yield* Fiber.join(early), "one\ntwo\n")
      assert.strictEqual(yield* Fiber.join(late), "one\ntwo\n")
      assert.strictEqual(yield* console.log, "one\ntwo\n")
      assert.strictEqual(Fs.readFileSync(file, "utf8"), "one\ntwo\n")
    })
  )

  it.live.prop(
    "keeps characters whole wherever the bytes are cut",
    { text: Schema.String, cut: Schema.Int },
    ({ cut, text }) =>
      Effect.gen(function* () {
        // Lone surrogates are not UTF-8, and a byte order mark at the front is dropped by every decoder.
        const whole = new TextDecoder().decode(new TextEncoder().encode(`é→𝄞${text}`))
        const bytes = Buffer.from(whole)
        const at = Math.abs(cut) % bytes.length
        const { console, source } = yield* made
        const reader = yield* Effect.forkChild(all(console.stream), { startImmediately: true })
        source.write(bytes.subarray(0, at))
        yield* Effect.sleep("1 millis")
        source.end(bytes.subarray(at))
        assert.strictEqual(yield* Fiber.join(reader), whole)
      }).pipe(Effect.scoped)
  )

  it.live("gives a slow reader all of a large log", () =>
    Effect.gen(function* () {
      const { console, source } = yield* made
      const line = `${"x".repeat(99)}\n`
      const count = 20_000
      const reader = console.stream.pipe(
        Stream.tap(() => Effect.sleep("1 millis")),
        Stream.runFold(
          () => 0,
          (length, text) => length + text.length
        )
      )
      const reading = yield* Effect.forkChild(reader, { startImmediately: true })
      for (let index = 0; index < count; index++) source.write(line)
      source.end()
      assert.strictEqual(yield* Fiber.join(reading), line.length * count)
      assert.strictEqual(yield* console.tail(2), `${line}${line}`.trimEnd())
    })
  )

  it.live("begins behind what an earlier boot left in the file", () =>
    Effect.gen(function* () {
      const { console, file, source } = yield* made
      source.end("first boot\n")
      yield* console.ended
      const again = new PassThrough()
      const second = yield* consoleLog.make(again, file)
      again.end("second boot\n")
      yield* second.ended
      assert.strictEqual(yield* second.log, "second boot\n")
      assert.strictEqual(yield* all(second.stream), "second boot\n")
      assert.strictEqual(Fs.readFileSync(file, "utf8"), "first boot\nsecond boot\n")
    })
  )

  it.live("ends its readers with its scope, though the guest goes on", () =>
    Effect.gen(function* () {
      const reading = yield* Effect.scoped(
        Effect.gen(function* () {
          const { console, source } = yield* made
          source.write("said")
          const reader = yield* Effect.forkDetach(all(console.stream), { startImmediately: true })
          yield* Effect.sleep("5 millis")
          return reader
        })
      )
      assert.strictEqual(yield* Fiber.join(reading).pipe(Effect.timeout("2 seconds")), "said")
    })
  )

  it.effect("says that its file cannot be made", () =>
    Effect.gen(function* () {
      const reason = yield* Effect.flip(Effect.scoped(consoleLog.make(new PassThrough(), "/nonexistent/console.log")))
      assert.include(reason, "ENOENT")
    })
  )
})
