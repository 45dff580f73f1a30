import { assert, describe, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import * as Shell from "../src/transport/Shell.ts"
import { awkward } from "./transport/awkward.ts"
import { boot } from "./transport/guest.ts"
import { inward, outward } from "./transport/lossless.ts"

const MiB = 1024 * 1024

class Guest extends Context.Service<Guest, Shell.ShellService>()("test/Guest") {}

const guest = (image: Image.Image) =>
  Layer.effect(
    Guest,
    Effect.gen(function* () {
      const started = yield* boot({ image: yield* (yield* ImageStore).resolve(image) })
      return yield* Shell.make({ machine: "vm", channel: started.channel, consoleTail: started.consoleTail })
    })
  ).pipe(Layer.provide(ImageStore.layer))

const matches = (wanted: string | RegExp | undefined, got: string) =>
  wanted === undefined || (typeof wanted === "string" ? wanted === got : wanted.test(got))

for (const [name, image, bash] of [
  ["busybox ash", Image.tiny(), false],
  ["bash on Debian", Image.debian(), true]
] as const) {
  layer(guest(image), { excludeTestServices: true, timeout: "10 minutes" })(`a shell in a guest with ${name}`, (it) => {
    for (const { command, exitCode, options, stderr, stdout, ...one } of awkward) {
      if (one.bash && !bash) continue
      it.effect(one.name, () =>
        Effect.gen(function* () {
          const shell = yield* Guest
          const got = yield* shell.execute(command, { timeout: "60 seconds", ...options })
          if (typeof exitCode === "number") assert.strictEqual(got.exitCode, exitCode, got.stderr)
          else if (exitCode !== undefined) assert.include(exitCode, got.exitCode)
          assert.isTrue(matches(stdout, got.stdout), JSON.stringify(got.stdout.slice(0, 500)))
          assert.isTrue(matches(stderr, got.stderr), JSON.stringify(got.stderr.slice(0, 500)))
        })
      )
    }

    it.effect("every exit code", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        const codes = Array.from({ length: 256 }, (_, code) => code)
        const got = yield* Effect.forEach(codes, (code) => shell.execute(`exit ${code}`), { concurrency: 6 })
        assert.deepStrictEqual(
          got.map(({ exitCode }) => exitCode),
          codes
        )
      })
    )

    it.effect("eight commands run at once", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        // Each waits until all eight are there: one that had to queue behind another would wait for ever.
        const meet = "n=0; while [ $n -lt 8 ]; do set -- /tmp/meet.*; n=$#; sleep 0.1; done"
        const met = yield* Effect.forEach(
          [0, 1, 2, 3, 4, 5, 6, 7],
          (n) => shell.execute(`: > /tmp/meet.${n}; ${meet}`, { timeout: "1 minute" }),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          met.map(({ exitCode }) => exitCode),
          [0, 0, 0, 0, 0, 0, 0, 0]
        )
        yield* shell.execute("rm /tmp/meet.*")
      })
    )

    it.effect("more commands than lanes queue", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        const got = yield* Effect.forEach(
          Array.from({ length: 25 }, (_, i) => i),
          (i) => shell.execute(`sleep 0.3; echo ${i}`),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          got.map(({ stdout }) => Number(stdout)),
          got.map((_, i) => i)
        )
      })
    )

    it.effect("a background child writes into nobody's output, and lives on", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        for (let i = 0; i < 12; i++) {
          const { stdout } = yield* shell.execute(
            `(until [ -e /tmp/late ]; do sleep 0.1; done; i=0; while [ $i -lt 200 ]; do echo LATE; i=$((i+1)); done; echo >/tmp/lived.${i}; sleep 30) & echo started`
          )
          assert.strictEqual(stdout, "started\n")
        }
        yield* shell.execute("echo >/tmp/late")
        for (let i = 0; i < 30; i++) {
          assert.strictEqual((yield* shell.execute("sleep 0.1; echo mine")).stdout, "mine\n")
        }
        yield* shell.execute(
          "for i in 0 1 2 3 4 5 6 7 8 9 10 11; do while [ ! -e /tmp/lived.$i ]; do sleep 0.2; done; done",
          {
            timeout: "60 seconds"
          }
        )
      })
    )

    it.effect("a timeout kills the whole process group and tells what had been said", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        const error = yield* Effect.flip(
          shell.execute("sleep 987 & echo out; echo err >&2; sleep 987", { timeout: "2 seconds" })
        )
        assert(error._tag === "CommandTimeout")
        assert.deepInclude(error, { machine: "vm", stdout: "out\n" })
        // A shell may add how its child ended.
        assert.match(error.stderr, /^err\n/)
        assert.include(error.message, "2s")
        const left = yield* shell.execute("set +e; grep -l 'sleep.98[7]' /proc/[0-9]*/cmdline 2>/dev/null | grep -v $$")
        assert.notInclude(left.stdout, "/proc")
      })
    )

    it.effect("a cancelled command is gone, even one that ignores SIGTERM", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        for (const trap of ["", "trap '' TERM; "]) {
          const running = yield* Effect.forkChild(
            shell.execute(`${trap}echo $$ >/tmp/cancel; while :; do sleep 0.1; echo x >>/tmp/cancel.log; done`),
            { startImmediately: true }
          )
          yield* Effect.sleep("1 second")
          // How soon is a benchmark's business; here it must not be the command that decides.
          yield* Effect.timeout(Fiber.interrupt(running), "15 seconds")
          const still = yield* shell.execute(
            "a=$(wc -c </tmp/cancel.log); sleep 0.5; [ $a = $(wc -c </tmp/cancel.log) ]"
          )
          assert.strictEqual(still.exitCode, 0)
        }
      })
    )

    it.effect("streams say what comes while the command runs, and the exit code last", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        const events = yield* shell.executeStream("echo one; sleep 0.5; echo two >&2; exit 3").pipe(Stream.runCollect)
        assert.deepStrictEqual(
          events.map((event) => (event._tag === "Exit" ? event.exitCode : `${event._tag} ${Buffer.from(event.bytes)}`)),
          ["Stdout one\n", "Stderr two\n", 3]
        )
      })
    )

    it.effect("a reader that pauses slows the command down and loses nothing", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        let bytes = 0
        let waited = false
        yield* shell.executeStream("head -c 16777216 /dev/zero").pipe(
          Stream.runForEach((event) =>
            Effect.gen(function* () {
              if (event._tag === "Stdout") bytes += event.bytes.length
              if (waited) return
              waited = true
              yield* Effect.sleep("2 seconds")
            })
          )
        )
        assert.strictEqual(bytes, 16_777_216)
      })
    )

    it.effect(
      "bytes go both ways whole, in eight commands at once, with readers that pause",
      () =>
        Effect.gen(function* () {
          const shell = yield* Guest
          const amount = { out: 4 * MiB, in: 2 * MiB, single: 1000 }
          for (const passages of [yield* outward(shell, amount), yield* inward(shell, amount)]) {
            assert.lengthOf(passages, 8)
            for (const { guest, host, what } of passages) assert.strictEqual(host, guest, what)
          }
        }),
      120_000
    )

    it.effect("a command whose time is up has not ended for its handle", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        const handle = yield* shell.spawn("echo hi; sleep 100", { timeout: "2 seconds" })
        const said = yield* Effect.forkChild(Effect.flip(Stream.runDrain(handle.stdout)), { startImmediately: true })
        assert.strictEqual((yield* Effect.flip(handle.wait))._tag, "CommandTimeout")
        assert.deepInclude(yield* Fiber.join(said), { _tag: "CommandTimeout", stdout: "hi\n" })
      }).pipe(Effect.scoped)
    )

    it.effect("handles that nobody reads hold no lane when their commands have ended", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        for (let i = 0; i < 12; i++) {
          const handle = yield* shell.spawn("head -c 1060000 /dev/zero")
          assert.strictEqual(yield* Effect.timeout(handle.wait, "60 seconds"), 0)
        }
        assert.strictEqual((yield* shell.execute("echo ok", { timeout: "30 seconds" })).stdout, "ok\n")
      }).pipe(Effect.scoped)
    )

    it.effect("leaving a stream early kills the command", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        const [first] = yield* shell.executeStream("while :; do echo y; done").pipe(Stream.take(1), Stream.runCollect)
        assert.strictEqual(first?._tag, "Stdout")
        assert.strictEqual((yield* shell.execute("echo ok")).stdout, "ok\n")
      })
    )

    it.effect("a spawned command is written to, signalled and waited for", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const shell = yield* Guest
          const cat = yield* shell.spawn("cat")
          const said = yield* Effect.forkChild(Stream.mkString(Stream.decodeText(cat.stdout)), {
            startImmediately: true
          })
          yield* cat.write("one ")
          yield* Effect.sleep("200 millis")
          yield* cat.write("two")
          yield* cat.end
          assert.strictEqual(yield* cat.wait, 0)
          assert.strictEqual(yield* Fiber.join(said), "one two")

          const sleeper = yield* shell.spawn("sleep 100")
          yield* Effect.sleep("500 millis")
          yield* sleeper.signal("USR1")
          assert.strictEqual(yield* Effect.timeout(sleeper.wait, "5 seconds"), 128 + 10)
        })
      )
    )

    it.effect("a detached child of a command does not hold its answer", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        const detached = "(sleep 120) & (sleep 120 &) ; setsid sleep 120 & echo"
        assert.strictEqual((yield* Effect.timeout(shell.execute(detached), "60 seconds")).exitCode, 0)
      })
    )

    it.effect("what makes no sense is a typed error that names the machine and the command", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        for (const [reason, command, options] of [
          ["UnknownUser", "true", { user: "nobody-of-this-name" }],
          ["UnknownUser", "true", { user: "a; reboot" }],
          ["MissingDirectory", "true", { cwd: "/no/such/folder" }],
          ["MissingDirectory", "true", { cwd: "" }],
          ["InvalidTimeout", "true", { timeout: -1 }],
          ["InvalidTimeout", "true", { timeout: 0 }],
          ["InvalidTimeout", "true", { timeout: Number.NaN }],
          ["InvalidEnvironment", "true", { env: { "A-B": "" } }],
          ["InvalidEnvironment", "true", { env: { A: "\0" } }],
          ["InvalidCommand", "", {}],
          ["InvalidCommand", "a\0b", {}]
        ] as const) {
          const errors = [
            yield* Effect.flip(shell.execute(command, options)),
            yield* Effect.flip(Stream.runDrain(shell.executeStream(command, options))),
            yield* Effect.flip(Effect.scoped(Effect.flatMap(shell.spawn(command, options), ({ wait }) => wait)))
          ]
          for (const error of errors) {
            assert(error._tag === "CommandRejected", error._tag)
            assert.deepInclude(error, { machine: "vm", command, reason })
          }
        }
      })
    )

    it.effect(
      "a guest whose disk is full, /run and all, runs commands as before, but for one that it would have to keep",
      () =>
        Effect.gen(function* () {
          const shell = yield* Guest
          const run = (command: string, options?: Shell.CollectOptions) =>
            shell.execute(command, { timeout: "60 seconds", ...options })
          // A memory disk of the guest's own is of any size; this one is made small first.
          const filled = yield* run(`mountpoint -q /run || exit 3
          mount -o remount,size=$(($(df -k /run | awk 'NR == 2 { print $3 }') + 2048))k /run
          # What earlier commands left there would make room.
          for x in /run/vmtest/*/cmd; do : >$x; done
          dd if=/dev/zero of=/run/fill bs=4k 2>/dev/null || dd if=/dev/zero of=/run/fill2 bs=1 2>/dev/null || echo full`)
          if (filled.exitCode === 3) {
            assert.isFalse(bash)
            yield* Effect.sync(() => process.stdout.write("skipped: /run of this guest is on its root\n"))
            return
          }
          assert.strictEqual(filled.stdout, "full\n")
          const room = yield* run("echo x > /run/x")
          assert.include(room.stderr, "No space left on device")
          // All lanes there are, those that no command needed so far among them.
          const numbers = Array.from({ length: 10 }, (_, number) => number)
          const got = yield* Effect.forEach(numbers, (number) => run(`sleep 2; echo ${number} >&2; exit ${number}`), {
            concurrency: "unbounded"
          })
          assert.deepStrictEqual(
            got,
            numbers.map((number) => ({ exitCode: number, stdout: "", stderr: `${number}\n` }))
          )
          assert.strictEqual((yield* Effect.flip(run("sleep 60", { timeout: "1 second" })))._tag, "CommandTimeout")
          assert.strictEqual((yield* run("cat", { stdin: "in and out" })).stdout, "in and out")
          assert.strictEqual((yield* run("id -un", { user: "nobody" })).stdout, "nobody\n")
          for (const length of [20_000, 300_000]) {
            const long = yield* Effect.flip(run(`: ${"x".repeat(length)}`))
            assert(long._tag === "CommandRejected")
            assert.strictEqual(long.reason, "NoSpace")
          }
          // The lane's own shell.
          yield* Effect.exit(run("kill -KILL $PPID", { timeout: "5 seconds" }))
          assert.strictEqual((yield* run("echo alive")).stdout, "alive\n")
          yield* run("rm -f /run/fill /run/fill2; mount -o remount,size=50% /run")
          assert.strictEqual((yield* run(`echo ${"x".repeat(20_000)} | wc -c`)).stdout, "20001\n")
        })
    )

    it.effect("a command as another user", () =>
      Effect.gen(function* () {
        const shell = yield* Guest
        yield* shell.execute("grep -q ^tester: /etc/passwd || echo tester:x:1234:1234::/tmp:/bin/sh >>/etc/passwd")
        yield* shell.execute("grep -q ^tester: /etc/group || echo tester:x:1234: >>/etc/group")
        const got = yield* shell.execute('id -u; id -g; echo "$HOME $USER $A"; pwd; cat; echo e >/dev/stderr', {
          user: "tester",
          env: { A: "it's" },
          stdin: "in\n"
        })
        assert.deepStrictEqual(got, { exitCode: 0, stdout: "1234\n1234\n/tmp tester it's\n/tmp\nin\n", stderr: "e\n" })
        // Root's home is closed to others: a relative folder is below their own.
        const below = yield* shell.execute("pwd", { user: "tester", cwd: "." })
        assert.deepStrictEqual(below, { exitCode: 0, stdout: "/tmp\n", stderr: "" })
        const long = yield* shell.execute(`x='${"y".repeat(300_000)}'; echo \${#x}; id -u`, { user: "tester" })
        assert.strictEqual(long.stdout, "300000\n1234\n")
        // What one user is told to do is no business of the others'.
        const files = "/run/vmtest/$i/cmd /run/vmtest/$i/pid /dev/shm/vmtest/$i/cmd /tmp/vmtest/$i/cmd"
        const look = `for i in 1 2 3 4 5 6 7 8 9 10; do for f in ${files}; do if cat $f; then :; fi; done; done 2>/dev/null | wc -c`
        assert.isAbove(Number((yield* shell.execute(look)).stdout), 300_000)
        assert.strictEqual(Number((yield* shell.execute(look, { user: "tester" })).stdout), 0)
        const error = yield* Effect.flip(shell.execute("echo $$; sleep 100", { user: "tester", timeout: "2 seconds" }))
        assert.strictEqual(error._tag, "CommandTimeout")
      })
    )
  })
}

describe("a shell that is closed", () => {
  it.live("rejects commands", () =>
    Effect.gen(function* () {
      const shell = yield* Effect.scoped(
        Effect.gen(function* () {
          const started = yield* boot({ image: yield* (yield* ImageStore).resolve(Image.tiny()) })
          return yield* Shell.make({ machine: "vm", channel: started.channel })
        })
      ).pipe(Effect.provide(ImageStore.layer))
      const error = yield* Effect.flip(shell.execute("true"))
      assert(error._tag === "CommandRejected")
      assert.deepInclude(error, { machine: "vm", command: "true", reason: "Closed" })
    })
  )
})
