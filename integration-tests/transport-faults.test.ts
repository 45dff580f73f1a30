import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import * as Qmp from "../src/transport/qmp/Qmp.ts"
import * as QmpCommands from "../src/transport/qmp/QmpCommands.ts"
import * as Shell from "../src/transport/Shell.ts"
import { boot, type GuestOptions } from "./transport/guest.ts"

const start = (
  { image = Image.tiny(), ...options }: Omit<GuestOptions, "image"> & { readonly image?: Image.Image } = {},
  shellOptions: Partial<Shell.ShellOptions> = {}
) =>
  Effect.gen(function* () {
    const guest = yield* boot({ image: yield* (yield* ImageStore).resolve(image), ...options })
    const qmp = yield* Qmp.make({ machine: "vm", socket: guest.qmp })
    const shell = yield* Shell.make({
      machine: "vm",
      channel: guest.channel,
      consoleTail: guest.consoleTail,
      ...shellOptions
    })
    return { guest, qmp, shell }
  })

/** Starts a command and gives it time to say its first words. */
const under = (shell: Shell.ShellService, command: string) =>
  Effect.tap(Effect.forkChild(Effect.flip(shell.execute(command)), { startImmediately: true }), () =>
    Effect.sleep("2 seconds")
  )

const lost = Effect.fnUntraced(function* (running: Fiber.Fiber<Shell.ShellError, unknown>, within: Duration.Input) {
  const error = yield* Effect.timeout(Fiber.join(running), within)
  assert(error._tag === "ShellLost", error._tag)
  assert.deepInclude(error, { machine: "vm", stdout: "said\n" })
  return error
})

describe("a shell survives", () => {
  it.live("a frozen guest: what was under way is lost, and the shell is there again when the guest is", () =>
    Effect.gen(function* () {
      const { qmp, shell } = yield* start({}, { heartbeat: { interval: "1 second", timeout: "5 seconds" } })
      const running = yield* under(shell, "echo said; sleep 100")
      yield* QmpCommands.stop(qmp)
      assert.include((yield* lost(running, "20 seconds")).message, "has not answered")
      yield* QmpCommands.cont(qmp)
      assert.strictEqual((yield* shell.execute("echo back", { timeout: "60 seconds" })).stdout, "back\n")
    }).pipe(Effect.provide(ImageStore.layer))
  )

  it.live("a guest that is frozen when a command's time is up", () =>
    Effect.gen(function* () {
      const { qmp, shell } = yield* start()
      const running = yield* Effect.forkChild(
        Effect.flip(shell.execute("echo said; sleep 100", { timeout: "4 seconds" })),
        { startImmediately: true }
      )
      yield* Effect.sleep("2 seconds")
      yield* QmpCommands.stop(qmp)
      const error = yield* Effect.timeout(Fiber.join(running), "20 seconds")
      assert(error._tag === "CommandTimeout", error._tag)
      assert.deepInclude(error, { machine: "vm", stdout: "said\n" })
      yield* QmpCommands.cont(qmp)
      assert.strictEqual((yield* shell.execute("echo back", { timeout: "60 seconds" })).stdout, "back\n")
      const left = yield* shell.execute("set +e; grep -l 'sleep.10[0]' /proc/[0-9]*/cmdline 2>/dev/null | grep -v $$")
      assert.strictEqual(left.stdout, "")
    }).pipe(Effect.provide(ImageStore.layer))
  )

  it.live("a guest that stands still for less than the heartbeat allows", () =>
    Effect.gen(function* () {
      const { qmp, shell } = yield* start()
      const running = yield* Effect.forkChild(shell.execute("sleep 3; echo done"), { startImmediately: true })
      yield* Effect.sleep("1 second")
      yield* QmpCommands.stop(qmp)
      yield* Effect.sleep("4 seconds")
      yield* QmpCommands.cont(qmp)
      assert.strictEqual((yield* Fiber.join(running)).stdout, "done\n")
    }).pipe(Effect.provide(ImageStore.layer))
  )

  it.live("a reboot, which it finds by itself", () =>
    Effect.gen(function* () {
      const { guest, shell } = yield* start({ reboot: true })
      const running = yield* under(shell, "echo said; sleep 100")
      yield* Effect.forkChild(Effect.ignore(shell.execute("reboot -f")), { startImmediately: true })
      yield* lost(running, "60 seconds")
      assert.strictEqual((yield* shell.execute("echo back; cat /proc/uptime")).exitCode, 0)
      // What was meant for the guest that was is not typed at the shell of the new one, whose errors are on the console.
      assert.notInclude(readFileSync(join(guest.folder, "console.log"), "utf8"), "not found")
    }).pipe(Effect.provide(ImageStore.layer))
  )

  it.live("a reset that it is told of", () =>
    Effect.gen(function* () {
      const { guest, qmp, shell } = yield* start({ reboot: true })
      const running = yield* under(shell, "echo said; sleep 100")
      const reset = yield* Effect.forkChild(qmp.waitForEvent(Schema.Struct({ event: Schema.Literal("RESET") })), {
        startImmediately: true
      })
      yield* QmpCommands.systemReset(qmp)
      yield* Fiber.join(reset)
      yield* shell.reset("the guest was reset")
      assert.include((yield* lost(running, "1 second")).message, "the guest was reset")
      assert.strictEqual((yield* shell.execute("echo back")).stdout, "back\n")
      assert.notInclude(readFileSync(join(guest.folder, "console.log"), "utf8"), "not found")
    }).pipe(Effect.provide(ImageStore.layer))
  )

  it.live("the end of its worker, stopped by the command itself", () =>
    Effect.gen(function* () {
      const { shell } = yield* start({}, { heartbeat: { interval: "500 millis", timeout: "10 seconds" } })
      const other = yield* Effect.forkChild(shell.execute("sleep 6; echo other"), { startImmediately: true })
      // The worker of busybox is not the command's $$ but its parent.
      const running = yield* under(shell, "echo said; kill -STOP $PPID; sleep 100")
      assert.include((yield* lost(running, "20 seconds")).message, "died or was stopped")
      assert.strictEqual((yield* Fiber.join(other)).stdout, "other\n")
      for (let i = 0; i < 5; i++) assert.strictEqual((yield* shell.execute("echo on")).stdout, "on\n")
    }).pipe(Effect.provide(ImageStore.layer))
  )

  it.live("the end of its bootstrap shell: lanes go on", () =>
    Effect.gen(function* () {
      const { shell } = yield* start()
      const running = yield* Effect.forkChild(shell.execute("sleep 4; echo done"), { startImmediately: true })
      yield* Effect.sleep("500 millis")
      const found = yield* shell.execute(
        'for p in /proc/[0-9]*; do [ "$(readlink $p/fd/0)" = "$(readlink -f /dev/vport*p1 | head -1)" ] && kill -9 ${p#/proc/} && echo killed; done; true'
      )
      assert.include(found.stdout, "killed")
      assert.strictEqual((yield* Fiber.join(running)).stdout, "done\n")
      const eight = Array.from({ length: 8 }, (_, i) => shell.execute(`echo ${i}`))
      const got = yield* Effect.all(eight, { concurrency: "unbounded" })
      assert.deepStrictEqual(
        got.map(({ stdout }) => Number(stdout)),
        [0, 1, 2, 3, 4, 5, 6, 7]
      )
    }).pipe(Effect.provide(ImageStore.layer))
  )
})

describe("a command fails at once", () => {
  it.live("when the guest powers off under it", () =>
    Effect.gen(function* () {
      const { shell } = yield* start()
      const running = yield* under(shell, "echo said; sleep 100")
      const off = yield* Effect.timeout(Effect.flip(shell.execute("poweroff -f; sleep 100")), "60 seconds")
      assert.strictEqual(off._tag, "ShellLost")
      yield* lost(running, "1 second")
      // The lanes may go a moment before the connection does: who asks then waits for one of them, and is lost with it.
      const next = yield* Effect.timeout(Effect.flip(shell.execute("true")), "20 seconds")
      assert.include(["ShellLost", "ShellNotReady"], next._tag)
      const after = yield* Effect.timeout(Effect.flip(shell.execute("true")), "20 seconds")
      assert.strictEqual(after._tag, "ShellNotReady")
    }).pipe(Effect.provide(ImageStore.layer))
  )

  it.live("when the hypervisor is killed", () =>
    Effect.gen(function* () {
      const { guest, shell } = yield* start()
      const running = yield* under(shell, "echo said; sleep 100")
      const [took] = yield* Effect.timed(Effect.andThen(guest.process.kill("SIGKILL"), lost(running, "5 seconds")))
      assert.isBelow(Duration.toMillis(took), 1000)
    }).pipe(Effect.provide(ImageStore.layer))
  )
})

describe("a command fails at once when the kernel", () => {
  it.live("panics", () =>
    Effect.gen(function* () {
      const { guest, shell } = yield* start()
      // The kernels of images reboot at once after a panic, which ends a QEMU that must not reboot.
      const running = yield* under(shell, "echo said; sleep 100")
      const exited = yield* Effect.forkChild(guest.process.exited, { startImmediately: true })
      yield* Effect.forkChild(Effect.ignore(shell.execute("echo c >/proc/sysrq-trigger")), { startImmediately: true })
      yield* Fiber.join(exited)
      yield* lost(running, "1 second")
    }).pipe(Effect.provide(ImageStore.layer))
  )
})

describe("QMP with a real QEMU", () => {
  it.live("stops, goes on, tells of it, and refuses nonsense", () =>
    Effect.gen(function* () {
      const { qmp } = yield* start()
      assert.match(qmp.version, /^\d+\.\d+\.\d+$/)
      const stopped = yield* Effect.forkChild(qmp.waitForEvent(Schema.Struct({ event: Schema.Literal("STOP") })), {
        startImmediately: true
      })
      yield* QmpCommands.stop(qmp)
      yield* Fiber.join(stopped)
      assert.deepStrictEqual(yield* QmpCommands.queryStatus(qmp), { status: "paused", running: false })
      yield* QmpCommands.cont(qmp)
      assert.deepStrictEqual(yield* QmpCommands.queryStatus(qmp), { status: "running", running: true })
      assert.deepInclude(yield* Effect.flip(qmp.execute("no-such-command")), { class: "CommandNotFound" })
      assert.deepInclude(yield* Effect.flip(QmpCommands.setLink(qmp, "nothing", true)), { class: "DeviceNotFound" })
      assert.include(yield* qmp.hmp("info status"), "running")
      assert.deepInclude(yield* Effect.flip(qmp.hmp("nonsense")), { class: "HumanMonitor" })
      yield* QmpCommands.quit(qmp)
      assert.strictEqual((yield* Effect.flip(QmpCommands.queryStatus(qmp)))._tag, "TransportError")
    }).pipe(Effect.provide(ImageStore.layer))
  )
})
