import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Image from "../src/images/Image.ts"
import { Machine, machines } from "../src/vitest.ts"

class Box extends Machine<Box>()("box", { image: Image.tiny(), memory: "256 MiB", allowReboot: true }) {}

/** A guest that tests may end. */
class Victim extends Machine<Victim>()("victim", { image: Image.tiny(), memory: "256 MiB", autoStart: false }) {}

machines(Box)("a machine", (it) => {
  it.effect("runs commands: exit codes, both outputs, any bytes", () =>
    Effect.gen(function* () {
      const box = yield* Box
      assert.deepStrictEqual(yield* box.execute("echo out; echo err >&2; exit 3"), {
        exitCode: 3,
        stdout: "out\n",
        stderr: "err\n"
      })
      assert.strictEqual(yield* box.succeed("printf a", "echo b"), "ab\n")
      assert.strictEqual(yield* box.fail("echo no; false"), "no\n")
      const { stdout } = yield* box.executeBytes("printf '\\377\\000x'")
      assert.deepStrictEqual([...stdout], [255, 0, 120])
      const error = yield* Effect.flip(box.succeed("echo evidence >&2; exit 4"))
      assert.strictEqual(error._tag, "CommandFailed")
      assert.include(error.message, "evidence")
    })
  )

  it.effect("has its name, and knows it", () =>
    Effect.gen(function* () {
      const box = yield* Box
      assert.strictEqual(yield* box.succeed("hostname"), "box\n")
      assert.include(yield* box.succeed("cat /etc/hosts"), "192.168.1.1 box\n")
      yield* box.succeed("ping -c 1 -w 5 box")
    })
  )

  it.effect("reads and writes files of any content", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const text = "it's\n$HOME `x` \\ ü\n"
      yield* box.writeFile("/tmp/a b/c'd", text, { mode: "0600" })
      assert.strictEqual(yield* box.readFile("/tmp/a b/c'd"), text)
      assert.include(yield* box.succeed('ls -l "/tmp/a b/c\'d"'), "-rw-------")
      const bytes = Uint8Array.from({ length: 300_000 }, (_, index) => (index * 7) % 256)
      yield* box.writeFile("/tmp/bytes", bytes)
      assert.deepStrictEqual(yield* box.readFileBytes("/tmp/bytes"), bytes)
      const missing = yield* Effect.flip(box.readFile("/nowhere"))
      assert.include(missing.message, "/nowhere")
    })
  )

  it.effect("waits for files, at once when they come, and says what it saw when they do not", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const waiting = yield* Effect.forkChild(box.waitForFile("/tmp/late", { timeout: "1 minute" }))
      yield* box.succeed("sleep 0.3; touch /tmp/late")
      yield* Fiber.join(waiting)
      const error = yield* Effect.flip(box.waitForFile("/etc/never", { timeout: "1 second" }))
      assert.strictEqual(error._tag, "WaitTimeout")
      assert.include(error.message, "the file /etc/never to exist")
      assert.include(error.message, "hosts")
      const going = yield* Effect.forkChild(box.waitUntilFileIsGone("/tmp/late", { timeout: "1 minute" }))
      yield* box.succeed("sleep 0.3; rm /tmp/late")
      yield* Fiber.join(going)
      const stays = yield* Effect.flip(box.waitUntilFileIsGone("/etc/hosts", { timeout: "1 second" }))
      assert.strictEqual(stays._tag, "WaitTimeout")
      assert.include(stays.message, "/etc/hosts")
    })
  )

  it.effect("waits for ports, on both families, and for them to close", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const waiting = yield* Effect.forkChild(box.waitForOpenPort(8080, undefined, { timeout: "1 minute" }))
      yield* box.succeed("busybox httpd -f -p 127.0.0.1:8080 >/dev/null 2>&1 & echo $! > /tmp/server.pid")
      yield* Fiber.join(waiting)
      yield* box.waitForOpenPort(8080, "localhost", { timeout: "1 minute" })
      yield* box.succeed("kill $(cat /tmp/server.pid)")
      yield* box.waitForClosedPort(8080, undefined, { timeout: "1 minute" })
      const error = yield* Effect.flip(box.waitForOpenPort(8081, "127.0.0.1", { timeout: "1 second" }))
      assert.strictEqual(error._tag, "WaitTimeout")
      const other = yield* Effect.flip(box.waitForOpenPort(8081, "192.168.1.1", { timeout: "2 seconds" }))
      assert.include(other.message, "the connection is refused")
      yield* box.succeed("nc -ll -p 8082 -e true </dev/null >/dev/null 2>&1 &")
      yield* box.waitForOpenPort(8082, "192.168.1.1", { timeout: "1 minute" })
    })
  )

  it.effect(
    "waits for UDP ports, of which nothing here has one, and tells a missing program without a file of vmtest's",
    () =>
      Effect.gen(function* () {
        const box = yield* Box
        const short = { protocol: "udp", timeout: "1 second" } as const
        for (const address of [undefined, "localhost", "127.0.0.1", "::1"]) {
          yield* box.waitForClosedPort(5353, address, { ...short, timeout: "1 minute" })
          const error = yield* Effect.flip(box.waitForOpenPort(5353, address, short))
          assert.match(error.message, /for UDP port 5353.* to be open; last seen: nothing is bound to any UDP port/)
        }
        const { stderr } = yield* box.execute("nothing-of-that-name")
        assert.match(stderr, /^sh: (eval: )?(line \d+: )?nothing-of-that-name: not found$/m)
      })
  )

  it.effect("tries commands until they succeed or fail", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const waiting = yield* Effect.forkChild(box.waitUntilSucceeds("cat /tmp/soon", { timeout: "1 minute" }))
      yield* box.succeed("sleep 0.3; echo now > /tmp/soon")
      assert.strictEqual(yield* Fiber.join(waiting), "now\n")
      const gone = yield* Effect.forkChild(box.waitUntilFails("cat /tmp/soon", { timeout: "1 minute" }))
      yield* box.succeed("rm /tmp/soon")
      yield* Fiber.join(gone)
    })
  )

  it.effect("hears the console, from the kernel's first line on", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const waiting = yield* Effect.forkChild(box.waitForConsoleText(/answer: (\d+)$/m, { timeout: "1 minute" }))
      yield* box.succeed("echo answer: 42 > /dev/console")
      assert.strictEqual(yield* Fiber.join(waiting), "answer: 42")
      assert.include(yield* box.getConsoleLog(), "answer: 42")
      const error = yield* Effect.flip(box.waitForConsoleText("never said", { timeout: "500 millis" }))
      assert.include(error.message, '"never said" on the console')
    })
  )

  it.effect("copies files and trees both ways, modes kept", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const place = mkdtempSync(join(tmpdir(), "vmtest-copy-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(place, { recursive: true })))
      mkdirSync(join(place, "tree", "inner"), { recursive: true })
      writeFileSync(join(place, "tree", "run.sh"), "#!/bin/sh\necho hi\n", { mode: 0o755 })
      writeFileSync(join(place, "tree", "inner", "big"), Buffer.alloc(3_000_000, "x"))
      symlinkSync("run.sh", join(place, "tree", "link"))
      yield* box.copyFromHost(join(place, "tree"), "/tmp/copies/tree")
      assert.strictEqual(yield* box.succeed("/tmp/copies/tree/link"), "hi\n")
      yield* box.copyFromHost(join(place, "tree", "run.sh"), "/tmp/copies/one")
      assert.strictEqual(yield* box.succeed("/tmp/copies/one"), "hi\n")

      const missing = yield* Effect.flip(box.copyFromHost(join(place, "nope"), "/tmp/x"))
      assert.include(missing.message, "does not exist")

      const back = yield* box.copyFromMachine("/tmp/copies/tree", "test-machine")
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(join(back, ".."), { recursive: true })))
      assert.strictEqual(readFileSync(join(back, "inner", "big")).length, 3_000_000)
      assert.strictEqual(statSync(join(back, "run.sh")).mode & 0o777, 0o755)
      const out = yield* Effect.flip(box.copyFromMachine("/tmp/copies/one", "../.."))
      assert.include(out.message, "outside the output folder")
      const absent = yield* Effect.flip(box.copyFromMachine("/tmp/none"))
      assert.strictEqual(absent._tag, "CopyFailed")
    })
  )

  it.effect("stands still while paused", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.pause()
      yield* Effect.sleep("300 millis")
      yield* box.resume()
      yield* box.succeed("true")
    })
  )

  it.effect("answers QMP, and says what it does not have", () =>
    Effect.gen(function* () {
      const box = yield* Box
      assert.include(yield* box.sendMonitorCommand("info status"), "running")
      assert.deepInclude(yield* box.qmp("query-status"), { status: "running" })
      const key = yield* Effect.flip(box.sendKey("ctrl-alt-delet"))
      assert.include(key.message, "delete")
    })
  )

  it.effect("forwards a port of the host into the guest", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("mkdir -p /tmp/www && echo page > /tmp/www/index.html")
      yield* box.succeed("busybox httpd -p 8090 -h /tmp/www")
      yield* box.waitForOpenPort(8090)
      const port = yield* box.forwardPort({ guestPort: 8090 })
      const page = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/`).then((answer) => answer.text()))
      assert.strictEqual(page, "page\n")
    })
  )

  it.effect("reboots, and is the same machine again", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const before = yield* box.succeed("cat /proc/sys/kernel/random/boot_id")
      yield* box.reboot()
      assert.notStrictEqual(yield* box.succeed("cat /proc/sys/kernel/random/boot_id"), before)
      assert.strictEqual(yield* box.succeed("hostname"), "box\n")
      assert.include(yield* box.succeed("ip addr"), "192.168.1.1/24")
    })
  )
})

machines(Victim)("a machine that ends", (it) => {
  it.effect("starts at its first use, shuts down, and starts again", () =>
    Effect.gen(function* () {
      const victim = yield* Victim
      assert.isFalse(yield* victim.isUp())
      yield* victim.succeed("true")
      yield* victim.shutdown()
      assert.isFalse(yield* victim.isUp())
      const error = yield* Effect.flip(victim.execute("true"))
      assert.strictEqual(error._tag, "MachineNotRunning")
      yield* victim.start()
      yield* victim.succeed("true")
    })
  )

  it.effect("fails whatever waits within a second of its death, with the evidence", () =>
    Effect.gen(function* () {
      const victim = yield* Victim
      yield* victim.start()
      const waits = yield* Effect.forEach(
        [
          victim.succeed("sleep 600"),
          victim.waitForFile("/never"),
          victim.waitForOpenPort(9999),
          victim.waitUntilSucceeds("false"),
          victim.waitForConsoleText("never")
        ],
        (wait) => Effect.forkChild(Effect.flip(wait as Effect.Effect<unknown, Error & { readonly _tag: string }>))
      )
      yield* Effect.sleep("500 millis")
      yield* Effect.forkChild(victim.execute("echo last words > /dev/console; sleep 0.2; poweroff -f"))
      yield* victim.waitForShutdown({ timeout: "1 minute" })
      const errors = yield* Effect.forEach(waits, Fiber.join).pipe(Effect.timeout("2 seconds"))
      for (const error of errors) {
        assert.strictEqual(error._tag, "MachineDied")
        assert.include(error.message, "the guest powered off")
        assert.include(error.message, "last words")
      }
    })
  )

  it.effect("may be crashed by the test", () =>
    Effect.gen(function* () {
      const victim = yield* Victim
      yield* victim.start()
      yield* victim.crash()
      assert.isFalse(yield* victim.isUp())
    })
  )
})
