import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Backend, connect, type MachineShape, openShell } from "../src/backends/Backend.ts"
import * as Qemu from "../src/backends/qemu/Qemu.ts"
import * as Cache from "../src/host/Cache.ts"
import * as RunDirectory from "../src/host/RunDirectory.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"

const services = Layer.mergeAll(
  Layer.unwrap(Effect.map(Cache.folder("host"), (folder) => Qemu.layer({ folder }))),
  ImageStore.layer,
  RunDirectory.layer()
)

let count = 0
const start = Effect.fnUntraced(function* (change: Partial<MachineShape> = {}) {
  const backend = yield* Backend
  const image = yield* (yield* ImageStore).resolve(Image.tiny())
  const directory = yield* (yield* RunDirectory.RunDirectory).folder(`m${++count}`)
  return yield* backend.start({
    name: "web",
    image,
    memory: 256 * 1024 * 1024,
    cpus: 1,
    networks: [],
    internet: false,
    forwards: [],
    allowReboot: false,
    directory,
    ...change
  })
})

const Status = Schema.Struct({ status: Schema.String })
const lives = (pid: number | undefined) => pid !== undefined && Fs.existsSync(`/proc/${pid}`)

layer(services, { excludeTestServices: true, timeout: "10 minutes" })("a guest on QEMU", (it) => {
  it.effect("boots, runs commands, and writes to its console", () =>
    Effect.gen(function* () {
      const machine = yield* start()
      const reader = yield* Effect.forkChild(Stream.mkString(machine.console.stream), { startImmediately: true })
      const shell = yield* openShell(machine)
      assert.deepStrictEqual(yield* shell.execute("echo out; echo err >&2; exit 3"), {
        exitCode: 3,
        stdout: "out\n",
        stderr: "err\n"
      })
      yield* shell.execute("echo to the console > /dev/console")
      yield* machine.kill
      assert.include(yield* Fiber.join(reader), "to the console")
      assert.include(yield* machine.console.log, "to the console")
      const exit = yield* machine.exited
      assert.strictEqual(exit.signal, "SIGKILL")
      assert.include(exit.consoleTail, "to the console")
    })
  )

  it.effect("can be paused and asked over QMP", () =>
    Effect.gen(function* () {
      const machine = yield* start()
      const shell = yield* openShell(machine)
      const { pause, qmp, resume } = yield* connect(machine)
      if (qmp === undefined) return assert.fail("no control channel")
      yield* pause
      assert.strictEqual((yield* qmp.execute("query-status", {}, Status)).status, "paused")
      const late = yield* Effect.forkChild(shell.execute("true"), { startImmediately: true })
      yield* Effect.sleep("300 millis")
      assert.isUndefined(late.pollUnsafe())
      yield* resume
      assert.strictEqual((yield* Fiber.join(late)).exitCode, 0)
    })
  )

  it.effect("ends by its own power-off with exit code 0", () =>
    Effect.gen(function* () {
      const machine = yield* start()
      yield* connect(machine)
      const shell = yield* openShell(machine)
      yield* Effect.forkChild(shell.execute("poweroff -f"))
      const exit = yield* machine.exited
      assert.deepStrictEqual([exit.exitCode, exit.signal, exit.cause], [0, undefined, "power-off"])
      assert.isFalse(lives(machine.pid))
    })
  )

  it.effect("says that it did not power off when its kernel panics", () =>
    Effect.gen(function* () {
      const machine = yield* start()
      yield* connect(machine)
      const shell = yield* openShell(machine)
      yield* Effect.forkChild(shell.execute("echo c > /proc/sysrq-trigger"))
      const exit = yield* machine.exited
      assert.deepStrictEqual([exit.exitCode, exit.cause], [0, "panic"])
      assert.include(exit.consoleTail, "Kernel panic")
    })
  )

  it.effect("ends at a reset, unless it may reboot", () =>
    Effect.gen(function* () {
      const ending = yield* start()
      yield* (yield* connect(ending)).reset
      assert.strictEqual((yield* ending.exited).exitCode, 0)
      const lasting = yield* start({ allowReboot: true })
      const shell = yield* openShell(lasting)
      yield* shell.execute("touch /here")
      yield* (yield* connect(lasting)).reset
      yield* shell.reset("the test pressed the reset button")
      assert.strictEqual((yield* shell.execute("[ ! -e /here ]")).exitCode, 0)
      assert.isTrue(lives(lasting.pid))
    })
  )

  it.effect("leaves no process and no socket when its scope closes", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const machine = yield* start().pipe(Scope.provide(scope))
      const folder = Path.join((yield* RunDirectory.RunDirectory).path, `m${count}`)
      assert.isAbove(Fs.readdirSync(folder).length, 30)
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(lives(machine.pid))
      assert.sameMembers(Fs.readdirSync(folder), ["console.log", "qemu.log"])
    })
  )

  it.effect("has its forwarded ports on this host, and no way out", () =>
    Effect.gen(function* () {
      const hostPort = 20_000 + (process.pid % 20_000)
      const machine = yield* start({ forwards: [{ hostPort, guestPort: 80, protocol: "tcp" }] })
      const shell = yield* openShell(machine)
      yield* shell.execute(`
        ip link set dev eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
        mkdir -p /www; echo served > /www/index.html; httpd -p 80 -h /www`)
      const page = yield* Effect.tryPromise(() =>
        fetch(`http://127.0.0.1:${hostPort}/`).then((answer) => answer.text())
      )
      assert.strictEqual(page, "served\n")
      // The host answers at 10.0.2.2 for its own loopback, where it lets guests out at all.
      const out = yield* shell.execute(`wget -T 3 -q -O - http://10.0.2.2:${hostPort}/`)
      assert.notStrictEqual(out.exitCode, 0)
    })
  )
})

layer(services, { excludeTestServices: true, timeout: "10 minutes" })("a machine that cannot start", (it) => {
  describe("says why", () => {
    it.effect("when QEMU does not take its words", () =>
      Effect.gen(function* () {
        const folder = yield* Cache.folder("host")
        const odd = Qemu.layer({ folder, extraArguments: ["-device", "flux-capacitor"] })
        const error = yield* Effect.flip(start().pipe(Effect.provide(odd, { local: true })))
        assert.strictEqual(error._tag, "StartFailed")
        assert.include(error.message, "exit code 1")
        assert.include(error.message, "'flux-capacitor' is not a valid device model name")
      })
    )

    it.effect("when the host is too small for it", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(start({ memory: 2 ** 50 }))
        // A declaration is refused before; who uses the backend itself hears QEMU's own words.
        assert.strictEqual(error._tag, "StartFailed")
        assert.include(error.message, "memory")
      })
    )

    it.effect("when a port of the host is taken", () =>
      Effect.gen(function* () {
        const forwards = [{ hostPort: 20_000 + (process.pid % 20_000), guestPort: 80, protocol: "tcp" }] as const
        yield* start({ forwards })
        const error = yield* Effect.flip(start({ forwards }))
        assert.strictEqual(error._tag, "StartFailed")
        assert.include(error.message, "Could not set up host forwarding rule")
      })
    )
  })
})
