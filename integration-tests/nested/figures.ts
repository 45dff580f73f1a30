/** What `npm run bench:backends` measures of one backend: a Debian guest of 384 MiB and its forks. Prints a line of JSON for each figure. */
import { readFileSync } from "node:fs"
import { Effect } from "effect"
import { Image, type Machine, test } from "vmtest"
import { backend, hypervisors } from "./place.ts"

const mebibyte = 1024 * 1024

/** The column of the table. */
const column = process.env.VMTEST_NESTED_COLUMN ?? backend

/** One figure: the median of its rounds, and which part of the time this process has worked meanwhile. */
const tell = (what: string, value: number, unit: string, share?: number) =>
  process.stdout.write(`figure ${JSON.stringify({ backend: column, what, value, unit, share })}\n`)

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN

/**
 * Runs it so often, and tells of its wall time and this process's own processor time. A round that fails is run again: emulated KVM ends a guest now and
 * then.
 */
const measured = Effect.fnUntraced(function* <E, R>(
  what: string,
  rounds: number,
  effect: Effect.Effect<unknown, E, R>
) {
  const walls: Array<number> = []
  let own = 0
  const round = Effect.gen(function* () {
    const [began, before] = [performance.now(), process.cpuUsage()]
    yield* effect
    walls.push(performance.now() - began)
    const { system, user } = process.cpuUsage(before)
    own += (system + user) / 1000
  })
  yield* Effect.repeat(Effect.retry(round, { times: 2 }), { times: rounds - 1 })
  tell(what, median(walls), "ms", own / walls.reduce((sum, wall) => sum + wall, 0))
})

/** MB (10^6 bytes) of a process, what it shares with others counted in part. */
const memoryOf = (pid: number): number =>
  (Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]) * 1024) / 1e6

const figures = Effect.fnUntraced(function* (box: Machine) {
  yield* measured("boot to the first command", 1, Effect.andThen(box.start(), box.succeed("true")))
  // As a warm start does: what a boot still has to do is done.
  yield* box.execute("systemctl is-system-running --wait", { timeout: "5 minutes" })
  // Node compiles what runs often.
  yield* Effect.repeat(box.execute("true"), { times: 50 })
  yield* measured('execute("true")', 50, box.execute("true"))
  yield* measured("8 MiB out", 3, box.succeed(`head -c ${8 * mebibyte} /dev/zero`))
  yield* measured("snapshot", 3, box.snapshot("here"))
  const source = new Set(hypervisors().map(({ pid }) => pid))
  const forks: Array<Machine> = []
  yield* measured(
    "restore to the first command",
    3,
    Effect.gen(function* () {
      const fork = yield* box.fork({ from: "here" })
      forks.push(fork)
      yield* fork.succeed("true")
    })
  )
  const own = hypervisors().filter(({ pid }) => !source.has(pid))
  tell("memory of a fork beside two others", median(own.map(({ pid }) => memoryOf(pid))), "MB")
  yield* Effect.forEach(forks, (fork) => fork.crash())
})

export default test(
  `${backend}: figures`,
  {
    machines: { box: { image: Image.debian({}), memory: "384 MiB", vlans: [], snapshot: false, autoStart: false } },
    timeout: "60 minutes"
  },
  ({ box }) => figures(box)
)
