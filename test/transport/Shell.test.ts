import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Shell from "../../src/transport/Shell.ts"
import { CommandRejected } from "../../src/transport/ShellError.ts"
import { endless, mark, play, type Script } from "./guest.ts"

const open = (script: Script, options: Partial<Shell.ShellOptions> = {}) =>
  Effect.gen(function* () {
    const guest = yield* play(script)
    const shell = yield* Shell.make({
      machine: "vm",
      channel: guest.channel,
      bootTimeout: "5 seconds",
      consoleTail: Effect.succeed("last words"),
      ...options
    })
    return { guest, shell }
  })

/** What a worker says on one output for a command that prints `text` and exits with 7. */
const session = (nonce: string, text: string) => Buffer.from(`${text}${mark(nonce, 7)}\x1e${nonce} R\n`)

describe("a shell", () => {
  it.live("runs commands one after another and gives both outputs and the status apart", () =>
    Effect.gen(function* () {
      const { shell } = yield* open({
        command: (worker, nonce, command) => {
          worker.out.write(`out ${command}`)
          worker.err.write(`err ${command}`)
          worker.end(nonce, 3)
          worker.ready(nonce)
        }
      })
      for (let i = 0; i < 50; i++) {
        assert.deepStrictEqual(yield* shell.execute(`c${i}`), { exitCode: 3, stdout: `out c${i}`, stderr: `err c${i}` })
      }
    })
  )

  it.live("gives the right answer wherever reads cut what the guest says", () =>
    Effect.gen(function* () {
      const text = "grüße\x1e\x1e 世界"
      let cut = 0
      const { shell } = yield* open({
        command: (worker, nonce) => {
          const said = session(nonce, text)
          for (const socket of [worker.out, worker.err]) {
            socket.write(said.subarray(0, cut))
            setImmediate(() => socket.write(said.subarray(cut)))
          }
        }
      })
      const length = session("x".repeat(32), text).length
      for (cut = 0; cut <= length; cut++) {
        assert.deepStrictEqual(yield* shell.execute("a"), { exitCode: 7, stdout: text, stderr: text })
      }
    })
  )

  it.live(
    "fails at once with what had been said when a socket closes, at every step of a session",
    () =>
      Effect.gen(function* () {
        const length = session("x".repeat(32), "some words").length
        for (let cut = 0; cut < length; cut += 5) {
          for (const which of ["out", "err"] as const) {
            const { shell } = yield* open({
              command: (worker, nonce) => {
                const said = session(nonce, "some words")
                const [other, closing] = which === "out" ? [worker.err, worker.out] : [worker.out, worker.err]
                other.write(said.subarray(0, cut))
                closing.end(said.subarray(0, cut))
              }
            })
            const result = yield* Effect.timeout(Effect.result(shell.execute("a")), "3 seconds")
            if (result._tag === "Success") {
              assert.deepStrictEqual(result.success, { exitCode: 7, stdout: "some words", stderr: "some words" })
            } else {
              assert(result.failure._tag === "ShellLost")
              assert.isTrue("some words".startsWith(result.failure[which === "out" ? "stdout" : "stderr"]))
              assert.deepInclude(result.failure, { machine: "vm", command: "a", console: "last words" })
            }
          }
        }
      }).pipe(Effect.scoped),
    60_000
  )

  it.live("goes on in another lane when one is lost", () =>
    Effect.gen(function* () {
      let commands = 0
      const { shell } = yield* open({
        command: (worker, nonce) => {
          if (commands++ === 0) {
            worker.out.destroy()
            return
          }
          worker.end(nonce, 0)
          worker.ready(nonce)
        }
      })
      assert.strictEqual((yield* Effect.flip(shell.execute("a")))._tag, "ShellLost")
      for (let i = 0; i < 10; i++) assert.strictEqual((yield* shell.execute("b")).exitCode, 0)
    })
  )

  it.live("does not take two different exit codes for an answer", () =>
    Effect.gen(function* () {
      const { shell } = yield* open({
        command: (worker, nonce) => {
          worker.out.write(mark(nonce, 1))
          worker.err.write(mark(nonce, 2))
        }
      })
      assert.strictEqual((yield* Effect.flip(shell.execute("a")))._tag, "ShellLost")
    })
  )

  it.live("asks the guest to kill a command that is cancelled or late, and tells what it had said", () =>
    Effect.gen(function* () {
      const killed: Array<string> = []
      const pending = new Map<string, () => void>()
      const { shell } = yield* open({
        typed: (line) => {
          const [, , nonce = "", signal = ""] = /^_vt_kill (\d+) (\w+) (\w+)/.exec(line) ?? []
          if (signal === "") return false
          killed.push(signal)
          if (signal === "KILL") pending.get(nonce)?.()
          return false
        },
        command: (worker, nonce) => {
          worker.out.write("half a wo")
          pending.set(nonce, () => {
            worker.end(nonce, 137)
            worker.ready(nonce)
          })
        }
      })
      const error = yield* Effect.flip(shell.execute("slow", { timeout: "100 millis" }))
      assert(error._tag === "CommandTimeout")
      assert.deepInclude(error, { command: "slow", stdout: "half a wo" })
      const running = yield* Effect.forkChild(shell.execute("slow"), { startImmediately: true })
      yield* Effect.sleep("50 millis")
      const [took] = yield* Effect.timed(Fiber.interrupt(running))
      assert.isBelow(Duration.toMillis(took), 1000)
      assert.deepStrictEqual(killed, ["TERM", "KILL", "TERM", "KILL"])
    })
  )

  it.live("waits for the last words of a killed command as long as they come, and keeps the lane", () =>
    Effect.gen(function* () {
      const stopped: Array<string> = []
      let commands = 0
      let end: (() => void) | undefined
      const { shell } = yield* open({
        typed: (line) => {
          if (line.startsWith("_vt_kill")) end?.()
          if (/^_vt_stop \d/.test(line)) stopped.push(line)
          return false
        },
        command: (worker, nonce) => {
          if (commands++ > 0) {
            worker.end(nonce, 0)
            worker.ready(nonce)
            return
          }
          let left = 12
          end = () => {
            end = undefined
            const timer = setInterval(() => {
              worker.out.write("a piece on a slow console")
              if (left-- > 0) return
              clearInterval(timer)
              worker.end(nonce, 137)
              worker.ready(nonce)
            }, 400)
          }
        }
      })
      const running = yield* Effect.forkChild(shell.execute("much"), { startImmediately: true })
      yield* Effect.sleep("50 millis")
      yield* Fiber.interrupt(running)
      assert.strictEqual((yield* shell.execute("next")).exitCode, 0)
      assert.deepStrictEqual(stopped, [])
    })
  )

  it.live("replaces a lane that a command's children keep busy, and drops what they say", () =>
    Effect.gen(function* () {
      const stopped: Array<string> = []
      const { shell } = yield* open({
        typed: (line) => {
          if (line.startsWith("_vt_stop")) stopped.push(line)
          return false
        },
        command: (worker, nonce, command) => {
          worker.out.write(command)
          worker.end(nonce, 0)
          worker.out.write("LATE")
          if (!command.startsWith("leave")) worker.ready(nonce)
        }
      })
      for (let i = 0; i < 4; i++) assert.strictEqual((yield* shell.execute(`leave ${i}`)).stdout, `leave ${i}`)
      assert.strictEqual((yield* shell.execute("plain")).stdout, "plain")
      assert.isAtLeast(stopped.length, 2)
    })
  )

  it.live(
    "waits for a lane that is only slow to settle, however many commands wait, and starts no other in its place",
    () =>
      Effect.gen(function* () {
        const typed = { stopped: 0, started: 0, asked: 0 }
        const { shell } = yield* open({
          typed: (line) => {
            if (line.startsWith("_vt_stop ")) typed.stopped++
            if (line.startsWith("_vt_start ")) typed.started++
            return false
          },
          command: (worker, nonce) => {
            worker.end(nonce, 0)
            setTimeout(() => worker.ready(nonce), 1500)
          },
          held: () => {
            typed.asked++
            return false
          }
        })
        const codes = yield* Effect.all(
          Array.from({ length: 4 }, () => shell.execute("echo")),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          codes.map(({ exitCode }) => exitCode),
          [0, 0, 0, 0]
        )
        assert.isAtLeast(typed.asked, 1)
        assert.deepInclude(typed, { stopped: 0, started: 2 })
      })
  )

  it.live("starts no lanes for short commands that follow each other, and all it can for those that stay", () =>
    Effect.gen(function* () {
      let started = 0
      const running = new Set<string>()
      const script: Script = {
        typed: (line) => {
          if (line.startsWith("_vt_start ")) started++
          return false
        },
        command: (worker, nonce, command) => {
          running.add(nonce)
          setTimeout(
            () => {
              worker.end(nonce, 0)
              worker.ready(nonce)
            },
            command === "stay" ? 2000 : 2
          )
        }
      }
      const guest = yield* play(script, 8)
      const shell = yield* Shell.make({ machine: "vm", channel: guest.channel })
      const atOnce = (count: number, command: string) =>
        Effect.all(
          Array.from({ length: count }, () => shell.execute(command)),
          { concurrency: "unbounded" }
        )
      yield* atOnce(30, "short")
      const afterShort = started
      const [took] = yield* Effect.timed(atOnce(8, "stay"))
      assert.isAtMost(afterShort, 4)
      assert.strictEqual(started, 8)
      assert.strictEqual(running.size, 38)
      // Two at a time would be 8 s.
      assert.isBelow(Duration.toSeconds(took), 7.9)
    })
  )

  it.live("finds a guest that froze, fails what was under way, and comes back when the guest does", () =>
    Effect.gen(function* () {
      let frozen = false
      const { shell } = yield* open(
        {
          typed: () => frozen,
          command: (worker, nonce) => {
            if (frozen) return
            worker.end(nonce, 0)
            worker.ready(nonce)
          }
        },
        { heartbeat: { interval: "50 millis", timeout: "200 millis" } }
      )
      yield* shell.execute("a")
      frozen = true
      const error = yield* Effect.timeout(Effect.flip(shell.execute("b")), "3 seconds")
      assert(error._tag === "ShellLost")
      assert.include(error.message, "has not answered")
      frozen = false
      assert.strictEqual((yield* shell.execute("c")).exitCode, 0)
    })
  )

  it.live("says that a command was not run because the guest is going down", () =>
    Effect.gen(function* () {
      const { shell } = yield* open({
        command: (worker, nonce, command) => {
          worker.err.write(`\x1e${nonce} ${command}\n`)
          worker.end(nonce, 125)
          worker.ready(nonce)
        }
      })
      const cases = [
        ["reboot", "Rebooting", "the guest is rebooting"],
        ["off", "ShuttingDown", "the guest is shutting down"]
      ] as const
      for (const [command, reason, detail] of cases) {
        const streamed = Stream.runCollect(shell.executeStream(command))
        const spawned = Effect.scoped(Effect.flatMap(shell.spawn(command), (process) => process.wait))
        for (const run of [shell.execute(command), streamed, spawned] as ReadonlyArray<
          Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>
        >) {
          const error = yield* Effect.flip(run)
          assert(error instanceof CommandRejected)
          assert.strictEqual(error.reason, reason)
          assert.strictEqual(error.message, `vm: could not run "${command}": ${detail}`)
        }
      }
      // What a command says itself is not taken for that.
      assert.strictEqual((yield* shell.execute("other")).exitCode, 125)
    })
  )

  it.live("says that the kernel panicked when that is on the console of a guest that does not answer", () =>
    Effect.gen(function* () {
      let panicked = false
      const { shell } = yield* open(
        {
          typed: () => panicked,
          command: () => {
            panicked = true
          }
        },
        {
          heartbeat: { interval: "50 millis", timeout: "200 millis" },
          consoleTail: Effect.succeed("[ 7.1] Kernel panic - not syncing: softlockup: hung tasks\n")
        }
      )
      const error = yield* Effect.timeout(Effect.flip(shell.execute("a")), "5 seconds")
      assert.include(error.message, 'lost the shell while running "a": its kernel panicked: softlockup: hung tasks')
    })
  )

  it.live("notices that the guest booted again", () =>
    Effect.gen(function* () {
      let rebooted = false
      const { guest, shell } = yield* open({
        command: (worker, nonce) => {
          if (!rebooted) return
          worker.end(nonce, 0)
          worker.ready(nonce)
        }
      })
      const running = yield* Effect.forkChild(Effect.flip(shell.execute("a")), { startImmediately: true })
      yield* Effect.sleep("100 millis")
      rebooted = true
      guest.socket(0)?.write("vmtest: shell ready\n")
      const error = yield* Effect.timeout(Fiber.join(running), "3 seconds")
      assert(error._tag === "ShellLost")
      assert.include(error.message, "rebooted")
      assert.strictEqual((yield* shell.execute("b")).exitCode, 0)
    })
  )

  it.live("tells how a boot goes, and gives up in the end", () =>
    Effect.gen(function* () {
      const [took, error] = yield* Effect.timed(Effect.flip(open({ typed: () => true }, { bootTimeout: "500 millis" })))
      assert(error._tag === "ShellNotReady")
      assert.deepInclude(error, { machine: "vm", console: "last words" })
      assert.isBelow(Duration.toMillis(took), 3000)
    })
  )

  it.live("opens in spite of garbage before and around the answers", () =>
    Effect.gen(function* () {
      const { shell } = yield* open({
        typed: (line, socket) => {
          socket.write(`\x1e\xff garbage _vt_ ${"x".repeat(5000)}\n_vt_${"0".repeat(32)} wrong\n`)
          return line === ""
        }
      })
      assert.strictEqual((yield* shell.execute("a")).stdout, "ran a\n")
    })
  )

  it.live("streams end with the exit code, and fail when the lane is lost", () =>
    Effect.gen(function* () {
      const { shell } = yield* open({
        command: (worker, nonce, command) => {
          worker.out.write("one")
          if (command === "lose") {
            setTimeout(() => worker.out.destroy(), 20)
            return
          }
          worker.end(nonce, 5)
          worker.ready(nonce)
        }
      })
      const events = yield* Stream.runCollect(shell.executeStream("a"))
      assert.deepStrictEqual(events.at(-1), { _tag: "Exit", exitCode: 5 })
      const error = yield* Effect.flip(Stream.runDrain(shell.executeStream("lose")))
      assert(error._tag === "ShellLost")
      assert.strictEqual(error.stdout, "one")
    })
  )

  it.live.prop(
    "never gives a wrong answer for a mutated session, and never hangs",
    [Schema.Array(Schema.Tuple([Schema.Int, Schema.Int]))],
    ([changes]) =>
      Effect.gen(function* () {
        const text = "the answer"
        let touched = false
        const { shell } = yield* open({
          command: (worker, nonce) => {
            const said = session(nonce, text)
            for (const [at, byte] of changes) {
              // Only the framing: a change of the output itself is output.
              const place = text.length + (Math.abs(at) % (said.length - text.length))
              touched ||= said[place] !== (byte & 0xff)
              said[place] = byte & 0xff
            }
            worker.out.write(said)
            worker.err.write(session(nonce, ""))
          }
        })
        const result = yield* Effect.timeout(Effect.result(shell.execute("a", { timeout: "50 millis" })), "10 seconds")
        if (result._tag === "Failure") assert.include(["CommandTimeout", "ShellLost"], result.failure._tag)
        else assert.strictEqual(result.success.exitCode, 7)
        if (!touched) {
          assert.deepStrictEqual(result, Result.succeed({ exitCode: 7, stdout: text, stderr: "" }))
        }
      }).pipe(Effect.scoped),
    { timeout: 120_000, arbitrary: { runs: 6, maxShrinks: 10 } }
  )
})

describe("a shell is at rest", () => {
  it.live("when the guest has made what the next commands become, and not before", () =>
    Effect.gen(function* () {
      let asked = 0
      const { shell } = yield* open({ waiting: (lane) => lane !== 1 || asked++ >= 3 })
      yield* shell.execute("a")
      yield* shell.awaitIdle
      assert.strictEqual(asked, 4)
    })
  )

  it.live("when the lane of the last command has settled", () =>
    Effect.gen(function* () {
      let settled = false
      const { shell } = yield* open({
        command: (worker, nonce) => {
          worker.end(nonce, 0)
          setTimeout(() => {
            settled = true
            worker.ready(nonce)
          }, 200)
        }
      })
      yield* shell.execute("a")
      yield* shell.awaitIdle
      assert.isTrue(settled)
    })
  )

  it.live("though a command runs, for whose end nobody waits", () =>
    Effect.gen(function* () {
      let asked = 0
      const running = endless()
      const { shell } = yield* open({
        ...running,
        typed: (line, socket) => {
          if (line.startsWith("_vt_waiting")) asked++
          return running.typed?.(line, socket) ?? false
        }
      })
      yield* shell.spawn("sleep 100")
      yield* shell.awaitIdle
      // Were it waited for, the guest would be asked again and again for a second.
      assert.isAtMost(asked, 10)
    }).pipe(Effect.scoped)
  )

  it.live("after about a second, whatever the guest says or does not say", () =>
    Effect.gen(function* () {
      let frozen = false
      const silent = yield* open({ typed: () => frozen })
      const never = yield* open({ waiting: () => false })
      for (const { shell } of [silent, never]) {
        yield* shell.execute("a")
        frozen = true
        const [took] = yield* Effect.timed(shell.awaitIdle)
        assert.isAtLeast(Duration.toMillis(took), 500)
        assert.isBelow(Duration.toMillis(took), 10_000)
      }
    })
  )
})
