/** Real hypervisors that are killed, or refuse: at every step of a boot, of a snapshot and of a restore. */
import assert from "node:assert/strict"
import { lstatSync, readdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { Image, type Machine, test } from "vmtest"
import { backend, hypervisors, namespaces, ownTaps } from "./place.ts"

/** The requests that start, save and resume a machine, as each hypervisor names them; a bad kernel, a missing disk and a TAP that is taken. */
const known = {
  firecracker: {
    boot: [
      ...["GET /version", "PUT /machine-config", "PUT /boot-source", "PUT /drives/disk1"],
      ...["PUT /network-interfaces/eth0", "PUT /network-interfaces/eth1", "PUT /vsock", "PUT /entropy", "PUT /actions"]
    ],
    snapshot: ["PATCH /vm Paused", "PUT /snapshot/create", "PATCH /vm Resumed"],
    restore: ["PUT /snapshot/load"],
    kernel: {
      request: "PUT /boot-source",
      from: '"kernel_image_path":"[^"]*"',
      to: '"kernel_image_path":"/etc/passwd"'
    },
    kernelStage: "PUT /actions",
    disk: { request: "PUT /drives/disk1", from: '"path_on_host":"disk1"', to: '"path_on_host":"nowhere"' },
    tap: { request: "PUT /network-interfaces/eth1", key: "host_dev_name" },
    files: ["state", "memory"]
  },
  "cloud-hypervisor": {
    boot: ["GET /api/v1/vmm.ping", "PUT /api/v1/vm.create", "PUT /api/v1/vm.boot"],
    snapshot: ["PUT /api/v1/vm.pause", "PUT /api/v1/vm.snapshot", "PUT /api/v1/vm.resume"],
    restore: ["PUT /api/v1/vm.restore", "PUT /api/v1/vm.resume"],
    kernel: { request: "PUT /api/v1/vm.create", from: '"kernel":"[^"]*"', to: '"kernel":"/etc/passwd"' },
    kernelStage: "PUT /api/v1/vm.boot",
    disk: { request: "PUT /api/v1/vm.create", from: '"path":"disk1"', to: '"path":"nowhere"' },
    tap: { request: "PUT /api/v1/vm.create", key: "tap" },
    files: ["state.json", "config.json", "memory-ranges"]
  }
} as const
const mine = known[backend === "cloud-hypervisor" ? backend : "firecracker"]

/** What `between.mjs` does, while the effect runs. */
const during = <A, E, R>(variable: "KILL" | "CHANGE", value: string, effect: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      process.env[`VMTEST_NESTED_${variable}`] = value
    }),
    () => effect,
    () =>
      Effect.sync(() => {
        delete process.env[`VMTEST_NESTED_${variable}`]
      })
  )

const runFolder = join(process.env.XDG_RUNTIME_DIR ?? "/run", "vmtest")

/** Sockets of machines, and files as large as memory, of all runs; not the sockets of runs themselves and of `between.mjs`. */
const kept = (): ReadonlyArray<string> =>
  readdirSync(runFolder, { recursive: true, encoding: "utf8" }).filter((name) => {
    const stat = lstatSync(join(runFolder, name), { throwIfNoEntry: false })
    const isLarge = stat?.isFile() === true && stat.size > 32 * 1024 * 1024
    return isLarge || (name.endsWith(".sock") && !/\/(inside|vmtest)\.sock$/.test(name))
  })

/** What a machine must not leave; `running` other machines are up. */
const nothingLeft = (running: number, files: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const left = () => kept().filter((name) => !files.includes(name))
    for (let look = 0; look < 50 && (hypervisors().length > running || left().length > 0); look++)
      yield* Effect.sleep("100 millis")
    assert.equal(hypervisors().length, running)
    assert.deepEqual(left(), [])
    const taps = ownTaps()
    assert.equal(taps.length, running, `the TAPs of eth0 are ${taps.join(", ")}`)
  })

/** Changes what is in a file as a bad disk does: nobody sees when it was written. */
const rot = (path: string, content: Uint8Array) => {
  const { atime, mtimeMs } = statSync(path)
  writeFileSync(path, content)
  utimesSync(path, atime, mtimeMs / 1000)
}

/** How long a guest with a damaged memory may take to fail. */
const deadline = "2 minutes"

const tiny = { image: Image.tiny(), memory: "128 MiB", disks: ["8 MiB"], vlans: ["lan"], autoStart: false } as const
const networks = { lan: { fabric: "bridge" } } as const

const start = (machine: Machine) => Effect.flip(machine.start())

/** A boot that fails, with its stage and the hypervisor's words. */
const refuses = Effect.fnUntraced(function* (machine: Machine, stage: string, words: RegExp) {
  const error = yield* start(machine)
  assert.equal(error._tag, "BootFailed")
  if (error._tag !== "BootFailed") return
  assert.match(error.message, words)
  assert.equal(error.stage, stage)
})

const boots = test(
  `${backend}: a boot that is cut short or refused`,
  { machines: { a: tiny, b: tiny }, networks, timeout: "30 minutes" },
  ({ a, b }, driver) =>
    Effect.gen(function* () {
      const before = namespaces().size
      for (const request of mine.boot) {
        yield* driver.subtest(
          `killed at ${request}`,
          Effect.gen(function* () {
            const error = yield* during("KILL", request, start(a))
            assert.equal(error._tag, "BootFailed")
            assert.match(error.message, /ended with signal SIGKILL/)
            yield* nothingLeft(0, [])
            assert.ok(namespaces().size <= before + 1)
          }),
          { softFail: true }
        )
      }
      yield* driver.subtest(
        "a bad kernel",
        during(
          "CHANGE",
          JSON.stringify(mine.kernel),
          Effect.andThen(refuses(a, mine.kernelStage, /kernel|ELF|elf/i), nothingLeft(0, []))
        ),
        { softFail: true }
      )
      yield* driver.subtest(
        "a disk that is missing",
        during(
          "CHANGE",
          JSON.stringify(mine.disk),
          Effect.andThen(
            refuses(
              a,
              mine.disk.request === "PUT /drives/disk1" ? mine.disk.request : mine.kernelStage,
              /No such file/
            ),
            nothingLeft(0, [])
          )
        ),
        { softFail: true }
      )
      yield* driver.subtest(
        "a TAP that is taken",
        Effect.gen(function* () {
          yield* b.start()
          const folder = hypervisors()[0]?.folder ?? ""
          const found = new RegExp(`"${mine.tap.key}":"([^"]*)"`, "g")
          const all = readFileSync(join(folder, "requests.jsonl"), "utf8").replaceAll('\\"', '"')
          const taken = [...all.matchAll(found)]
            .map(([, name]) => name)
            .find((name) => !name?.startsWith("vt") || /p\d+$/.test(name))
          const change = {
            request: mine.tap.request,
            from: `"${mine.tap.key}":"(?!vt[0-9a-f]{10})[^"]*"`,
            to: `"${mine.tap.key}":"${taken}"`
          }
          const files = kept()
          yield* during(
            "CHANGE",
            JSON.stringify(change),
            refuses(a, backend === "firecracker" ? mine.tap.request : mine.kernelStage, /busy|EBUSY/i)
          )
          yield* nothingLeft(1, files)
          yield* b.succeed("true")
        }),
        { softFail: true }
      )
      yield* driver.subtest("boots after all that", Effect.andThen(a.start(), a.succeed("true")))
    })
)

const saved = test(
  `${backend}: a snapshot that is cut short or damaged`,
  { machines: { a: tiny }, networks, timeout: "30 minutes" },
  ({ a }, driver) =>
    Effect.gen(function* () {
      for (const request of mine.snapshot) {
        yield* driver.subtest(
          `killed at ${request}`,
          Effect.gen(function* () {
            yield* during(
              "KILL",
              request,
              Effect.gen(function* () {
                yield* a.start()
                const error = yield* Effect.flip(a.snapshot("cut"))
                yield* driver.log(`${error._tag}: ${error.message.split("\n")[0]}`)
                assert.match(error.message, /SIGKILL|hung up/)
              })
            )
            yield* a.waitForShutdown({ timeout: "1 minute" })
            yield* nothingLeft(0, [])
          }),
          { softFail: true }
        )
      }
      yield* a.start()
      const { saved } = yield* a.snapshot("whole")
      const files = kept()
      for (const request of mine.restore) {
        yield* driver.subtest(
          `a fork that is killed at ${request}`,
          Effect.gen(function* () {
            const error = yield* during("KILL", request, Effect.flip(a.fork({ from: "whole" })))
            assert.equal(error._tag, "BootFailed")
            assert.match(error.message, /SIGKILL|hung up/)
            yield* nothingLeft(1, files)
          }),
          { softFail: true }
        )
      }
      for (const name of mine.files) {
        const path = join(saved.directory, name)
        const [whole, { atime, mtimeMs }] = [readFileSync(path), statSync(path)]
        const third = Math.floor(whole.length / 3)
        for (const [how, bytes] of Object.entries({
          "full of zeros": Buffer.alloc(whole.length),
          "full of noise in its middle": Buffer.from(whole).fill(0xee, third, 2 * third)
        })) {
          yield* driver.subtest(
            `${name} ${how}`,
            Effect.gen(function* () {
              rot(path, bytes)
              const result = yield* Effect.timeout(Effect.result(a.fork({ from: "whole" })), deadline)
              if (result._tag === "Success") {
                assert.match(name, /^memory/, "it continued from a damaged state")
                yield* driver.log("it continues")
                return yield* result.success.crash()
              }
              // No hypervisor has a check sum of the guest's memory: the guest runs, and fails as one with broken memory does.
              const expected = name.startsWith("memory") ? ["BootFailed", "MachineDied"] : ["BootFailed"]
              assert.ok(expected.includes(result.failure._tag), result.failure._tag)
              yield* driver.log(`${result.failure._tag}: ${result.failure.message}`)
              yield* nothingLeft(1, files)
            }),
            { softFail: true }
          )
        }
        yield* driver.subtest(
          `${name} written to`,
          Effect.gen(function* () {
            writeFileSync(path, whole)
            const error = yield* Effect.flip(a.fork({ from: "whole" }))
            assert.equal(error._tag, "BootFailed")
            assert.match(error.message, new RegExp(`its ${name} was changed after it was saved`))
          }),
          { softFail: true }
        )
        utimesSync(path, atime, mtimeMs / 1000)
      }
      yield* driver.subtest(
        "a file that is cut off",
        Effect.gen(function* () {
          truncateSync(join(saved.directory, mine.files[0]), 100)
          const error = yield* Effect.flip(a.fork({ from: "whole" }))
          assert.match(error.message, /has 100 bytes, expected/)
        }),
        { softFail: true }
      )
      assert.equal(yield* a.succeed("echo alive"), "alive\n")
    })
)

export default [boots, saved]
