/**
 * Snapshots of a Debian guest (512 MiB, one virtual processor): taking one, a fork to the answer to its first command with all
 * of its identity its own, and a fork of a forked machine's own snapshot; the baseline is the cold boot of the same machine to
 * the answer to its first command.
 *
 * Each time is also printed as processor time of QEMU and of this process, which says where it goes and hardly depends on how
 * busy the host is.
 */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import type { Driver as DriverTag } from "../src/driver/Driver.ts"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine } from "../src/machine/Machine.ts"
import { median, progress, report } from "./harness.ts"

const quick = process.argv.includes("--quick")
const boots = quick ? 1 : 3
const rounds = quick ? 3 : 7

const pidOf = (machine: string): number => {
  for (const pid of Fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const words = Fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
      if (words[0]?.includes("qemu-system") === true && words.includes(`guest=${machine}`)) return Number(pid)
    } catch {
      // It has ended meanwhile.
    }
  }
  throw new Error(`no QEMU of ${machine}`)
}

/** Processor time of a process so far, in milliseconds. */
const spentBy = (pid: number): number => {
  const fields = Fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ")
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/**
 * MB (10^6 bytes) that no other process has: what it wrote, and with that the pages of files which nobody else happens to have
 * mapped; the latter are the page cache's, and another fork of the same snapshot shares them.
 */
const privateMemory = (pid: number): { readonly written: number; readonly mapped: number } => {
  const text = Fs.readFileSync(`/proc/${pid}/smaps_rollup`, "utf8")
  const megabytes = (name: string) => (Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1]) * 1024) / 1e6
  // A page of a file that was just written counts as dirty as well, whoever wrote it.
  return { written: megabytes("Anonymous"), mapped: megabytes("Private_Dirty") + megabytes("Private_Clean") }
}

interface Timed<A> {
  readonly value: A
  readonly wall: number
  readonly own: number
}

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Timed<A>, E, R> =>
  Effect.suspend(() => {
    const started = performance.now()
    const before = process.cpuUsage()
    return Effect.map(effect, (value) => {
      const { system, user } = process.cpuUsage(before)
      return { value, wall: performance.now() - started, own: (system + user) / 1000 }
    })
  })

const say = (what: string, wall: number, own: number, qemu: number) =>
  progress(
    `${what}: ${wall.toFixed(0)} ms; processor time: QEMU ${qemu.toFixed(0)} ms, this process ${own.toFixed(0)} ms`
  )

const program = Effect.gen(function* () {
  const driver: typeof DriverTag.Service = yield* Driver
  const cold: Array<number> = []
  let machine: Machine | undefined
  for (let boot = 1; boot <= boots; boot++) {
    if (machine !== undefined) yield* machine.crash()
    const next = yield* driver.machine(`cold${boot}`, {
      image: Image.debian({}),
      memory: "512 MiB",
      snapshot: false,
      autoStart: false
    })
    machine = next
    const { own, wall } = yield* timed(Effect.andThen(next.start(), next.succeed("true")))
    say(`cold boot ${boot}`, wall, own, spentBy(pidOf(next.name)))
    cold.push(wall)
  }
  const source = machine!
  // As a warm start does: what a boot still has to do is done.
  yield* source.execute("systemctl is-system-running --wait")

  const saves: Array<number> = []
  const forks: Array<number> = []
  const alone: Array<ReturnType<typeof privateMemory>> = []
  const beside: Array<ReturnType<typeof privateMemory>> = []
  const savesOfForks: Array<number> = []
  const forksOfForks: Array<number> = []
  const save = (of: Machine, times: Array<number>) =>
    Effect.gen(function* () {
      const before = spentBy(pidOf(of.name))
      const { own, value, wall } = yield* timed(of.snapshot("bench"))
      say(`snapshot of ${of.name}`, wall, own, spentBy(pidOf(of.name)) - before)
      times.push(wall)
      return value
    })
  const fork = (from: Parameters<Machine["restore"]>[0], times: Array<number>) =>
    Effect.gen(function* () {
      const { own, value, wall } = yield* timed(Effect.tap(source.fork({ from }), (made) => made.succeed("true")))
      const pid = pidOf(value.name)
      const memory = privateMemory(pid)
      say(
        `${value.name} (${memory.mapped.toFixed(0)} MB private, ${memory.written.toFixed(0)} MB of them written)`,
        wall,
        own,
        spentBy(pid)
      )
      times.push(wall)
      return { machine: value, memory }
    })
  for (let round = 1; round <= rounds; round++) {
    const snapshot = yield* save(source, saves)
    // What another fork has read as well is shared, and no memory of either.
    const neighbour = yield* fork(snapshot, forks)
    const { machine: first, memory } = yield* fork(snapshot, forks)
    alone.push(neighbour.memory)
    beside.push(memory)
    const own = yield* save(first, savesOfForks)
    yield* Effect.forEach([neighbour.machine, first], (one) => one.crash())
    const { machine: second } = yield* fork(own, forksOfForks)
    yield* second.crash()
  }

  const times = (values: ReadonlyArray<number>) => median(values) / 1000
  return report("snapshot", [
    { case: "taking a snapshot, 512 MiB", value: times(saves), unit: "s", goal: { of: "value", atMost: 1 } },
    {
      case: "fork to the first answer",
      value: times(forks),
      unit: "s",
      goal: { of: "value", atMost: 0.5 }
    },
    {
      case: "the same, against a cold boot",
      value: times(forks),
      unit: "s",
      baseline: times(cold),
      goal: { of: "ratio", atMost: 1 / 15 }
    },
    { case: "taking a snapshot of a fork", value: times(savesOfForks), unit: "s", goal: { of: "value", atMost: 1 } },
    {
      case: "fork of a fork's own snapshot to the first answer",
      value: times(forksOfForks),
      unit: "s",
      baseline: times(cold),
      goal: { of: "value", atMost: 1.5 }
    },
    {
      case: "private memory of a fork beside another, after its first answer",
      value: median(beside.map(({ mapped }) => mapped)),
      unit: "MB",
      goal: { of: "value", atMost: 110 }
    },
    {
      case: "of a fork alone, what it wrote",
      value: median(alone.map(({ written }) => written)),
      unit: "MB",
      goal: { of: "value", atMost: 110 }
    },
    {
      case: "of a fork alone, with the snapshot's pages that it reads",
      value: median(alone.map(({ mapped }) => mapped)),
      unit: "MB",
      goal: { of: "value", atMost: 110 }
    }
  ])
})

const met = await Effect.runPromise(
  program.pipe(Effect.scoped, Effect.provide(DriverLayer.layer({ output: "/tmp/vmtest-bench-output" })))
)
if (!met) process.exitCode = 1
