import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as HostProcess from "../src/host/HostProcess.ts"
import * as RunDirectory from "../src/host/RunDirectory.ts"

const Told = Schema.fromJsonString(Schema.Struct({ path: Schema.String, pids: Schema.Array(Schema.Int) }))

const lives = (pid: number) => {
  const stat = Fs.existsSync(`/proc/${pid}/stat`) ? Fs.readFileSync(`/proc/${pid}/stat`, "utf8") : ""
  return stat !== "" && !/\) Z /.test(stat)
}

/** A run in another process, up to its guest, ended by a signal. */
const ended = (signal: NodeJS.Signals, stage: "started" | "ready") =>
  Effect.gen(function* () {
    const base = yield* Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))),
      (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
    )
    const run = yield* HostProcess.spawn({
      command: process.execPath,
      args: [Path.join(import.meta.dirname, "cleanup/child.ts"), base, stage],
      stdout: "pipe",
      stderr: "inherit"
    })
    const lines = yield* run.stdout.pipe(
      Stream.decodeText(),
      Stream.splitLines,
      // The rest is the log.
      Stream.filter((line) => line.startsWith("{")),
      Stream.take(1),
      Stream.runCollect
    )
    const told = yield* Schema.decodeEffect(Told)(lines[0] ?? "")
    assert.isTrue(told.pids.every(lives))
    process.kill(run.pid, signal)
    yield* run.exited
    yield* Effect.sync(() => told.pids.some(lives)).pipe(
      Effect.repeat({ until: (some) => !some, schedule: Schedule.spaced("20 millis") }),
      Effect.timeout("2 seconds")
    )
    return { base, path: told.path }
  })

describe("a run that is killed", () => {
  for (const stage of ["started", "ready"] as const) {
    it.live(`takes its QEMU and its switch with it within 2 s, with a guest that is ${stage}`, () =>
      Effect.gen(function* () {
        const { base, path } = yield* ended("SIGKILL", stage)
        assert.isTrue(Fs.existsSync(path))
        yield* RunDirectory.make({ base })
        assert.isFalse(Fs.existsSync(path))
      }).pipe(Effect.scoped)
    )
  }
})

describe("a run that is asked to end", () => {
  it.live("leaves no process and no file", () =>
    Effect.gen(function* () {
      const { base } = yield* ended("SIGTERM", "started")
      assert.deepStrictEqual(Fs.readdirSync(base), [])
    }).pipe(Effect.scoped)
  )
})
