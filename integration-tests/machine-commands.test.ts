import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Driver } from "../src/driver/Driver.ts"
import * as Image from "../src/images/Image.ts"
import type { ExecuteOptions } from "../src/transport/Shell.ts"
import { Machine, machines } from "../src/vitest.ts"

class Box extends Machine<Box>()("box", { image: Image.tiny(), memory: "256 MiB" }) {}

/** A guest that tests may end. */
class Victim extends Machine<Victim>()("victim", {
  image: Image.tiny(),
  memory: "256 MiB",
  vlans: [],
  autoStart: false
}) {}

const place = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "vmtest-rest-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

type Failing = Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>

const text = <E>(stream: Stream.Stream<Uint8Array, E>) => Stream.mkString(Stream.decodeText(stream))

machines(Box)("commands in a busybox guest", (it) => {
  it.effect("end with a timeout, an unknown user or folder as typed errors, and the guest goes on", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const late = yield* Effect.flip(box.execute("echo so far; sleep 60", { timeout: "2 seconds" }))
      assert.strictEqual(late._tag, "CommandTimeout")
      assert.include(late.message, "so far")
      const user = yield* Effect.flip(box.succeed("true", { user: "nosuch" }))
      assert.include(user.message, "the user nosuch does not exist")
      const folder = yield* Effect.flip(box.succeed("true", { cwd: "/nosuch" }))
      assert.include(folder.message, "/nosuch")
      assert.strictEqual(
        yield* box.succeed("pwd; echo $WHAT; cat", { cwd: "/tmp", env: { WHAT: "it's" }, stdin: "in" }),
        "/tmp\nit's\nin"
      )
    })
  )

  it.effect("fail the same whichever way they are run, and beside the test", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const late = "echo so far; sleep 60"
      const ways: Readonly<Record<string, (command: string, options: ExecuteOptions) => Failing>> = {
        executeBytes: box.executeBytes,
        executeStream: (command, options) => Stream.runDrain(box.executeStream(command, options)),
        succeed: (command, options) => box.succeed(command, options),
        fail: (command, options) => box.fail(command, options),
        "the end of spawn": (command, options) =>
          Effect.scoped(Effect.flatMap(box.spawn(command, options), (spawned) => spawned.wait()))
      }
      for (const [way, run] of Object.entries(ways)) {
        const timeout = yield* Effect.flip(run(late, { timeout: "1 second" }))
        assert.strictEqual(timeout._tag, "CommandTimeout", way)
        assert.include(timeout.message, "so far", way)
        for (const [reason, options] of [
          ["UnknownUser", { user: "nosuch" }],
          ["MissingDirectory", { cwd: "/nosuch" }],
          ["InvalidEnvironment", { env: { "A B": "c" } }]
        ] as const) {
          const rejected: object = yield* Effect.flip(run("true", options))
          assert.deepInclude(rejected, { _tag: "CommandRejected", reason }, way)
        }
      }
      for (const wait of [box.waitUntilSucceeds, box.waitUntilFails]) {
        const stranger = yield* Effect.flip(wait("false", { user: "nosuch", timeout: "1 minute" }))
        assert.deepInclude(stranger, { _tag: "CommandRejected", reason: "UnknownUser" })
      }
      const sleeper = yield* box.spawn(late, { timeout: "1 second" })
      for (const output of [sleeper.stdout, sleeper.stderr]) {
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(output)))._tag, "CommandTimeout")
      }
      const cat = yield* box.spawn("cat")
      yield* cat.end()
      assert.strictEqual((yield* Effect.flip(cat.write("x")))._tag, "CommandRejected")
      assert.strictEqual((yield* Effect.flip(cat.signal("NOPE" as "TERM")))._tag, "InvalidArgument")
      assert.strictEqual(yield* cat.wait({ timeout: "1 minute" }), 0)
    })
  )

  it.effect("are none of systemd's where there is none, nor is there another root", () =>
    Effect.gen(function* () {
      const box = yield* Box
      assert.strictEqual((yield* Effect.flip(box.waitForUnit("x.service", { timeout: "1 minute" })))._tag, "NoSystemd")
      assert.strictEqual((yield* box.systemctl("status")).exitCode, 127)
      for (const method of [
        box.getUnitInfo("x.service"),
        box.getUnitProperty("x.service", "Id"),
        box.requireUnitState("x.service"),
        box.startJob("x.service"),
        box.stopJob("x.service")
      ]) {
        const error: object = yield* Effect.flip(method as Failing)
        assert.deepInclude(error, { _tag: "CommandFailed", exitCode: 127 })
      }
      // A guest without a journal has no entries.
      assert.strictEqual(yield* Stream.runCount(box.journal()), 0)
      assert.strictEqual((yield* Effect.flip(box.switchRoot({ timeout: "1 minute" })))._tag, "NotInInitrd")
    })
  )

  it.effect("are run one after the other, up to the first that goes wrong", () =>
    Effect.gen(function* () {
      const box = yield* Box
      assert.strictEqual(yield* box.succeed("echo a", "printf b", { timeout: "1 minute" }), "a\nb")
      const error = yield* Effect.flip(box.succeed("echo a", "exit 3", "touch /tmp/not-reached"))
      assert.strictEqual(error._tag, "CommandFailed")
      assert.include(error.message, "box: `exit 3` failed with exit code 3")
      yield* box.fail("test -e /tmp/not-reached", "false", "echo x | grep y")
      const wrong = yield* Effect.flip(box.fail("false", "echo well"))
      assert.include(wrong.message, "`echo well` succeeded, but was expected to fail")
      const unset = yield* Effect.flip(box.succeed("echo $nowhere_set"))
      assert.strictEqual(unset._tag, "CommandFailed")
    })
  )

  it.effect("are tried until they succeed or fail, and the last try is told", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const never = yield* Effect.flip(box.waitUntilSucceeds("echo nope >&2; exit 5", { timeout: "2 seconds" }))
      assert.strictEqual(never._tag, "WaitTimeout")
      assert.include(never.message, "exit code 5\n  nope")
      const always = yield* Effect.flip(box.waitUntilFails("echo fine", { timeout: "2 seconds" }))
      assert.include(always.message, "exit code 0\n  fine")
      const hanging = yield* Effect.flip(box.waitUntilSucceeds("sleep 60", { timeout: "2 seconds" }))
      assert.include(hanging.message, "the command is still running")
    })
  )

  it.effect("run beside the test: output as it comes, input, signals, their end", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const echo = yield* box.spawn("echo err >&2; while read -r line; do echo got:$line; done; exit 7")
      const lines = yield* Effect.forkChild(
        echo.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.take(1), Stream.runCollect)
      )
      yield* echo.write("one\n")
      assert.deepStrictEqual(yield* Fiber.join(lines), ["got:one"])
      yield* echo.end()
      assert.strictEqual(yield* echo.wait(), 7)
      assert.strictEqual(yield* text(echo.stderr), "err\n")

      const sleeper = yield* box.spawn("trap 'echo usr1; exit 4' USR1; echo ready; while :; do sleep 0.1; done")
      yield* Stream.runHead(sleeper.stdout)
      const early = yield* Effect.flip(sleeper.wait({ timeout: "300 millis" }))
      assert.include(early.message, "to end")
      yield* sleeper.signal("USR1")
      assert.strictEqual(yield* sleeper.wait({ timeout: "1 minute" }), 4)
      const killed = yield* box.spawn("sleep 600")
      yield* killed.signal()
      assert.strictEqual(yield* killed.wait({ timeout: "1 minute" }), 143)
    })
  )

  it.effect("run beside the test as long as their scope, or detached as long as the test", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const scope = yield* Scope.make()
      yield* Scope.provide(box.spawn("echo $$ > /tmp/scoped; sleep 600"), scope)
      yield* box.waitForFile("/tmp/scoped")
      yield* Scope.close(scope, Exit.void)
      yield* box.waitUntilFails("kill -0 $(cat /tmp/scoped)", { timeout: "1 minute" })
      const detached = yield* Effect.scoped(box.spawn("echo $$ > /tmp/detached; cat", { detached: true }))
      yield* box.waitForFile("/tmp/detached")
      yield* box.succeed("kill -0 $(cat /tmp/detached)")
      yield* detached.end()
      assert.strictEqual(yield* detached.wait({ timeout: "1 minute" }), 0)
    })
  )

  it.effect("sleep in the guest's time, which a pause stops", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const sleeping = yield* Effect.forkChild(box.sleep("1 second"), { startImmediately: true })
      yield* box.pause()
      yield* Effect.sleep("2 seconds")
      assert.isUndefined(sleeping.pollUnsafe())
      yield* box.resume()
      yield* Fiber.join(sleeping)
    })
  )
})

machines(Box)("files and sockets of a busybox guest", (it) => {
  it.effect("are copied both ways: modes, links, empty folders, odd names, many bytes", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const base = yield* place
      const tree = join(base, "a tree")
      Fs.mkdirSync(join(tree, "empty"), { recursive: true })
      Fs.writeFileSync(join(tree, "-x 'ü'"), "odd", { mode: 0o640 })
      Fs.writeFileSync(join(tree, "big"), Buffer.alloc(20_000_000, "0123456789"))
      Fs.symlinkSync("big", join(tree, "link"))
      Fs.symlinkSync(tree, join(base, "door"))
      yield* box.copyFromHost(join(base, "door"), "/tmp/made/tree")
      assert.strictEqual(
        yield* box.succeed("cd /tmp/made/tree; ls -A | wc -l; stat -c %a \"./-x 'ü'\"; readlink link"),
        "4\n640\nbig\n"
      )
      yield* box.copyFromHost(join(tree, "-x 'ü'"), "/tmp/made")
      assert.strictEqual(yield* box.succeed("cat \"/tmp/made/-x 'ü'\""), "odd")
      yield* box.succeed("ln -s /tmp/made/tree /tmp/door; chmod 0555 /tmp/made/tree/empty")
      const back = yield* box.copyFromMachine("/tmp/door", "test-machine-commands/back")
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(join(back, "../.."), { recursive: true })))
      assert.isTrue(back.endsWith("/test-machine-commands/back/door"))
      assert.deepStrictEqual(Fs.readdirSync(back).sort(), ["-x 'ü'", "big", "empty", "link"])
      assert.strictEqual(Fs.readlinkSync(join(back, "link")), "big")
      assert.isTrue(Fs.readFileSync(join(back, "big")).equals(Fs.readFileSync(join(tree, "big"))))
      assert.strictEqual(Fs.statSync(join(back, "empty")).mode & 0o777, 0o555)
      const absent = yield* Effect.flip(box.copyFromMachine("/tmp/absent"))
      assert.strictEqual(absent._tag, "CopyFailed")
      assert.strictEqual(absent.message, `could not copy "/tmp/absent" from ${box.name}: no such file`)
      yield* box.succeed("ln -s /nowhere /tmp/dangling")
      assert.include(
        (yield* Effect.flip(box.copyFromMachine("/tmp/dangling"))).message,
        "it is a symbolic link to a file that does not exist"
      )
    })
  )

  it.effect("leave nothing behind when the copy of one is interrupted", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const base = yield* place
      Fs.writeFileSync(join(base, "endless"), "")
      Fs.truncateSync(join(base, "endless"), 1024 ** 4)
      const copying = yield* Effect.forkChild(box.copyFromHost(join(base, "endless"), "/tmp/copies/"))
      yield* box.waitUntilSucceeds("test -s /tmp/copies/.vmtest-copy-*/file", { timeout: "1 minute" })
      yield* Fiber.interrupt(copying)
      yield* box.waitUntilSucceeds('test -z "$(ls -A /tmp/copies)"', { timeout: "10 seconds" })
    })
  )

  it.effect("say what is wrong with a path, on either side", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const base = yield* place
      Fs.writeFileSync(join(base, "file"), "text")
      Fs.mkdirSync(join(base, "tree"))
      Fs.symlinkSync("/nowhere", join(base, "broken"))
      const refused: ReadonlyArray<[tag: string, said: string, use: Failing]> = [
        ["CommandFailed", "No such file", box.readFile("/nowhere")],
        ["CommandFailed", "No such file", box.readFileBytes("/nowhere")],
        ["CommandFailed", "directory", box.readFileBytes("/tmp")],
        ["CommandFailed", "directory", box.writeFile("/tmp", "x")],
        ["CommandFailed", "mode", box.writeFile("/tmp/moded", "x", { mode: "nonsense" })],
        ["CommandFailed", "/etc/hosts", box.writeFile("/etc/hosts/below", "x")],
        ["CopyFailed", "/etc/hosts", box.copyFromHost(join(base, "file"), "/etc/hosts/below")],
        ["CopyFailed", "/etc/hosts", box.copyFromHost(join(base, "tree"), "/etc/hosts/below")],
        ["HostFileError", "does not exist", box.copyFromHost(join(base, "broken"), "/tmp/x")],
        ["HostFileError", "is neither a file nor a folder", box.copyFromHost("/dev/null", "/tmp/x")],
        ["InvalidArgument", "source", box.copyFromHost("", "/tmp/x")],
        ["InvalidArgument", "target", box.copyFromHost(join(base, "file"), "")],
        ["HostFileError", "has no name of its own", box.copyFromMachine("/")],
        ["HostFileError", "has no name of its own", box.copyFromMachine("/tmp/..")],
        ["HostFileError", "outside the output folder", box.copyFromMachine("/etc/hosts", "../../elsewhere")],
        ["InvalidArgument", "path", box.waitForFile("")],
        ["InvalidArgument", "path", box.waitUntilFileIsGone("")]
      ]
      for (const [tag, said, use] of refused) {
        const error = yield* Effect.flip(use)
        assert.strictEqual(error._tag, tag, error.message)
        assert.include(error.message, said)
      }
      yield* box.fail("test -e /tmp/x")
    })
  )

  it.effect("ports elsewhere are tried by connecting, until one opens and until it closes", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const opening = yield* Effect.forkChild(box.waitForOpenPort(8000, "192.168.1.1", { timeout: "1 minute" }))
      yield* box.succeed("busybox httpd -f -p 8000 >/dev/null 2>&1 & echo $! > /tmp/httpd.pid")
      yield* Fiber.join(opening)
      yield* box.waitForOpenPort(8000, "box", { timeout: "1 minute" })
      const closing = yield* Effect.forkChild(box.waitForClosedPort(8000, "192.168.1.1", { timeout: "1 minute" }))
      yield* box.succeed("kill $(cat /tmp/httpd.pid)")
      yield* Fiber.join(closing)
      const misspelt = yield* Effect.flip(box.waitForOpenPort(8000, "bxo", { timeout: "3 seconds" }))
      assert.include(misspelt.message, 'last seen: bxo has no address; did you mean "box"?')
      const nobody = yield* Effect.flip(box.waitForOpenPort(8000, "192.168.1.99", { timeout: "3 seconds" }))
      assert.match(nobody.message, /last seen: (there is no route to it|no answer within a second)/)
      yield* box.succeed("busybox httpd -p 8001")
      for (const address of [undefined, "192.168.1.1"]) {
        const open = yield* Effect.flip(box.waitForClosedPort(8001, address, { timeout: "1 second" }))
        assert.strictEqual(open._tag, "WaitTimeout")
        assert.match(open.message, address === undefined ? /listening: .*[\]0]:8001\b/ : /it is open/)
      }
    })
  )

  it.effect("ports and addresses that cannot be are refused", () =>
    Effect.gen(function* () {
      const box = yield* Box
      for (const port of [70_000, 0, -1, 1.5, Number.NaN]) {
        for (const wait of [box.waitForOpenPort(port), box.waitForClosedPort(port)]) {
          const error = yield* Effect.flip(wait)
          assert.strictEqual(error._tag, "InvalidArgument")
          assert.include(error.message, `port must be a whole number from 1 to 65535, got ${port}`)
        }
      }
      assert.strictEqual((yield* Effect.flip(box.waitForOpenPort(80, "a b")))._tag, "InvalidArgument")
    })
  )

  it.effect("Unix sockets are open when somebody is bound to them", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const waiting = yield* Effect.forkChild(
        box.waitForOpenUnixSocket("/dev/log", { type: "datagram", timeout: "1 minute" })
      )
      yield* box.succeed("syslogd -O /tmp/log")
      yield* Fiber.join(waiting)
      const stream = yield* Effect.flip(box.waitForOpenUnixSocket("/dev/log", { timeout: "1 second" }))
      assert.strictEqual(stream._tag, "WaitTimeout")
      assert.include(stream.message, "datagram: /dev/log")
      yield* box.succeed("killall syslogd")
      const stale = yield* Effect.flip(box.waitForOpenUnixSocket("/dev/log", { type: "datagram", timeout: "1 second" }))
      assert.strictEqual(stale._tag, "WaitTimeout")
      const relative = yield* Effect.flip(box.waitForOpenUnixSocket("log"))
      assert.include(relative.message, "address must be an absolute path")
      const kind = yield* Effect.flip(box.waitForOpenUnixSocket("/dev/log", { type: "dgram" as "datagram" }))
      assert.deepInclude(kind, { _tag: "InvalidArgument", argument: "type", value: "dgram" })
    })
  )
})

machines(Box)("the console and the cables of a busybox guest", (it) => {
  it.effect("the console is matched as a whole, over several lines, by patterns with any flags", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const pattern = /first (\d)\nsecond \1/g
      for (let time = 0; time < 2; time++) {
        const waiting = yield* Effect.forkChild(box.waitForConsoleText(pattern, { timeout: "1 minute" }))
        yield* box.succeed("echo first 1 > /dev/console; echo second 1 > /dev/console")
        assert.strictEqual(yield* Fiber.join(waiting), "first 1\nsecond 1")
      }
      const seen = yield* Effect.forkChild(
        box.console.pipe(
          Stream.splitLines,
          Stream.filter((line) => line.startsWith("third")),
          Stream.runHead
        )
      )
      yield* box.succeed("echo third > /dev/console")
      assert.strictEqual((yield* Fiber.join(seen))._tag, "Some")
      assert.match(yield* box.getConsoleLog(), /second 1\r?\n/)
    })
  )

  it.effect("the console can be typed into", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("head -n 1 < /dev/console > /tmp/typed 2>/dev/null &")
      yield* box.sendConsole("hello, guest\n")
      assert.strictEqual(
        yield* box.waitUntilSucceeds("grep hello /tmp/typed", { timeout: "1 minute" }),
        "hello, guest\n"
      )
    })
  )

  it.effect("cables are pulled and plugged, all or one, and only those that are there", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const carrier = (wanted: number) =>
        box.waitUntilSucceeds(`[ $(cat /sys/class/net/eth1/carrier) = ${wanted} ]`, { timeout: "1 minute" })
      yield* box.block()
      yield* carrier(0)
      yield* box.unblock()
      yield* carrier(1)
      yield* box.block(1)
      yield* carrier(0)
      yield* box.unblock(1)
      yield* carrier(1)
      for (const change of [box.block(2), box.unblock(2), box.block("eth2")]) {
        assert.deepInclude(yield* Effect.flip(change), { _tag: "InvalidArgument", argument: "card" })
      }
    })
  )

  it.effect("ports are forwarded while it runs, each to the host's port that is told", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("mkdir -p /tmp/www && echo page > /tmp/www/index.html && busybox httpd -p 8090 -h /tmp/www")
      yield* box.waitForOpenPort(8090)
      const [one, two] = yield* Effect.all(
        [box.forwardPort({ guestPort: 8090 }), box.forwardPort({ guestPort: 8090 })],
        {
          concurrency: 2
        }
      )
      assert.notStrictEqual(one, two)
      for (const port of [one, two]) {
        const page = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/`).then((answer) => answer.text()))
        assert.strictEqual(page, "page\n")
      }
      const taken = yield* Effect.flip(box.forwardPort({ hostPort: one, guestPort: 8090 }))
      assert.strictEqual(taken._tag, "QmpError")
      assert.include(taken.message, "box")
      for (const ports of [{ guestPort: 0 }, { hostPort: 70_000, guestPort: 80 }, { guestPort: 1.5 }]) {
        assert.strictEqual((yield* Effect.flip(box.forwardPort(ports)))._tag, "InvalidArgument")
      }
    })
  )

  it.effect("QEMU says what it does not know, and a machine what its host has not", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const unknown = yield* Effect.flip(box.qmp("nonsense"))
      assert.deepInclude(unknown, { _tag: "QmpError", class: "CommandNotFound" })
      const wrong = yield* Effect.flip(box.qmp("query-status", undefined, Schema.Struct({ nothing: Schema.String })))
      assert.deepInclude(wrong, { _tag: "QmpError", class: "BadReply" })
      const monitor = yield* Effect.flip(box.sendMonitorCommand("nonsense"))
      assert.deepInclude(monitor, { _tag: "QmpError", class: "HumanMonitor", desc: "unknown command: 'nonsense'" })
      const event = yield* Effect.flip(
        box.waitForQmpEvent(Schema.Struct({ event: Schema.Literal("NONE") }), { timeout: "1 second" })
      )
      assert.strictEqual(event._tag, "WaitTimeout")
      for (const interact of [box.shellInteract(), box.consoleInteract()]) {
        assert.strictEqual((yield* Effect.flip(interact as Failing))._tag, "NoTerminal")
      }
      const driver = yield* Driver
      const still = yield* Effect.flip(driver.joinAll({ timeout: "1 second" }))
      assert.strictEqual(still._tag, "WaitTimeout")
      assert.strictEqual((yield* Effect.flip(box.waitForShutdown({ timeout: "1 second" })))._tag, "WaitTimeout")
      const sameName = yield* Effect.flip(driver.machine("box", { image: Image.tiny() }))
      assert.strictEqual(sameName._tag, "InvalidMachine")
    })
  )

  it.effect("several machines are waited for at once, and a condition ends any wait", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const driver = yield* Driver
      const names = yield* driver.waitAll([box], (machine) => machine.succeed("hostname"))
      assert.deepStrictEqual(names, ["box\n"])
      yield* driver.log("now a condition that breaks")
      yield* box.succeed("touch /tmp/alive")
      yield* driver.pollingCondition("the guest is alive", box.succeed("test -e /tmp/alive"), {
        schedule: Schedule.spaced("200 millis")
      })
      const waiting = yield* Effect.forkChild(Effect.flip(box.waitForConsoleText("never", { timeout: "1 minute" })))
      yield* box.succeed("sleep 1")
      yield* Effect.ignore(box.succeed("rm /tmp/alive"))
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "PollingConditionFailed")
      assert.include(error.message, '"the guest is alive" no longer holds')
    })
  )
})

machines(Victim)("a machine that ends under a command beside the test", (it) => {
  it.effect("fails its streams and its wait, and its console's log stays", () =>
    Effect.gen(function* () {
      const victim = yield* Victim
      yield* victim.start()
      const running = yield* victim.spawn("echo started; sleep 600")
      const reading = yield* Effect.forkChild(Effect.flip(Stream.runDrain(running.stdout)), { startImmediately: true })
      const waiting = yield* Effect.forkChild(Effect.flip(running.wait()), { startImmediately: true })
      yield* Effect.forkChild(victim.execute("echo famous last words > /dev/console; sleep 0.3; poweroff -f"))
      yield* victim.waitForShutdown({ timeout: "1 minute" })
      for (const error of [yield* Fiber.join(reading), yield* Fiber.join(waiting)]) {
        assert.strictEqual(error._tag, "MachineDied")
      }
      for (const use of [victim.sendConsole("x"), victim.pause(), victim.qmp("query-status"), victim.block()]) {
        assert.strictEqual((yield* Effect.flip(use as Failing))._tag, "MachineDied")
      }
      assert.include(yield* victim.getConsoleLog(), "famous last words")
      assert.include(yield* Stream.mkString(victim.console), "famous last words")
    })
  )
})
