/** What only some hypervisors can give a machine (a balloon, huge pages, folders of the host), and the power button of those without QMP. */
import assert from "node:assert/strict"
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Fiber } from "effect"
import { Image, type Machine, test } from "vmtest"
import { backend, processes } from "./place.ts"

const name = backend === "firecracker" ? "firecracker" : "cloud-hypervisor"
const hasShares = name === "cloud-hypervisor"
const tiny = { image: Image.tiny(), memory: "128 MiB", vlans: [], snapshot: false, autoStart: false } as const

/** A number of kB, or of pages, in `/proc/meminfo`. */
const inMemory = (text: string, field: string) => Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(text)?.[1])

const ofGuest = (machine: Machine, field: string) =>
  Effect.map(machine.succeed("cat /proc/meminfo"), (text) => inMemory(text, field))

const hugePagesOfHost = (field: "Free" | "Total") =>
  inMemory(readFileSync("/proc/meminfo", "utf8"), `HugePages_${field}`)

/** While the effect runs, the host has at least so many huge pages. */
const withHugePages = <A, E, R>(count: number, effect: Effect.Effect<A, E, R>) => {
  const reserved = "/proc/sys/vm/nr_hugepages"
  return Effect.acquireUseRelease(
    Effect.sync(() => {
      const before = readFileSync(reserved, "utf8")
      writeFileSync(reserved, `${count}`)
      return before
    }),
    () => effect,
    (before) => Effect.sync(() => writeFileSync(reserved, before))
  )
}

const hugePages = test(
  `${backend}: a guest in huge pages`,
  { machines: { box: { ...tiny, backend: { name, hugePages: true } } }, timeout: "20 minutes" },
  ({ box }) =>
    withHugePages(
      64,
      Effect.gen(function* () {
        assert.equal(hugePagesOfHost("Total"), 64, "this host has no 128 MiB in one piece")
        yield* box.start()
        assert.equal(yield* box.succeed("echo here"), "here\n")
        assert.ok(hugePagesOfHost("Free") < 64)
        if (name === "firecracker") {
          const error = yield* Effect.flip(box.snapshot("here"))
          assert.equal(error._tag, "SaveFailed")
          assert.match(error.message, /hugePages/)
        }
        yield* box.crash()
        const free = Effect.sync(() => hugePagesOfHost("Free"))
        yield* Effect.repeat(Effect.delay(free, "100 millis"), { until: (count) => count === 64, times: 50 })
        assert.equal(hugePagesOfHost("Free"), 64)
      })
    )
)

const folder = mkdtempSync(join(tmpdir(), "vmtest-nested-share-"))

const balloonAndShares = test(
  `${backend}: a guest with ${hasShares ? "a folder of the host, and " : ""}a balloon`,
  {
    machines: {
      box: {
        ...{ image: Image.debian({}), memory: "384 MiB", vlans: [], snapshot: false },
        backend: { name, balloon: "64 MiB", ...(hasShares ? { shares: { work: folder } } : {}) }
      }
    },
    timeout: "30 minutes"
  },
  ({ box }, driver) =>
    Effect.gen(function* () {
      yield* driver.subtest(
        "a balloon takes memory from it",
        Effect.gen(function* () {
          // `MemTotal` stays: the guest can have it back.
          const before = yield* ofGuest(box, "MemFree")
          yield* box.succeed("modprobe virtio_balloon")
          const less = Effect.map(ofGuest(box, "MemFree"), (now) => before - now)
          const taken = yield* Effect.repeat(Effect.delay(less, "200 millis"), {
            until: (kilobytes) => kilobytes >= 60_000,
            times: 100
          })
          assert.ok(taken >= 60_000 && taken <= 90_000, `${taken} kB`)
        })
      )
      if (!hasShares) return
      yield* driver.subtest(
        "reads and writes a folder of the host",
        Effect.gen(function* () {
          writeFileSync(join(folder, "from-host"), "hello guest\n")
          yield* box.succeed("mkdir /tmp/work", "mount -t virtiofs work /tmp/work")
          assert.equal(yield* box.succeed("cat /tmp/work/from-host"), "hello guest\n")
          yield* box.succeed("echo hello host >/tmp/work/from-guest; sync")
          assert.equal(readFileSync(join(folder, "from-guest"), "utf8"), "hello host\n")
          const error = yield* Effect.flip(box.snapshot("here"))
          assert.equal(error._tag, "SaveFailed")
          assert.match(error.message, /shares/)
        })
      )
      yield* driver.subtest(
        "dies when the folder is not served any more, and says so",
        Effect.gen(function* () {
          const server = processes().find(({ words: [program = ""] }) => program.endsWith("/virtiofsd"))
          assert.ok(server !== undefined)
          const asked = yield* Effect.forkChild(Effect.flip(box.succeed("sleep 1000")), { startImmediately: true })
          yield* Effect.sleep("1 second")
          process.kill(server.pid, "SIGKILL")
          const error = yield* Effect.timeout(Fiber.join(asked), "1 minute")
          assert.equal(error._tag, "MachineDied")
          assert.match(error.message, /virtiofsd of the share work ended with signal SIGKILL/)
        })
      )
    })
)

const silent = test(
  `${backend}: a guest whose shell is silent`,
  {
    machines: { box: { image: Image.debian({}), memory: "384 MiB", vlans: [], snapshot: false } },
    timeout: "30 minutes"
  },
  ({ box }) =>
    Effect.gen(function* () {
      // What is stopped takes connections and commands, and never answers.
      yield* Effect.ignore(box.execute("systemctl kill --signal=STOP 'vmtest-shell*'", { timeout: "10 seconds" }))
      yield* box.shutdown({ timeout: "6 minutes" })
      assert.equal(yield* box.isUp(), false)
    })
)

export default [hugePages, balloonAndShares, silent]
