/** How commands end: in time or not, read to the end or not, with a host that goes on or dies of something. */
import type * as Net from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Shell from "../../src/transport/Shell.ts"
import { CommandTimeout, type ShellError } from "../../src/transport/ShellError.ts"
import type { TransportService } from "../../src/transport/Transport.ts"
import { endless, mark, play, type Script } from "./guest.ts"
import { inVirtualTime, memory } from "./memory.ts"

const open = (script: Script, options: Partial<Shell.ShellOptions> = {}, lanes = 1) =>
  Effect.gen(function* () {
    const guest = yield* play(script, lanes)
    return yield* Shell.make({ machine: "vm", channel: guest.channel, bootTimeout: "5 seconds", ...options })
  })

/** The error of something that must fail soon. */
const failing = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.timeout(Effect.flip(self), "5 seconds")

/** More than waits for a reader before the command is slowed down, by less than a pipe of the guest holds. */
const overflow = Buffer.alloc(1_060_000, "x")

/**
 * Says a byte, too much for a reader that pauses at it, and ends: what ends it comes in the same piece, or not before that
 * is read.
 */
const loud =
  (together: boolean): NonNullable<Script["command"]> =>
  (worker, nonce, command) => {
    const end = Buffer.from(`${mark(nonce, 0)}\x1e${nonce} R\n`)
    const says = (said: Buffer) => {
      if (together) worker.out.write(Buffer.concat([said, end]))
      else worker.out.write(said, () => setTimeout(() => worker.out.write(end), 300))
      setTimeout(() => worker.err.write(end), together ? 0 : 300)
    }
    if (command !== "loud") return says(Buffer.from("quiet"))
    worker.out.write(overflow.subarray(0, 1))
    setTimeout(() => says(overflow.subarray(1)), 100)
  }

describe("a command whose time is up", () => {
  it.live("did not end, however a handle on it asks: its code is that of its killer", () =>
    Effect.gen(function* () {
      const shell = yield* open(endless())
      const sleeper = yield* shell.spawn("echo hi; sleep 100", { timeout: "300 millis" })
      for (const ask of [
        sleeper.wait,
        Stream.runDrain(sleeper.stdout),
        Stream.runDrain(sleeper.stderr),
        sleeper.wait
      ]) {
        assert.deepInclude(yield* failing(ask as Effect.Effect<unknown, ShellError>), {
          _tag: "CommandTimeout",
          machine: "vm",
          command: "echo hi; sleep 100"
        })
      }
    }).pipe(Effect.scoped)
  )
})

describe("the time of a command", () => {
  const late = { _tag: "CommandTimeout", machine: "vm", command: "x" } as const

  it("is told with the command's lines joined as a shell would have them", () => {
    const error = new CommandTimeout({
      machine: "vm",
      command: "\n  cd /srv\n  make  all\n",
      timeout: Duration.seconds(5),
      stdout: "",
      stderr: ""
    })
    assert.strictEqual(error.message, 'vm: "cd /srv; make  all" did not end within 5s')
  })

  it.live("holds for whoever is told what it says, too", () =>
    Effect.gen(function* () {
      const shell = yield* open({
        command: (worker, nonce) => {
          worker.out.write("said")
          worker.end(nonce, 0)
          worker.ready(nonce)
        }
      })
      const error = yield* failing(shell.execute("x", { timeout: "300 millis", stream: () => Effect.never }))
      assert.deepInclude(error, { ...late, stdout: "said" })
    })
  )

  it.live("holds for what the guest is asked before it changes to another user", () =>
    Effect.gen(function* () {
      const shell = yield* open(endless())
      assert.deepInclude(yield* failing(shell.execute("x", { timeout: "300 millis", user: "alice" })), late)
    })
  )
})

describe("what the guest is asked before it changes to another user", () => {
  it.live("takes of the time of the command", () =>
    Effect.gen(function* () {
      const shell = yield* open({
        command: (worker, nonce, command) => {
          const end = () => {
            worker.end(nonce, 0)
            worker.ready(nonce)
          }
          setTimeout(end, command.startsWith("setpriv --reuid root") ? 1500 : 2300)
        }
      })
      const error = yield* failing(shell.execute("x", { timeout: "3 seconds", user: "alice" }))
      assert.deepInclude(error, { _tag: "CommandTimeout", command: "x", timeout: Duration.seconds(3) })
      assert.strictEqual((yield* shell.execute("x", { timeout: "3 seconds", user: "alice" })).exitCode, 0)
    })
  )
})

describe("a command that says too much", () => {
  it.live("has said it on both streams together, the end of which the error tells", () =>
    Effect.gen(function* () {
      const piece = Buffer.alloc(13 * 1024 * 1024, "x")
      const shell = yield* open({
        ...endless(),
        command: (worker) => {
          for (let i = 0; i < 10; i++) {
            worker.out.write(piece)
            worker.err.write(piece)
          }
        }
      })
      const error = yield* Effect.timeout(Effect.flip(shell.execute("x")), "30 seconds")
      assert.deepInclude(error, { _tag: "CommandRejected", reason: "OutputTooLarge", stdout: "x".repeat(65536) })
      assert.deepInclude(error, { stderr: "x".repeat(65536) })
    })
  )
})

describe("a lane that does not start", () => {
  /** Closes the lane's first connection when it is to start. */
  const breaks = (guest: { readonly socket: (port: number) => Net.Socket | undefined }, lane: number) =>
    guest.socket(lane * 3 - 2)?.destroy()

  it.live("is tried again with a pause in between", () =>
    Effect.gen(function* () {
      let tries = 0
      const guest = yield* play(
        {
          typed: (line) => {
            if (!line.startsWith("_vt_start ")) return false
            tries++
            breaks(guest, 1)
            return true
          }
        },
        1
      )
      yield* Shell.make({ machine: "vm", channel: guest.channel })
      yield* Effect.sleep("2 seconds")
      assert.isAtLeast(tries, 2)
      assert.isAtMost(tries, 8)
    })
  )

  it.live("takes nobody's hope while another is starting", () =>
    Effect.gen(function* () {
      const guest = yield* play(
        {
          typed: (line) => {
            const [, lane, nonce] = /^_vt_start (\d+) (\w+)/.exec(line) ?? []
            if (lane === "1") setTimeout(() => breaks(guest, 1), 300)
            else if (lane === "2") {
              setTimeout(() => {
                for (const port of [5, 6]) guest.socket(port)?.write(`\x1e${nonce} R\n`)
              }, 1000)
            }
            return lane !== undefined
          }
        },
        2
      )
      const shell = yield* Shell.make({ machine: "vm", channel: guest.channel })
      assert.strictEqual((yield* Effect.timeout(shell.execute("a"), "10 seconds")).stdout, "ran a\n")
    })
  )
})

describe("output that nobody reads", () => {
  for (const together of [true, false]) {
    it.live(`does not hold the lane of a handle's command that has ended (${together ? "one piece" : "pieces"})`, () =>
      Effect.gen(function* () {
        const shell = yield* open({ command: loud(together) })
        const handle = yield* shell.spawn("loud")
        assert.strictEqual(yield* Effect.timeout(handle.wait, "5 seconds"), 0)
        for (let i = 0; i < 3; i++) {
          assert.strictEqual((yield* shell.execute("quiet", { timeout: "3 seconds" })).stdout, "quiet")
        }
        const late = yield* Stream.runFold(
          handle.stdout,
          () => 0,
          (sum, bytes) => sum + bytes.length
        )
        assert.strictEqual(late, overflow.length)
      }).pipe(Effect.scoped)
    )

    it.live(`does not hold the lane of a stream's command that has ended (${together ? "one piece" : "pieces"})`, () =>
      Effect.gen(function* () {
        const shell = yield* open({ command: loud(together) })
        let bytes = 0
        const events = yield* shell.executeStream("loud").pipe(
          Stream.rechunk(1),
          Stream.tap((event) => {
            if (event._tag === "Exit") return Effect.void
            const first = bytes === 0
            bytes += event.bytes.length
            // What it says next comes meanwhile.
            const next = shell.execute("quiet", { timeout: "3 seconds" })
            return first
              ? Effect.map(Effect.delay(next, "500 millis"), ({ stdout }) => assert.strictEqual(stdout, "quiet"))
              : Effect.void
          }),
          Stream.runCollect
        )
        assert.strictEqual(bytes, overflow.length)
        assert.deepStrictEqual(events.at(-1), { _tag: "Exit", exitCode: 0 })
      })
    )
  }
})

describe("what tells of a guest and dies of it", () => {
  const dying = Effect.die(new Error("no console"))

  it.live("a console that cannot be read does not hide that a boot failed", () =>
    Effect.gen(function* () {
      const error = yield* failing(open({ typed: () => true }, { bootTimeout: "500 millis", consoleTail: dying }))
      assert(error._tag === "ShellNotReady")
      assert.include(error.console, "no console")
    })
  )

  it.live("nor that a guest froze, after which commands fail in time", () =>
    Effect.gen(function* () {
      let frozen = false
      const shell = yield* open(
        {
          typed: () => frozen,
          command: () => {
            frozen = true
          }
        },
        {
          bootTimeout: "500 millis",
          consoleTail: dying,
          heartbeat: { interval: "100 millis", timeout: "100 millis" }
        }
      )
      const lost = yield* failing(shell.execute("a"))
      assert(lost._tag === "ShellLost")
      assert.include(lost.console, "no console")
      for (let i = 0; i < 2; i++) {
        const error = yield* failing(shell.execute("c", { timeout: "1 second" }))
        assert.deepInclude(error, { _tag: "ShellNotReady", command: "c" })
      }
    })
  )

  it("a listener to the boot's progress is named by the error", async () => {
    const transport: TransportService = {
      machine: "vm",
      name: "virtio-port",
      reconnects: false,
      slowness: 1,
      lanes: 1,
      bootstrap: Effect.succeed(memory("bootstrap").connection),
      lane: () => Effect.never
    }
    const error = await Effect.runPromise(
      inVirtualTime(
        Effect.flip(Effect.scoped(Shell.fromTransport(transport))).pipe(
          Effect.provideService(Shell.BootProgressListener, () => Effect.die(new Error("no listener")))
        ),
        "1 hour"
      )
    )
    assert.deepInclude(error, { _tag: "ShellNotReady", machine: "vm" })
    assert.include(error.reason, "no listener")
    assert.strictEqual(Duration.toSeconds(error.waited), 10)
  })
})
