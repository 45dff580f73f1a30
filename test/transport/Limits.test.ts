/** What a shell refuses, what it waits for and how long. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Shell from "../../src/transport/Shell.ts"
import type { CommandRejected, ShellError } from "../../src/transport/ShellError.ts"
import type { TransportService } from "../../src/transport/Transport.ts"
import { endless, mark, play, type Script } from "./guest.ts"
import { inVirtualTime, memory } from "./memory.ts"

const open = (script: Script, options: Partial<Shell.ShellOptions> = {}) =>
  Effect.gen(function* () {
    const guest = yield* play(script)
    return yield* Shell.make({ machine: "vm", channel: guest.channel, bootTimeout: "5 seconds", ...options })
  })

/** The error of something that must fail soon. */
const failing = <A, R>(self: Effect.Effect<A, ShellError, R>) => Effect.timeout(Effect.flip(self), "5 seconds")

const nonsense: ReadonlyArray<
  readonly [reason: CommandRejected["reason"], command: string, options: Shell.ExecuteOptions]
> = [
  ["InvalidTimeout", "true", { timeout: -1 }],
  ["InvalidTimeout", "true", { timeout: 0 }],
  ["InvalidTimeout", "true", { timeout: Number.NaN }],
  ["InvalidTimeout", "true", { timeout: Number.NEGATIVE_INFINITY }],
  ["InvalidTimeout", "true", { timeout: Duration.seconds(-3) }],
  ["InvalidEnvironment", "true", { env: { "A-B": "" } }],
  ["InvalidEnvironment", "true", { env: { "": "x" } }],
  ["InvalidEnvironment", "true", { env: { "1A": "x" } }],
  ["InvalidEnvironment", "true", { env: { "A=B": "x" } }],
  ["InvalidEnvironment", "true", { env: { "A;reboot": "x" } }],
  ["InvalidEnvironment", "true", { env: { Ä: "x" } }],
  ["InvalidEnvironment", "true", { env: { EUID: "0" } }],
  ["InvalidEnvironment", "true", { env: { A: "a\0b" } }],
  ["InvalidEnvironment", "true", { env: JSON.parse('{"A":1}') }],
  ["InvalidCommand", "", {}],
  ["InvalidCommand", " \n\t\n", {}],
  ["InvalidCommand", "echo a\0b", {}],
  ["MissingDirectory", "true", { cwd: "" }],
  ["MissingDirectory", "true", { cwd: "/tmp\0x" }],
  ["UnknownUser", "true", { user: "" }],
  ["UnknownUser", "true", { user: "a b" }],
  ["UnknownUser", "true", { user: "$(reboot)" }],
  ["UnknownUser", "true", { user: "-c" }],
  ["UnknownUser", "true", { user: "a\nb" }]
]

describe("a shell refuses", () => {
  it.live("what makes no sense, before the guest hears of it, with the machine and the command", () =>
    Effect.gen(function* () {
      let commands = 0
      const shell = yield* open({ command: () => commands++ })
      for (const [reason, command, options] of nonsense) {
        const errors = [
          yield* failing(shell.execute(command, options)),
          yield* failing(shell.executeBytes(command, options)),
          yield* failing(Stream.runDrain(shell.executeStream(command, options))),
          yield* failing(Effect.scoped(shell.spawn(command, options)))
        ]
        for (const error of errors) {
          assert(error._tag === "CommandRejected", `${reason} ${error._tag}`)
          assert.deepInclude(error, { machine: "vm", command, reason })
          assert.match(error.message, /^vm: /)
        }
      }
      assert.strictEqual(commands, 0)
    })
  )

  it.live("commands when it is closed, those in the queue, too; those under way are lost", () =>
    Effect.gen(function* () {
      const [shell, running, queued] = yield* Effect.scoped(
        Effect.gen(function* () {
          const shell = yield* open(endless())
          const running = yield* Effect.forkDetach(
            Effect.all(
              [1, 2].map((i) => Effect.flip(shell.execute(`run ${i}`))),
              { concurrency: 2 }
            )
          )
          yield* Effect.sleep("500 millis")
          const queued = yield* Effect.forkDetach(Effect.flip(shell.execute("queued")))
          yield* Effect.sleep("100 millis")
          return [shell, running, queued] as const
        })
      )
      const closed = { _tag: "CommandRejected", machine: "vm", reason: "Closed" } as const
      assert.deepInclude(yield* Effect.timeout(Fiber.join(queued), "2 seconds"), { ...closed, command: "queued" })
      for (const error of yield* Effect.timeout(Fiber.join(running), "2 seconds")) {
        assert.deepInclude(error, { _tag: "ShellLost", reason: "the shell was closed" })
      }
      assert.deepInclude(yield* failing(shell.execute("later")), { ...closed, command: "later" })
    })
  )

  it.live("commands when all lanes were busy for as long as they may run", () =>
    Effect.gen(function* () {
      const shell = yield* open(endless())
      yield* shell.spawn("one")
      yield* shell.spawn("two")
      const error = yield* failing(shell.execute("three", { timeout: "300 millis" }))
      assert.deepInclude(error, { _tag: "CommandRejected", machine: "vm", command: "three", reason: "Busy" })
      assert.include(error.message, "all 2 command slots were busy for 300ms")
    }).pipe(Effect.scoped)
  )

  it.live("to write what the command would never read", () =>
    Effect.gen(function* () {
      const shell = yield* open(endless())
      const cat = yield* shell.spawn("cat")
      yield* cat.write("a")
      yield* cat.end
      assert.deepInclude(yield* failing(cat.write("b")), { _tag: "CommandRejected", command: "cat", reason: "Closed" })
      const given = yield* shell.spawn("cat", { stdin: "x" })
      assert.deepInclude(yield* failing(given.write("b")), { _tag: "CommandRejected", reason: "Closed" })
    }).pipe(Effect.scoped)
  )
})

describe("a shell does not wait for ever", () => {
  it.live("for a guest that does not take a command", () =>
    Effect.gen(function* () {
      const guest = yield* play(endless(), 1)
      const shell = yield* Shell.make({ machine: "vm", channel: guest.channel })
      guest.socket(1)?.pause()
      const command = `: ${"x".repeat(20_000_000)}`
      const error = yield* failing(shell.execute(command, { timeout: "300 millis" }))
      assert.deepInclude(error, { _tag: "ShellLost", machine: "vm", reason: "the guest did not take it within 300ms" })
    })
  )

  it.live("for an exit code that came damaged", () =>
    Effect.gen(function* () {
      const shell = yield* open({
        command: (worker, nonce) => {
          worker.out.write(mark(nonce, 0).replace(" 0 255", " 1 255"))
          worker.err.write(mark(nonce, 0))
          worker.ready(nonce)
        }
      })
      const error = yield* failing(shell.execute("a"))
      assert.deepInclude(error, { _tag: "ShellLost", reason: "the exit code did not arrive" })
    })
  )

  it("for the first shell: it tells how a boot goes after 10 s, 20 s, 40 s and then every 30 s, and gives up", async () => {
    const told: Array<readonly [seconds: number, console: string]> = []
    const bootstrap = memory("bootstrap")
    const transport: TransportService = {
      machine: "vm",
      name: "virtio-port",
      reconnects: false,
      slowness: 1,
      lanes: 1,
      bootstrap: Effect.succeed(bootstrap.connection),
      lane: () => Effect.never
    }
    const [took, error] = await Effect.runPromise(
      inVirtualTime(
        Effect.timed(
          Effect.flip(
            Effect.scoped(Shell.fromTransport(transport, { consoleTail: Effect.succeed("[ 1.0] Kernel panic\n") }))
          )
        ).pipe(
          Effect.provideService(Shell.BootProgressListener, ({ console, waited }) =>
            Effect.sync(() => {
              told.push([Duration.toSeconds(waited), console])
            })
          )
        ),
        "1 hour"
      )
    )
    assert.deepStrictEqual(
      told,
      [10, 20, 40, 70, 100, 130, 160, 190, 220, 250, 280].map((seconds) => [seconds, "[ 1.0] Kernel panic\n"])
    )
    assert.strictEqual(Duration.toSeconds(took), 300)
    assert.deepInclude(error, { _tag: "ShellNotReady", machine: "vm", console: "[ 1.0] Kernel panic\n" })
  })
})

describe("a shell", () => {
  it.live("asks again where its agent is when the answer was damaged, and believes no other", () =>
    Effect.gen(function* () {
      let asked = 0
      const damaged = (times: number): Script => ({
        typed: (line, socket) => {
          const [, token] = /^echo _vt_([0-9a-f]{32}) \$_vt_answer/.exec(line) ?? []
          if (token === undefined || asked++ >= times) return false
          socket.write(`_vt_${token} /run/vmtest sh pipefail = /run/vmtesu sh pipefail\n`)
          return true
        }
      })
      const shell = yield* open(damaged(2))
      assert.strictEqual((yield* shell.execute("a")).stdout, "ran a\n")
      asked = 0
      const error = yield* Effect.flip(open(damaged(1000)))
      assert.deepInclude(error, { _tag: "ShellNotReady", machine: "vm" })
      assert.include(error.message, "did not say where its agent is")
    })
  )

  it.live("tells what a command says while it collects it, and lets the command wait meanwhile", () =>
    Effect.gen(function* () {
      const shell = yield* open({
        command: (worker, nonce) => {
          worker.out.write("one ")
          setTimeout(() => worker.err.write("oops"), 50)
          setTimeout(() => {
            worker.out.write("two")
            worker.end(nonce, 3)
            worker.ready(nonce)
          }, 100)
        }
      })
      const told: Array<string> = []
      const stream = ({ _tag, bytes }: Shell.CommandOutput) =>
        Effect.sync(() => {
          told.push(`${_tag} ${Buffer.from(bytes)}`)
        })
      assert.deepStrictEqual(yield* shell.execute("a", { stream }), { exitCode: 3, stdout: "one two", stderr: "oops" })
      assert.deepStrictEqual(told, ["Stdout one ", "Stderr oops", "Stdout two"])
    })
  )

  it.live("waits for both outputs before it says of a spawned command that it was run and exited with 125", () =>
    Effect.gen(function* () {
      const shell = yield* open({
        command: (worker, nonce, command) => {
          worker.out.write(mark(nonce, 125))
          const fault = command.includes("cd --") ? `\x1e${/%s\\n' (\w+) cwd/.exec(command)?.[1]} cwd\n` : ""
          setTimeout(() => worker.err.write(`${fault}${mark(nonce, 125)}`), 50)
        }
      })
      const refused = yield* shell.spawn("pwd", { cwd: "/nowhere" })
      assert.deepInclude(yield* failing(refused.wait), { _tag: "CommandRejected", reason: "MissingDirectory" })
      const ran = yield* shell.spawn("exit 125")
      assert.strictEqual(yield* Effect.timeout(ran.wait, "5 seconds"), 125)
    }).pipe(Effect.scoped)
  )

  it.live("dies of an input that dies, which is not the end of it", () =>
    Effect.gen(function* () {
      const shell = yield* open(endless())
      const stdin = Stream.concat(Stream.succeed(Buffer.from("half")), Stream.die("the disk is on fire"))
      const exit = yield* Effect.timeout(Effect.exit(shell.execute("cat", { stdin })), "5 seconds")
      assert(exit._tag === "Failure")
      assert.include(Cause.pretty(exit.cause), "the disk is on fire")
    })
  )
})
