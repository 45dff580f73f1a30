import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as HostProcess from "../../src/host/HostProcess.ts"

/** A process that is there and no zombie. */
const lives = (pid: number) => {
  const stat = Fs.existsSync(`/proc/${pid}/stat`) ? Fs.readFileSync(`/proc/${pid}/stat`, "utf8") : ""
  return stat !== "" && !/\) Z /.test(stat)
}

const eventually = (holds: () => boolean) =>
  Effect.sync(holds).pipe(
    Effect.repeat({ until: (held) => held, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("5 seconds")
  )

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

describe("run", () => {
  it.effect("collects output and exit code, each apart", () =>
    Effect.gen(function* () {
      const done = yield* HostProcess.run({
        command: "sh",
        args: ["-c", "cat; echo err >&2; exit 3"],
        stdin: { text: "é" }
      })
      assert.deepStrictEqual(done, { exitCode: 3, signal: undefined, stdout: "é", stderr: "err\n" })
    })
  )

  it.effect("says which signal ended a program", () =>
    Effect.gen(function* () {
      const done = yield* HostProcess.run({ command: "sh", args: ["-c", "kill -USR1 $$"] })
      assert.deepStrictEqual([done.exitCode, done.signal], [undefined, "SIGUSR1"])
    })
  )

  it.effect("passes words and environment as they are", () =>
    Effect.gen(function* () {
      const odd = "a b'\"$(x)\n*"
      const done = yield* HostProcess.run({
        command: "sh",
        args: ["-c", 'printf %s "$1$ODD"', "-", odd],
        env: { ODD: odd }
      })
      assert.strictEqual(done.stdout, odd + odd)
    })
  )

  it.effect("reads a FIFO to its end, and leaves nothing of it", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const fifo = Path.join(folder, "out")
      // What was killed may leave one.
      Fs.writeFileSync(fifo, "")
      const bytes = 100_000
      const program = yield* HostProcess.spawn({
        command: "dd",
        args: ["if=/dev/zero", "bs=1", `count=${bytes}`],
        stdout: { fifo }
      })
      assert.deepStrictEqual(Fs.readdirSync(folder), [])
      const sizes = Stream.map(program.stdout, (chunk) => chunk.length)
      assert.strictEqual(
        yield* Stream.runFold(
          sizes,
          () => 0,
          (sum, size) => sum + size
        ),
        bytes
      )
      assert.strictEqual((yield* program.exited).exitCode, 0)
      const nowhere = yield* Effect.flip(HostProcess.spawn({ command: "true", stdout: { fifo: "/nonexistent/out" } }))
      assert.strictEqual(nowhere._tag, "SpawnFailed")
      assert.include(nowhere.message, "/nonexistent/out")
    })
  )

  it.effect("takes a megabyte each way", () =>
    Effect.gen(function* () {
      const text = "0123456789abcdef".repeat(65_536)
      assert.strictEqual((yield* HostProcess.run({ command: "cat", stdin: { text } })).stdout, text)
    })
  )

  it.effect("does not fail when a program does not read its input", () =>
    Effect.gen(function* () {
      const done = yield* HostProcess.run({ command: "true", stdin: { text: "x".repeat(1_000_000) } })
      assert.strictEqual(done.exitCode, 0)
    })
  )

  it.live("does not wait for a daemon that keeps the output open", () =>
    Effect.gen(function* () {
      const done = yield* HostProcess.run({ command: "sh", args: ["-c", "setsid sleep 20 & echo $!; exit 0"] })
      assert.strictEqual(done.exitCode, 0)
      process.kill(Number(done.stdout))
    }).pipe(Effect.timeout("10 seconds"))
  )

  it.live("ends the program when it is interrupted", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const file = Path.join(folder, "pid")
      yield* HostProcess.run({ command: "sh", args: ["-c", `echo $$ > ${file}; exec sleep 60`] }).pipe(
        Effect.timeoutOption("500 millis")
      )
      assert.isFalse(lives(Number(Fs.readFileSync(file, "utf8"))))
    })
  )
})

describe("what cannot start", () => {
  it.effect("names the package of a missing program", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        HostProcess.run({ command: "qemu-system-x86_64", env: { PATH: "/nonexistent" } })
      )
      assert.deepInclude(error, { _tag: "ToolMissing", tool: "qemu-system-x86_64", package: "qemu-system-x86" })
      assert.include(error.message, "apt-get install qemu-system-x86")
    })
  )

  it.effect("says where a missing program comes from that Debian 12 does not have", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        HostProcess.run({ command: "vhost-device-vsock", env: { PATH: "/nonexistent" } })
      )
      assert.strictEqual(error.message, "vhost-device-vsock is not installed: cargo install vhost-device-vsock")
    })
  )

  it.effect("says that the working folder is not there", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(HostProcess.run({ command: "true", cwd: "/nonexistent" }))
      assert.strictEqual(error._tag, "SpawnFailed")
      assert.include(error.message, "no such folder: /nonexistent")
    })
  )

  it.effect("says that a file for the output cannot be made", () =>
    Effect.gen(function* () {
      const spawned = HostProcess.spawn({ command: "true", stdout: { file: "/nonexistent/log" } })
      const error = yield* Effect.flip(Effect.scoped(spawned))
      assert.include(error.message, "ENOENT")
    })
  )

  it.effect("checks want exit code 0 and show what was said", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(HostProcess.check({ command: "sh", args: ["-c", "echo why >&2; exit 4"] }))
      assert.strictEqual(error._tag, "ProcessFailed")
      assert.include(error.message, "exit code 4")
      assert.include(error.message, "why")
    })
  )
})

describe("the end of a scope", () => {
  it.live("ends the program and its children", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const spawned = yield* HostProcess.spawn({
        command: "sh",
        args: ["-c", "sleep 60 & echo $!; wait"],
        stdout: "pipe"
      }).pipe(Scope.provide(scope))
      const child = Number(yield* Stream.mkString(Stream.decodeText(Stream.take(spawned.stdout, 1))))
      assert.isTrue(lives(child))
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(lives(spawned.pid))
      yield* eventually(() => !lives(child))
      assert.strictEqual((yield* spawned.exited).signal, "SIGTERM")
    })
  )

  it.effect("kills what ignores SIGTERM, on real time even under a test's clock", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const spawned = yield* HostProcess.spawn({
        command: "sh",
        args: ["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"],
        stdout: "pipe",
        grace: "100 millis"
      }).pipe(Scope.provide(scope))
      yield* Stream.runDrain(Stream.take(spawned.stdout, 1))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* spawned.exited).signal, "SIGKILL")
    })
  )

  it.effect("leaves a program that ended before alone", () =>
    Effect.gen(function* () {
      const status = yield* Effect.scoped(
        Effect.flatMap(HostProcess.spawn({ command: "false" }), ({ exited }) => Effect.andThen(exited, exited))
      )
      assert.deepStrictEqual(status, { exitCode: 1, signal: undefined })
    })
  )

  it.effect("gives every program a session of its own", () =>
    Effect.gen(function* () {
      const done = yield* HostProcess.run({ command: "sh", args: ["-c", "ps -o pid=,pgid=,sid= -p $$"] })
      assert.strictEqual(new Set(done.stdout.trim().split(/\s+/)).size, 1)
    })
  )
})

describe("kill -9 of the parent", () => {
  const module = Path.resolve(import.meta.dirname, "../../src/host/HostProcess.ts")
  const parent = (options: string) => `
    import * as Effect from "effect/Effect"
    import * as HostProcess from ${JSON.stringify(module)}
    Effect.runFork(Effect.scoped(Effect.gen(function* () {
      const child = yield* HostProcess.spawn(${options})
      console.log(child.pid)
      yield* Effect.never
    })))`

  const orphan = (options: string, wanted: number) =>
    Effect.gen(function* () {
      const started = yield* HostProcess.spawn({
        command: process.execPath,
        args: ["--input-type=module-typescript", "-e", parent(options)],
        cwd: import.meta.dirname,
        stdout: "pipe",
        stderr: "inherit"
      })
      const pids = yield* started.stdout.pipe(
        Stream.decodeText(),
        Stream.splitLines,
        Stream.map(Number),
        Stream.take(wanted),
        Stream.runCollect
      )
      assert.isTrue(pids.every(lives))
      // Only the process itself, as the kernel's out-of-memory killer would.
      process.kill(started.pid, "SIGKILL")
      yield* started.exited
      return pids
    })

  it.live("ends the program", () =>
    Effect.gen(function* () {
      const pids = yield* orphan(`{ command: "sleep", args: ["60"] }`, 1)
      yield* eventually(() => !pids.some(lives)).pipe(Effect.timeout("2 seconds"))
    })
  )

  it.live("ends the program's children too where the whole group was asked for", () =>
    Effect.gen(function* () {
      const pids = yield* orphan(
        `{ command: "sh", args: ["-c", "sleep 60 & echo $!; wait"], stdout: "inherit", wholeGroup: true }`,
        2
      )
      yield* eventually(() => !pids.some(lives)).pipe(Effect.timeout("2 seconds"))
    })
  )

  it.live("ends what left the group, too, where that has a mark, and nothing else", () =>
    Effect.gen(function* () {
      const mark = `VMTEST_MARK=${process.pid}-a b*`
      const other = yield* HostProcess.spawn({ command: "sleep", args: ["60"], env: { VMTEST_MARK: `${process.pid}` } })
      const options = {
        ...{ command: "sh", args: ["-c", "setsid sleep 60 & echo $!; sh -c 'setsid sleep 60 & echo $!'; wait"] },
        ...{ stdout: "inherit", wholeGroup: true, mark, env: { VMTEST_MARK: mark.slice("VMTEST_MARK=".length) } }
      }
      const pids = yield* orphan(JSON.stringify(options), 3)
      yield* eventually(() => !pids.some(lives)).pipe(Effect.timeout("5 seconds"))
      assert.isUndefined(other.status())
    })
  )
})
