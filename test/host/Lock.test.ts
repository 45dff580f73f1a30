import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HostProcess from "../../src/host/HostProcess.ts"
import * as Lock from "../../src/host/Lock.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-lock-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
).pipe(Effect.map((folder) => Path.join(folder, "a folder", "some.lock")))

/** Another process that holds the lock, once it says so. */
const outsider = Effect.fnUntraced(function* (path: string) {
  Fs.mkdirSync(Path.dirname(path), { recursive: true })
  const marker = `${path}.held`
  const holder = yield* HostProcess.spawn({
    command: "flock",
    args: ["--no-fork", path, "sh", "-c", 'touch "$1"; exec sleep 600', "sh", marker]
  })
  while (!Fs.existsSync(marker)) yield* Effect.sleep("5 millis")
  return holder
})

const free = (path: string) => Effect.scoped(Lock.acquire(path, { deadline: 0 }))

describe("Lock", () => {
  it.live("keeps a second holder out until the first is done", () =>
    Effect.gen(function* () {
      const path = yield* temporary
      const order: Array<string> = []
      const inside = yield* Deferred.make<void>()
      const first = yield* Effect.forkChild(
        Lock.withLock(path)(
          Effect.gen(function* () {
            order.push("first in")
            yield* Deferred.succeed(inside, undefined)
            yield* Effect.sleep("300 millis")
            order.push("first out")
          })
        )
      )
      yield* Deferred.await(inside)
      const waited: Array<string> = []
      yield* Lock.withLock(path, {
        onWait: (holder) =>
          Effect.sync(() => {
            waited.push(holder)
          })
      })(Effect.sync(() => order.push("second in")))
      yield* Fiber.join(first)
      assert.deepStrictEqual(order, ["first in", "first out", "second in"])
      assert.deepStrictEqual(waited, [`process ${process.pid}`])
    }).pipe(Effect.scoped)
  )

  it.live("lets many share it, and keeps an exclusive holder out of their company", () =>
    Effect.gen(function* () {
      const path = yield* temporary
      yield* Lock.acquire(path, { mode: "shared" })
      yield* Lock.acquire(path, { mode: "shared", deadline: 0 })
      const error = yield* Effect.flip(free(path))
      assert.strictEqual(error._tag, "LockTimeout")
    }).pipe(Effect.scoped)
  )

  it.live("says after the deadline that it waited", () =>
    Effect.gen(function* () {
      const path = yield* temporary
      yield* outsider(path)
      const error = yield* Effect.flip(Effect.scoped(Lock.acquire(path, { deadline: "200 millis" })))
      assert.strictEqual(error._tag, "LockTimeout")
      assert.include(error.message, "another process still held it after 200ms")
    }).pipe(Effect.scoped)
  )

  it.live("is free at once when its holder is killed", () =>
    Effect.gen(function* () {
      const path = yield* temporary
      const holder = yield* outsider(path)
      const waiter = yield* Effect.forkChild(Effect.scoped(Lock.acquire(path, { deadline: "20 seconds" })))
      yield* Effect.sleep("100 millis")
      yield* holder.kill("SIGKILL")
      yield* Fiber.join(waiter)
    }).pipe(Effect.scoped)
  )

  it.live("gives up its place when the one who waits is interrupted", () =>
    Effect.gen(function* () {
      const path = yield* temporary
      const holder = yield* outsider(path)
      const waiter = yield* Effect.forkChild(Effect.scoped(Lock.acquire(path)))
      yield* Effect.sleep("100 millis")
      yield* Fiber.interrupt(waiter)
      yield* holder.kill("SIGKILL")
      yield* holder.exited
      yield* free(path)
    }).pipe(Effect.scoped)
  )

  it.live("says what is wrong with a file that cannot be locked", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(free("/proc/vmtest.lock"))
      assert.strictEqual(error._tag, "LockFailed")
      assert.include(error.message, "/proc/vmtest.lock")
    })
  )
})
