/** What every backend must do, on real hypervisors: the same scenarios for each of them. */
import assert from "node:assert/strict"
import { createHash, randomBytes } from "node:crypto"
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Fiber } from "effect"
import { Image, type Machine, test } from "vmtest"
import { backend, hypervisors, keepsReboots } from "./place.ts"

const tiny = { image: Image.tiny(), memory: "128 MiB" } as const
const bridge = { lan: { fabric: "bridge" } } as const
const mebibyte = 1024 * 1024

const said = (machine: Machine, command: string) => Effect.map(machine.succeed(command), (text) => text.trim())

/** A guest that was saved, or that continues from a snapshot, has the time of the host. */
const hasTheTime = Effect.fnUntraced(function* (machine: Machine) {
  const away = Number(yield* said(machine, "date +%s")) - Date.now() / 1000
  assert.ok(Math.abs(away) < 10, `the clock of ${machine.name} is ${away.toFixed(1)} s ahead`)
})

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

const commands = Effect.fnUntraced(function* (box: Machine) {
  assert.deepEqual(yield* box.execute("echo out; echo err >&2; exit 7"), {
    exitCode: 7,
    stdout: "out\n",
    stderr: "err\n"
  })
  assert.equal(yield* said(box, "hostname"), box.name)
  assert.equal(yield* box.succeed("cat", { stdin: "typed in" }), "typed in")
  const failed = yield* Effect.flip(box.succeed("echo why >&2; false", { timeout: "1 minute" }))
  assert.equal(failed._tag, "CommandFailed")
  assert.match(failed.message, /why/)
  const late = yield* Effect.flip(box.succeed("echo begun; sleep 100", { timeout: "3 seconds" }))
  assert.equal(late._tag, "CommandTimeout")
})

const hundredMebibytes = Effect.fnUntraced(function* (box: Machine) {
  const content = randomBytes(100 * mebibyte)
  const file = join(tmpdir(), "sent")
  writeFileSync(file, content)
  yield* box.copyFromHost(file, "/root/sent")
  assert.match(yield* box.succeed("sha256sum /root/sent"), new RegExp(`^${sha256(content)} `))
  const copied = yield* box.copyFromMachine("/root/sent")
  assert.equal(sha256(readFileSync(copied)), sha256(content))
  for (const path of [file, copied]) rmSync(path)
  yield* box.succeed("rm /root/sent")
})

/** Each waits for all others, so they end only if all run at once. */
const tenAtOnce = Effect.fnUntraced(function* (box: Machine) {
  yield* box.succeed("mkdir /tmp/here")
  const waits = (index: number) =>
    box.succeed(`touch /tmp/here/${index}; until [ $(ls /tmp/here | wc -l) = 10 ]; do sleep 1; done; echo ${index}`, {
      timeout: "3 minutes"
    })
  const all = yield* Effect.forEach(
    Array.from({ length: 10 }, (_, index) => index),
    waits,
    { concurrency: 10 }
  )
  assert.deepEqual(
    all,
    Array.from({ length: 10 }, (_, index) => `${index}\n`)
  )
})

const cancelled = Effect.fnUntraced(function* (box: Machine) {
  const running = yield* Effect.forkChild(box.succeed("sh -c 'echo $$ >/tmp/cancelled; exec sleep 1000'"))
  yield* box.waitForFile("/tmp/cancelled")
  yield* Fiber.interrupt(running)
  yield* box.waitUntilFails("kill -0 $(cat /tmp/cancelled)", { timeout: "1 minute" })
})

const consoleWithInput = Effect.fnUntraced(function* (box: Machine) {
  yield* Effect.scoped(
    Effect.gen(function* () {
      const heard = yield* box.spawn(
        'touch /tmp/hears; read -r line </dev/ttyS0; echo "the guest heard $line" >/dev/ttyS0'
      )
      yield* box.waitForFile("/tmp/hears")
      yield* box.sendConsole("hello there\n")
      yield* box.waitForConsoleText(/the guest heard hello there/, { timeout: "1 minute" })
      assert.equal(yield* heard.wait(), 0)
    })
  )
  yield* box.succeed("seq -f 'line %05g' 1 500 >/dev/console", { timeout: "3 minutes" })
  yield* box.waitForConsoleText("line 00500", { timeout: "1 minute" })
  const lines = (yield* box.getConsoleLog()).match(/line \d{5}/g) ?? []
  assert.equal(new Set(lines).size, 500)
})

const paused = Effect.fnUntraced(function* (box: Machine) {
  for (const round of [1, 2]) {
    yield* box.pause()
    const asked = yield* Effect.forkChild(box.succeed(`echo awake ${round}`), { startImmediately: true })
    yield* Effect.sleep("2 seconds")
    assert.equal(asked.pollUnsafe(), undefined)
    yield* box.resume()
    assert.equal(yield* Fiber.join(asked), `awake ${round}\n`)
  }
})

/** All shells of the guest end, also the one that all others are made by; systemd starts that one again. */
const severed = Effect.fnUntraced(function* (box: Machine) {
  yield* Effect.ignore(box.execute("systemctl kill --signal=KILL 'vmtest-shell*'", { timeout: "20 seconds" }))
  // What runs meanwhile can still be lost.
  const back = Effect.retry(box.succeed("echo back", { timeout: "2 minutes" }), {
    while: ({ _tag }) => _tag === "ShellLost",
    times: 5
  })
  assert.equal(yield* back, "back\n")
  assert.deepEqual(yield* Effect.forEach([1, 2, 3], (index) => box.succeed(`echo ${index}`), { concurrency: 3 }), [
    "1\n",
    "2\n",
    "3\n"
  ])
})

const counts = "i=0; while :; do i=$((i + 1)); echo $i >/tmp/count.new; mv /tmp/count.new /tmp/count; sleep 0.2; done"

const goneBack = Effect.fnUntraced(function* (box: Machine) {
  yield* box.succeed("echo before >/tmp/file; echo before | dd of=/dev/vdb bs=512 conv=sync,fsync 2>&1")
  yield* box.succeed(`(${counts}) >/dev/null 2>&1 & echo $! >/tmp/counts`)
  yield* box.snapshot("here")
  yield* hasTheTime(box)
  assert.equal(yield* said(box, "cat /tmp/file"), "before")
  yield* box.succeed(
    "echo after >/tmp/file; kill $(cat /tmp/counts); dd if=/dev/zero of=/dev/vdb bs=512 count=1 conv=fsync 2>&1"
  )
  yield* box.restore("here")
  assert.equal(yield* said(box, "cat /tmp/file"), "before")
  assert.match(yield* box.succeed("head -c 6 /dev/vdb"), /^before/)
  yield* hasTheTime(box)
  const first = Number(yield* said(box, "cat /tmp/count"))
  yield* box.succeed(`until [ $(cat /tmp/count) -gt ${first} ]; do sleep 0.2; done`, { timeout: "1 minute" })
})

/** What no two machines may have in common. */
const own = Effect.fnUntraced(function* (machine: Machine) {
  return {
    name: yield* said(machine, "hostname"),
    id: yield* said(machine, "cat /etc/machine-id"),
    mac: yield* said(machine, "cat /sys/class/net/eth1/address"),
    address: yield* said(machine, "ip -4 -o addr show eth1 | awk '{ print $4 }'"),
    drawn: yield* said(machine, "cat /proc/sys/kernel/random/uuid")
  }
})

const threeForks = Effect.fnUntraced(function* (box: Machine) {
  yield* box.succeed("echo shared >/tmp/own; kill $(cat /tmp/counts)")
  const from = yield* box.snapshot()
  const forks = yield* Effect.forEach([1, 2, 3], () => box.fork({ from, identity: true }), { concurrency: 3 })
  const all = [box, ...forks]
  const found = yield* Effect.forEach(all, own)
  for (const key of ["name", "id", "mac", "address", "drawn"] as const) {
    assert.equal(new Set(found.map((one) => one[key])).size, 4, `${key}: ${found.map((one) => one[key]).join(", ")}`)
  }
  assert.deepEqual(
    found.map(({ name }) => name),
    all.map(({ name }) => name)
  )
  yield* Effect.forEach(
    all,
    (machine, index) =>
      machine.succeed(
        `grep -qx shared /tmp/own; echo ${index} >/tmp/own; echo disk${index} | dd of=/dev/vdb bs=512 conv=sync,fsync 2>&1`
      ),
    { concurrency: 4 }
  )
  for (const [index, machine] of all.entries()) {
    assert.equal(yield* machine.succeed("cat /tmp/own; head -c 5 /dev/vdb"), `${index}\ndisk${index}`)
    yield* hasTheTime(machine)
    yield* machine.succeed(`ping -c 1 -w 20 ${all[(index + 1) % all.length]?.name}`)
  }
  yield* Effect.forEach(forks, (fork) => fork.crash())
  assert.equal(yield* said(box, "cat /tmp/own"), "0")
})

const killed = Effect.fnUntraced(function* (box: Machine) {
  // Forks may be left of a part that failed.
  const one = hypervisors().find(({ folder }) => folder.endsWith("-box"))
  assert.ok(one !== undefined)
  const asked = yield* Effect.forkChild(Effect.flip(box.succeed("sleep 1000")), { startImmediately: true })
  yield* Effect.sleep("1 second")
  process.kill(one.pid, "SIGKILL")
  const error = yield* Fiber.join(asked)
  assert.equal(error._tag, "MachineDied")
  assert.match(error.message, /SIGKILL/)
  assert.equal(yield* box.isUp(), false)
})

const debian = {
  image: Image.debian({}),
  memory: "384 MiB",
  disks: ["64 MiB"],
  vlans: ["lan"],
  snapshot: false
} as const

const boots = test(`${backend}: a tiny guest`, { machines: { small: tiny }, networks: bridge }, ({ small }) =>
  Effect.gen(function* () {
    assert.equal(yield* small.succeed("echo hello from $(hostname)"), "hello from small\n")
    assert.equal(yield* said(small, "ip -4 -o addr show eth1 | awk '{ print $4 }'"), "192.168.1.1/24")
  })
)

const everything = test(
  `${backend}: a Debian guest`,
  { machines: { box: debian }, networks: bridge, timeout: "40 minutes" },
  ({ box }, driver) =>
    Effect.gen(function* () {
      const parts: ReadonlyArray<readonly [string, Effect.Effect<void, unknown>]> = [
        ["runs commands", commands(box)],
        ["runs ten commands at once", tenAtOnce(box)],
        ["ends a command that is cancelled", cancelled(box)],
        ["has a console that hears", consoleWithInput(box)],
        ["stands still and goes on", paused(box)],
        ["is reached again when its shells were killed", severed(box)],
        ["carries 100 MiB each way", hundredMebibytes(box)],
        ["goes back to a snapshot", goneBack(box)],
        ["has three forks at once, each its own machine", threeForks(box)]
      ]
      for (const [name, part] of parts) yield* driver.subtest(name, part, { softFail: true })
      yield* driver.subtest("dies with its hypervisor", killed(box))
    })
)

const network = test(
  `${backend}: two guests on a bridge`,
  {
    machines: { a: { ...tiny, vlans: ["lan"], allowReboot: keepsReboots }, b: { ...tiny, vlans: ["lan"] } },
    networks: bridge,
    timeout: "20 minutes"
  },
  ({ a, b }, driver) =>
    Effect.gen(function* () {
      yield* driver.subtest(
        "reach each other",
        Effect.all([a.succeed("ping -c 2 -w 20 b"), b.succeed("ping -c 2 -w 20 a")], { concurrency: 2 })
      )
      yield* driver.subtest(
        "do not while one is blocked",
        Effect.gen(function* () {
          yield* a.block("eth1")
          yield* b.fail("ping -c 1 -w 3 a")
          yield* a.unblock("eth1")
          yield* b.waitUntilSucceeds("ping -c 1 -w 3 a", { timeout: "1 minute" })
        })
      )
      yield* driver.subtest(
        keepsReboots ? "keeps its machine when one reboots" : "ends its machine when one reboots",
        Effect.gen(function* () {
          const before = yield* said(a, "cat /proc/sys/kernel/random/boot_id")
          if (!keepsReboots) {
            yield* Effect.ignore(a.execute("reboot -f", { timeout: "30 seconds" }))
            return yield* a.waitForShutdown({ timeout: "2 minutes" })
          }
          yield* a.reboot()
          assert.notEqual(yield* said(a, "cat /proc/sys/kernel/random/boot_id"), before)
          yield* a.succeed("ping -c 2 -w 20 b")
        })
      )
      yield* driver.subtest("powers off when it is asked to", b.shutdown({ timeout: "2 minutes" }))
      assert.equal(yield* b.isUp(), false)
    })
)

export default [boots, network, everything]
