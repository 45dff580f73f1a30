import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { PNG } from "pngjs"
import type { WaitOptions } from "../src/guest/Guest.ts"
import type { MachineState } from "../src/guest/MachineEvent.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine as MachineOf } from "../src/machine/Machine.ts"
import { Machine, machines } from "../src/vitest.ts"

const image = Image.debian({ packages: ["nginx-light", "x11-utils"] })

/** A guest that lives through its faults. */
class Box extends Machine<Box>()("box", { image, memory: "512 MiB", allowReboot: true }) {}

/** A guest whose faults end it; tests start it again. */
class Victim extends Machine<Victim>()("victim", { image, memory: "512 MiB", autoStart: false }) {}

type Failing = Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>

/** A file of the host that is larger than any guest: all of it is a hole. */
const endless = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = mkdtempSync(join(tmpdir(), "vmtest-faults-"))
    writeFileSync(join(folder, "endless"), "")
    truncateSync(join(folder, "endless"), 64 * 1024 * 1024 * 1024)
    return folder
  }),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

const Never = Schema.Struct({ event: Schema.Literal("NEVER") })

/** What no console and no screen shows: noise. */
const noise = (folder: string): string => {
  const png = new PNG({ width: 64, height: 64 })
  for (let at = 0; at < png.data.length; at++) png.data[at] = (at * 7919) % 251
  const path = join(folder, "noise.png")
  writeFileSync(path, PNG.sync.write(png))
  return path
}

/** Kinds of waits on something that does not happen. A guest runs ten commands at once, so they are in two groups. */
const kinds = {
  first: (machine: MachineOf, folder: string, limit: WaitOptions = {}): Record<string, Failing> => ({
    unit: machine.waitForUnit("endless.service", limit),
    file: machine.waitForFile("/never", limit),
    port: machine.waitForOpenPort(9999, limit),
    "port elsewhere": machine.waitForOpenPort(9999, "192.168.1.250", limit),
    "unix socket": machine.waitForOpenUnixSocket("/run/never", limit),
    "console text": machine.waitForConsoleText("never said", limit),
    command: machine.waitUntilSucceeds("false", limit),
    "long command": machine.succeed("sleep 600", limit),
    copy: machine.copyFromHost(folder, "/dev/shm/copy")
  }),
  second: (machine: MachineOf, _: string, limit: WaitOptions = {}): Record<string, Failing> => ({
    "file that stays": machine.waitUntilFileIsGone("/etc/passwd", limit),
    "port that stays": machine.waitForClosedPort(80, limit),
    "command that succeeds": machine.waitUntilFails("true", limit),
    terminal: machine.waitUntilTtyMatches(1, "never shown", limit),
    "X server": machine.waitForX({ display: ":9", ...limit }),
    window: machine.waitForWindow("never opened", { display: ":9", ...limit }),
    spawned: Effect.scoped(Effect.flatMap(machine.spawn("sleep 600"), (process) => process.wait(limit))),
    journal: Stream.runDrain(machine.journal({ lines: 0 }))
  })
}

const groups = ["first", "second"] as const

/** Waits on what QEMU shows and says, which goes on when the guest does not. */
const outside = (machine: MachineOf, folder: string): Record<string, Failing> => {
  const picture = noise(folder)
  return {
    "text on the screen": machine.waitForText("never shown"),
    "picture on the screen": machine.waitForImage(picture),
    screen: machine.expectScreenshot(picture, { timeout: "10 minutes" }),
    "QMP event": machine.waitForQmpEvent(Never)
  }
}

/** Every kind of wait of a group, once all of them are under way. */
const waiting = Effect.fnUntraced(function* (machine: MachineOf, group: (typeof groups)[number], limit?: WaitOptions) {
  const folder = yield* endless
  const waits: Record<string, Failing> = {
    ...kinds[group](machine, folder, limit),
    ...(group === "first" && limit === undefined ? outside(machine, folder) : {})
  }
  yield* machine.writeFile("/etc/systemd/system/endless.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 900\n")
  yield* machine.succeed("systemctl daemon-reload; systemctl start --no-block endless.service")
  // What unpacks the copy does not read it.
  yield* machine.succeed(`cp -n /usr/bin/tar /usr/bin/tar.real; mv -f /usr/bin/tar /usr/bin/tar.old
    printf '#!/bin/sh\\nexec sleep 900\\n' > /usr/bin/tar; chmod 0755 /usr/bin/tar`)
  const fibers = yield* Effect.forEach(Object.entries(waits), ([name, wait]) =>
    Effect.map(
      Effect.forkChild(Effect.all([Effect.flip(wait), Clock.currentTimeMillis])),
      (fiber) => [name, fiber] as const
    )
  )
  // Commands are given to the guest in their order: when the last one has run, the others are under way.
  yield* Effect.sleep("500 millis")
  yield* machine.succeed("sleep 1; mv -f /usr/bin/tar.real /usr/bin/tar")
  for (const [name, fiber] of fibers) assert.isUndefined(fiber.pollUnsafe(), name)
  return Object.fromEntries(fibers)
})

type Waiting = Effect.Success<ReturnType<typeof waiting>>

/**
 * Within which all waits have their errors, in milliseconds: what is promised is a second, and a busy host that emulates the guest makes noise.
 * The bound tells an event that is noticed from a wait that hangs.
 */
const atOnce = 5_000

/** What each wait ended with, and says which one was the last, and how long after the event. */
const outcomes = Effect.fnUntraced(function* (event: string, fibers: Waiting, since: number, within?: number) {
  const errors: Record<string, { readonly _tag: string; readonly message: string }> = {}
  let last = { name: "", took: 0 }
  for (const [name, fiber] of Object.entries(fibers)) {
    const [error, at] = yield* Fiber.join(fiber).pipe(
      Effect.timeoutOrElse({
        duration: "1 minute",
        orElse: () => Effect.die(new Error(`${name} still waits a minute after the event`))
      })
    )
    errors[name] = error
    if (at - since > last.took) last = { name, took: at - since }
  }
  const said = `${event}: every wait had its error after ${last.took} ms, the last was: ${last.name}`
  if (within !== undefined) assert.isBelow(last.took, within, said)
  yield* Effect.sync(() => process.stdout.write(`${said}\n`))
  return errors
})

const reached = (machine: MachineOf, state: MachineState) =>
  machine.state.pipe(
    Stream.filter((now) => now === state),
    Stream.runHead,
    Effect.andThen(Clock.currentTimeMillis)
  )

/** Waits that a guest's trouble ends, and those on what QEMU shows and says: that it stands still, or starts anew, is no news there. */
const split = (fibers: Waiting) => {
  const shown = ["console text", "text on the screen", "picture on the screen", "screen", "QMP event"]
  return {
    inside: Record.filter(fibers, (_, name) => !shown.includes(name)),
    outlast: Record.filter(fibers, (_, name) => shown.includes(name))
  }
}

const goOn = (fibers: Waiting) => {
  for (const [name, fiber] of Object.entries(fibers)) assert.isUndefined(fiber.pollUnsafe(), name)
}

/** The QEMU of a machine of this process. */
const qemuOf = (name: string): number => {
  const pids = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid))
  const parentOf = new Map<number, number>()
  const found: Array<number> = []
  for (const pid of pids) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
      parentOf.set(Number(pid), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]))
      const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
      if (args[0]?.includes("qemu-system") && args.some((arg) => arg.includes(name))) found.push(Number(pid))
    } catch {
      // It ended meanwhile.
    }
  }
  const isOurs = (pid: number | undefined): boolean =>
    pid !== undefined && pid > 1 && (pid === process.pid || isOurs(parentOf.get(pid)))
  const [pid] = found.filter(isOurs)
  assert.isDefined(pid)
  return pid as number
}

machines(Victim)("a guest that ends during every kind of wait", (it) => {
  it.effect.each(groups)("because QEMU is killed: the %s waits", (group) =>
    Effect.gen(function* () {
      const victim = yield* Victim
      yield* victim.start()
      const fibers = yield* waiting(victim, group)
      const shutdown = yield* Effect.forkChild(victim.waitForShutdown())
      const crashed = yield* Effect.forkChild(reached(victim, "crashed"))
      yield* Effect.sleep("100 millis")
      process.kill(qemuOf("victim"), "SIGKILL")
      const errors = yield* outcomes("SIGKILL", fibers, yield* Fiber.join(crashed), atOnce)
      yield* Fiber.join(shutdown)
      for (const [name, error] of Object.entries(errors)) {
        assert.strictEqual(error._tag, "MachineDied", name)
        assert.include(error.message, "its hypervisor was killed by SIGKILL")
        assert.include(error.message, "while the test was")
      }
    })
  )

  it.effect.each(groups)("because its kernel panics: the %s waits", (group) =>
    Effect.gen(function* () {
      const victim = yield* Victim
      yield* victim.start()
      const fibers = yield* waiting(victim, group)
      const crashed = yield* Effect.forkChild(reached(victim, "crashed"))
      yield* Effect.forkChild(
        Effect.exit(victim.execute("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger"))
      )
      const errors = yield* outcomes("panic", fibers, yield* Fiber.join(crashed), atOnce)
      for (const [name, error] of Object.entries(errors)) {
        assert.strictEqual(error._tag, "MachineDied", name)
        assert.include(error.message, "its kernel panicked: sysrq triggered crash", name)
        assert.include(error.message, "Kernel panic - not syncing", name)
      }
    })
  )
})

machines(Box)("a guest that reboots by itself", (it) => {
  const bootId = (box: MachineOf) => box.readFile("/proc/sys/kernel/random/boot_id")

  it.effect("runs in its next boot whatever it is asked after systemctl reboot", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const asks: Record<string, Effect.Effect<string, Failing extends Effect.Effect<unknown, infer E> ? E : never>> = {
        command: box.succeed("cat /proc/sys/kernel/random/boot_id"),
        stream: box.executeStream("cat /proc/sys/kernel/random/boot_id").pipe(
          Stream.map((event) => (event._tag === "Stdout" ? new TextDecoder().decode(event.bytes) : "")),
          Stream.mkString
        ),
        input: box.succeed("cat; cat /proc/sys/kernel/random/boot_id", { stdin: "" }),
        spawned: Effect.scoped(
          Effect.flatMap(box.spawn("cat /proc/sys/kernel/random/boot_id"), ({ stdout }) =>
            Stream.mkString(Stream.decodeText(stdout))
          )
        ),
        unit: Effect.andThen(box.waitForUnit("nginx.service"), bootId(box)),
        port: Effect.andThen(box.waitForOpenPort(80), bootId(box)),
        wait: box.waitUntilSucceeds("cat /proc/sys/kernel/random/boot_id")
      }
      const before = yield* bootId(box)
      yield* box.succeed("systemctl reboot")
      const ids = yield* Effect.all(asks, { concurrency: "unbounded" })
      for (const [name, id] of Object.entries(ids)) {
        assert.match(id, /^[0-9a-f-]{36}\n$/, name)
        assert.notStrictEqual(id, before, name)
      }
      yield* box.waitForReboot({ timeout: "10 seconds" })
    })
  )

  it.effect("takes its time to shut down, and runs nothing meanwhile; a wait that was on goes on", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const before = yield* bootId(box)
      const service = "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=/bin/sleep 8"
      yield* box.writeFile("/etc/systemd/system/slow.service", `[Service]\n${service}\n`)
      yield* box.succeed("systemctl daemon-reload; systemctl start slow.service")
      const file = yield* Effect.forkChild(box.waitForFile("/run/nginx.pid2", { timeout: "5 minutes" }))
      yield* box.succeed("systemctl reboot")
      const asked = yield* Effect.forEach([0, 2, 4, 6], (seconds) =>
        Effect.forkChild(Effect.delay(bootId(box), `${seconds} seconds`))
      )
      for (const fiber of asked) assert.notStrictEqual(yield* Fiber.join(fiber), before)
      yield* box.waitForReboot()
      assert.isUndefined(file.pollUnsafe())
      yield* box.succeed("touch /run/nginx.pid2")
      yield* Fiber.join(file)
    })
  )

  it.effect("says at once that it runs no command any more when it powers off", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("systemctl poweroff")
      const error = yield* Effect.flip(box.succeed("echo still here"))
      assert.strictEqual(error._tag, "CommandRejected")
      assert.include(error.message, 'could not run "echo still here": the guest is shutting down')
      yield* box.waitForShutdown()
    })
  )
})

machines(Box)("a guest in trouble during every kind of wait", (it) => {
  it.effect("whose disk is full can still be waited on, and says so when it is written to", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const folder = yield* endless
      yield* box.succeed("mkdir -p /mnt/full && mount -t tmpfs -o size=8m tmpfs /mnt/full")
      // The root itself is memory, and a guest without memory is another matter.
      yield* box.execute("dd if=/dev/zero of=/mnt/full/fill bs=1M; dd if=/dev/zero of=/mnt/full/fill2 bs=1k")
      assert.include((yield* box.execute("echo x > /mnt/full/one")).stderr, "No space")
      const short = { timeout: "4 seconds" } as const
      const waits: Record<string, Failing> = {
        file: box.waitForFile("/never", short),
        port: box.waitForOpenPort(9999, undefined, short),
        "unix socket": box.waitForOpenUnixSocket("/run/never", short),
        "console text": box.waitForConsoleText("never said", short),
        command: box.waitUntilSucceeds("false", short)
      }
      const ended = yield* Effect.all(Record.map(waits, Effect.flip), { concurrency: "unbounded" })
      for (const [name, error] of Object.entries(ended)) assert.strictEqual(error._tag, "WaitTimeout", name)
      const unit = yield* Effect.flip(box.waitForUnit("debug-shell.service"))
      assert.strictEqual(unit._tag, "UnitFailed")
      // Not a hole, which takes no room.
      writeFileSync(join(folder, "large"), Buffer.alloc(32 * 1024 * 1024, "large"))
      const copy = yield* Effect.flip(box.copyFromHost(join(folder, "large"), "/mnt/full/copy"))
      assert.include(copy.message, "No space left on device")
      const tree = yield* Effect.flip(box.copyFromHost(folder, "/mnt/full/tree"))
      assert.include(tree.message, "No space left on device")
      // Full in the midst of a file is said in other words.
      yield* box.succeed("truncate -s -100k /mnt/full/fill")
      const part = yield* Effect.flip(box.copyFromHost(folder, "/mnt/full"))
      assert.include(part.message, "No space left on device")
      const write = yield* Effect.flip(box.writeFile("/mnt/full/written", "x".repeat(100_000)))
      assert.include(write.message, "No space left on device")
      // What is waited for is noticed nevertheless.
      const text = yield* Effect.forkChild(box.waitForConsoleText("disk full, and alive", { timeout: "1 minute" }))
      yield* box.succeed("echo disk full, and alive > /dev/console")
      yield* Fiber.join(text)
      yield* box.waitForUnit("nginx.service", { timeout: "1 minute" })
      yield* box.succeed("umount /mnt/full")
    })
  )

  it.effect.each(groups)("whose /run fills up lets every wait end in its time: the %s waits", (group) =>
    Effect.gen(function* () {
      const box = yield* Box
      const all = yield* waiting(box, group, { timeout: "30 seconds" })
      // These have no time of their own.
      const endless = Record.filter(all, (_, name) => name === "copy" || name === "journal")
      const inside = Record.filter(all, (_, name) => !(name in endless))
      const since = yield* Clock.currentTimeMillis
      yield* box.execute(`mount -o remount,size=$(($(df -k --output=used /run | tail -n 1) + 2048))k /run
        dd if=/dev/zero of=/run/fill bs=1k; dd if=/dev/zero of=/run/fill2 bs=1`)
      const errors = yield* outcomes("full", inside, since)
      for (const [name, error] of Object.entries(errors)) {
        // A lane of which the guest could not say where it is was given up.
        assert.include(["WaitTimeout", "CommandTimeout", "ShellLost"], error._tag, name)
      }
      goOn(endless)
      assert.include(yield* box.succeed("df /run"), "100%")
      yield* box.succeed("rm -f /run/fill /run/fill2; mount -o remount,size=20% /run")
      yield* box.waitForUnit("nginx.service", { timeout: "1 minute" })
      yield* box.succeed("systemctl stop endless.service")
    })
  )

  it.effect("that freezes loses what runs in it, and goes on when it thaws", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const { inside, outlast } = split(yield* waiting(box, "first", {}))
      yield* box.qmp("stop")
      const since = yield* Clock.currentTimeMillis
      const early = yield* Effect.flip(box.waitForFile("/never", { timeout: "2 seconds" }))
      assert.strictEqual(early._tag, "WaitTimeout")
      assert.include(early.message, "the guest did not answer")
      const errors = yield* outcomes("freeze", inside, since)
      for (const [name, error] of Object.entries(errors)) assert.strictEqual(error._tag, "ShellLost", name)
      // A console that is silent is no news.
      goOn(outlast)
      yield* box.qmp("cont")
      yield* box.waitForUnit("nginx.service", { timeout: "2 minutes" })
      yield* box.succeed("true", { timeout: "2 minutes" })
      yield* box.succeed("systemctl stop endless.service")
    })
  )

  it.effect.each(groups)("that reboots loses commands, and waits go on in its next boot: the %s waits", (group) =>
    Effect.gen(function* () {
      const box = yield* Box
      const all = yield* waiting(box, group)
      const commands = ["long command", "copy", "spawned", "journal"]
      const lost = Record.filter(all, (_, name) => commands.includes(name))
      const shutdown = yield* Effect.forkChild(box.waitForShutdown())
      const booting = yield* Effect.forkChild(reached(box, "booting"))
      yield* Effect.sleep("100 millis")
      // At once, as a watchdog would, without systemd.
      yield* Effect.forkChild(Effect.exit(box.execute("echo b > /proc/sysrq-trigger")))
      const errors = yield* outcomes("reboot", lost, yield* Fiber.join(booting), atOnce)
      for (const [name, error] of Object.entries(errors)) {
        assert.strictEqual(error._tag, "ShellLost", `${name}: ${error.message}`)
        assert.include(error.message, "the guest rebooted", name)
      }
      yield* box.waitForUnit("nginx.service", { timeout: "3 minutes" })
      // What the next boot ends: its unit is not there any more, and the port is closed until nginx runs.
      const ends = ["unit", "port that stays"]
      goOn(Record.filter(all, (_, name) => !commands.includes(name) && !ends.includes(name)))
      if (group === "first") {
        const [error] = yield* Fiber.join(all.unit as Waiting[string])
        assert.include(error.message, "endless.service does not exist")
      }
      assert.isUndefined(shutdown.pollUnsafe())
    })
  )
})
