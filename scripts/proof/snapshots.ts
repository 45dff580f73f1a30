/**
 * Many forks of one snapshot of a Debian guest: 200 one after the other, and 16 at once. Each must answer, with a machine-id and
 * random numbers of its own and the time of now, and see nothing of what others wrote to the memory of a process, to files in memory,
 * a tmpfs or a disk; the machine that was saved sees nothing of any of them. What 16 take of the host's memory is judged.
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
/** Other proofs may run on this host. */
const saved = `proof-${process.pid}`

/** MB of each fork after its first answer, what several share counted once. */
const memoryGoal = 110
/** Seconds that a fork's clock may be away from the host's. */
const clockGoal = 2

const problems: Array<string> = []
const expect = (what: string, said: string, wanted: string) => {
  if (said !== wanted) problems.push(`${what}: ${JSON.stringify(said)}, not ${JSON.stringify(wanted)}`)
}

const available = (): number =>
  (Number(/^MemAvailable:\s+(\d+)/m.exec(Fs.readFileSync("/proc/meminfo", "utf8"))?.[1]) * 1024) / 1e6

/** MB of each QEMU of the forks that run, what they share counted once; of the source, too, it is nothing that they take. */
const memoryOfForks = (): ReadonlyArray<number> =>
  Fs.readdirSync("/proc").flatMap((pid) => {
    try {
      const words = Fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
      if (!words.some((word) => word.startsWith(`guest=${saved}-`))) return []
      return [(Number(/^Pss:\s+(\d+)/m.exec(Fs.readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]) * 1024) / 1e6]
    } catch {
      return []
    }
  })

/** Says what they take together, and whether that is more than it may be. */
const weigh = (when: string, goal = Number.POSITIVE_INFINITY): void => {
  const shares = memoryOfForks()
  const total = shares.reduce((sum, share) => sum + share, 0)
  console.log(
    `${shares.length} forks ${when}: ${total.toFixed(0)} MB together` +
      `${Number.isFinite(goal) ? `, of ${atOnce * goal} MB at most` : ""}; ${(total / shares.length).toFixed(0)} MB each, ` +
      `the largest ${Math.max(...shares).toFixed(0)} MB`
  )
  if (shares.length !== atOnce) problems.push(`${shares.length} QEMUs of forks, not ${atOnce}`)
  if (!(total <= atOnce * goal)) problems.push(`${atOnce} forks ${when} take ${total.toFixed(0)} MB`)
}

/** A process that keeps a word in its memory: it says which, and takes another. */
const keeper = `mkfifo /tmp/ask /tmp/answer
(word=source; while read -r said </tmp/ask; do [ "$said" = '?' ] || word=$said; echo $word >/tmp/answer; done) </dev/null >/dev/null 2>&1 &
`
/** From the disk itself, not from what the guest remembers of it. */
const look = `echo '?' >/tmp/ask; cat /tmp/answer /tmp/memory /mnt/file
blockdev --flushbufs ${disk}; dd if=${disk} bs=512 count=1 2>/dev/null | tr -d '\\000'`
const write = (mark: string) =>
  `echo ${mark} >/tmp/ask; cat /tmp/answer >/dev/null; echo ${mark} >/tmp/memory; echo ${mark} >/mnt/file
echo ${mark} | dd of=${disk} bs=512 conv=sync,fsync 2>/dev/null`
const same = (mark: string) => `${mark}\n`.repeat(4)

const unique = [
  ["number", "cat /proc/sys/kernel/random/uuid"],
  ["bytes", "head -c 32 /dev/urandom | sha256sum"],
  ...(quick ? [] : [["machine-id", "cat /etc/machine-id"] as const])
] as const
const seen = new Map<string, string>()

/** What no two machines may have in common. */
const checkIdentity = Effect.fnUntraced(function* (machine: Machine) {
  const said = yield* machine.succeed(unique.map(([, command]) => command).join("; "))
  const drawn = said.trim().split("\n")
  for (const [index, [what]] of unique.entries()) {
    const value = drawn[index] ?? ""
    if (!/^[0-9a-f-]{32,64}( {2}-)?$/.test(value))
      problems.push(`${machine.name} has no ${what}: ${JSON.stringify(said)}`)
    const twin = seen.get(value)
    if (twin !== undefined) problems.push(`${machine.name} has the ${what} ${value}, as ${twin} has`)
    seen.set(value, machine.name)
  }
})

let worstClock = 0
const checkClock = Effect.fnUntraced(function* (machine: Machine) {
  const before = Date.now() / 1000
  const guest = Number(yield* machine.succeed("date +%s"))
  // It was some time of this second, at some time of the command.
  const away = Math.max(0, before - (guest + 1), guest - Date.now() / 1000)
  worstClock = Math.max(worstClock, away)
  if (!(away <= clockGoal)) problems.push(`${machine.name}: its clock is ${away.toFixed(1)} s away`)
})

const meet = Effect.fnUntraced(function* (fork: Machine) {
  yield* checkClock(fork)
  yield* checkIdentity(fork)
  expect(`${fork.name} before it wrote`, yield* fork.succeed(look), same("source"))
  yield* fork.succeed(write(fork.name))
  expect(`${fork.name} after it wrote`, yield* fork.succeed(look), same(fork.name))
})

const program = Effect.gen(function* () {
  const driver = yield* Driver
  const source = yield* driver.machine(saved, {
    image: quick ? Image.tiny() : Image.debian({}),
    memory: quick ? "256 MiB" : "512 MiB",
    disks: ["16 MiB"]
  })
  yield* source.succeed(`mount -t tmpfs none /mnt; ${keeper}${write("source")}`)
  yield* checkIdentity(source)
  const snapshot = yield* source.snapshot("proof")
  console.log(`${available().toFixed(0)} MB of the host's memory are free`)

  const times: Array<number> = []
  for (let number = 1; number <= inSequence; number++) {
    const started = performance.now()
    const fork = yield* source.fork({ from: snapshot, name: `${saved}-s${number}` })
    yield* fork.succeed("true")
    times.push(performance.now() - started)
    yield* meet(fork)
    yield* fork.crash()
    const left = memoryOfForks().length
    if (left > 0) problems.push(`${left} QEMUs are left after the end of ${fork.name}`)
    if (number % 25 === 0) console.log(`${number} forks, ${problems.length} problems`)
  }
  times.sort((a, b) => a - b)
  const at = (share: number) => (times[Math.floor((times.length - 1) * share)] ?? 0).toFixed(0)
  console.log(`fork to first answer: median ${at(0.5)} ms, 90 % within ${at(0.9)} ms, longest ${at(1)} ms`)

  const before = available()
  console.log(`${before.toFixed(0)} MB of the host's memory are free`)
  const started = performance.now()
  const seconds = () => ((performance.now() - started) / 1000).toFixed(1)
  const forks = yield* Effect.forEach(
    Array.from({ length: atOnce }, (_, index) => `${saved}-p${index + 1}`),
    (name) => Effect.tap(source.fork({ from: snapshot, name }), (fork) => fork.succeed("true")),
    { concurrency: "unbounded" }
  )
  console.log(`${atOnce} forks at once: ${seconds()} s until all had answered`)
  weigh("after their first answer", memoryGoal)
  yield* Effect.forEach(forks, meet, { concurrency: "unbounded", discard: true })
  console.log(`${seconds()} s until all had written`)
  for (const fork of forks) expect(`${fork.name} in the end`, yield* fork.succeed(look), same(fork.name))
  // Each command that is new to a guest is translated: how much that is, is the work's, not the fork's.
  weigh("after some work")
  console.log(`${(before - available()).toFixed(0)} MB less of the host's memory are free`)
  yield* Effect.forEach(forks, (fork) => fork.crash(), { discard: true })
  expect("the source in the end", yield* source.succeed(look), same("source"))
  console.log(`${seen.size} values were drawn; a clock was ${worstClock.toFixed(1)} s away at most`)
})

await Effect.runPromise(
  program.pipe(Effect.scoped, Effect.provide(DriverLayer.layer({ output: "/tmp/vmtest-proof-output" })))
)
for (const problem of problems) console.error(problem)
console.log(problems.length === 0 ? "snapshots: proven" : `snapshots: ${problems.length} problems`)
if (problems.length > 0) process.exitCode = 1
