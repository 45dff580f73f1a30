/**
 * Many forks of one snapshot of a Debian guest: 200 one after the other, and 16 at once. Each must answer, with a machine-id and
 * entropy of its own, and see nothing of what others wrote to memory, a tmpfs or a disk; the machine that was saved sees nothing
 * of any of them.
 *
 * `npm run proof -- snapshots`; `--quick` makes 10 and 4 of a guest of busybox.
 */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import { Driver } from "../../src/driver/Driver.ts"
import * as DriverLayer from "../../src/driver/DriverLayer.ts"
import * as Image from "../../src/images/Image.ts"
import type { Machine } from "../../src/machine/Machine.ts"

const quick = process.argv.includes("--quick")
const [inSequence, atOnce] = quick ? [10, 4] : [200, 16]
const disk = quick ? "/dev/vda" : "/dev/vdb"

const available = (): number =>
  Number(/^MemAvailable:\s+(\d+)/m.exec(Fs.readFileSync("/proc/meminfo", "utf8"))?.[1]) / 1024

/** MiB of all QEMUs of this proof, what they share counted once. */
const proportional = (): ReadonlyArray<number> =>
  Fs.readdirSync("/proc").flatMap((pid) => {
    try {
      const words = Fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
      if (!words.some((word) => word.startsWith("guest=proof"))) return []
      return [Number(/^Pss:\s+(\d+)/m.exec(Fs.readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]) / 1024]
    } catch {
      return []
    }
  })

const look = `cat /tmp/memory /mnt/file; dd if=${disk} bs=512 count=1 2>/dev/null | tr -d '\\000'`
const write = (mark: string) =>
  `echo ${mark} >/tmp/memory; echo ${mark} >/mnt/file; echo ${mark} | dd of=${disk} bs=512 conv=sync,fsync 2>/dev/null`
const same = (mark: string) => `${mark}\n${mark}\n${mark}\n`
const identity = "cat /proc/sys/kernel/random/uuid; [ ! -e /etc/machine-id ] || cat /etc/machine-id"

const problems: Array<string> = []
const expect = (what: string, said: string, wanted: string) => {
  if (said !== wanted) problems.push(`${what}: ${JSON.stringify(said)}, not ${JSON.stringify(wanted)}`)
}

const seen = new Map<string, string>()
const meet = (fork: Machine) =>
  Effect.gen(function* () {
    expect(`${fork.name} before it wrote`, yield* fork.succeed(look), same("source"))
    for (const id of (yield* fork.succeed(identity)).trim().split("\n")) {
      const twin = seen.get(id)
      if (twin !== undefined) problems.push(`${fork.name} drew ${id}, as ${twin} did`)
      seen.set(id, fork.name)
    }
    yield* fork.succeed(write(fork.name))
  })

const program = Effect.gen(function* () {
  const driver = yield* Driver
  const source = yield* driver.machine("proof", {
    image: quick ? Image.tiny() : Image.debian({}),
    memory: quick ? "256 MiB" : "512 MiB",
    disks: ["16 MiB"]
  })
  yield* source.succeed(`mount -t tmpfs none /mnt; ${write("source")}`)
  const snapshot = yield* source.snapshot("proof")
  console.log(`${available().toFixed(0)} MiB of the host's memory are free`)

  const times: Array<number> = []
  for (let number = 1; number <= inSequence; number++) {
    const started = performance.now()
    const fork = yield* source.fork({ from: snapshot, name: `proof-s${number}` })
    yield* fork.succeed("true")
    times.push(performance.now() - started)
    yield* meet(fork)
    yield* fork.crash()
    if (number % 25 === 0) console.log(`${number} forks, ${problems.length} problems`)
  }
  times.sort((a, b) => a - b)
  const at = (share: number) => (times[Math.floor((times.length - 1) * share)] ?? 0).toFixed(0)
  console.log(`fork to first answer: median ${at(0.5)} ms, 90 % within ${at(0.9)} ms, longest ${at(1)} ms`)
  console.log(`${available().toFixed(0)} MiB of the host's memory are free`)

  const before = available()
  const started = performance.now()
  const forks = yield* Effect.forEach(
    Array.from({ length: atOnce }, (_, index) => `proof-p${index + 1}`),
    (name) => Effect.tap(source.fork({ from: snapshot, name }), meet),
    { concurrency: "unbounded" }
  )
  console.log(`${atOnce} forks at once: ${((performance.now() - started) / 1000).toFixed(1)} s until all had answered`)
  for (const fork of forks) expect(`${fork.name} in the end`, yield* fork.succeed(look), same(fork.name))
  const shares = proportional()
  console.log(
    `${(before - available()).toFixed(0)} MiB less are free; ${shares.length} QEMUs, the source among them: ` +
      `${shares.reduce((sum, share) => sum + share, 0).toFixed(0)} MiB, what they share counted once`
  )
  yield* Effect.forEach(forks, (fork) => fork.crash(), { discard: true })
  expect("the source in the end", yield* source.succeed(look), same("source"))
})

await Effect.runPromise(
  program.pipe(Effect.scoped, Effect.provide(DriverLayer.layer({ output: "/tmp/vmtest-proof-output" })))
)
for (const problem of problems) console.error(problem)
console.log(problems.length === 0 ? "snapshots: proven" : `snapshots: ${problems.length} problems`)
if (problems.length > 0) process.exitCode = 1
