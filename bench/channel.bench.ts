/**
 * The guest channel against the bytes that the NixOS test driver sends, in one guest, by turns: on a busy host
 * a slow moment then hits both, and processor time and the number of processes say what a clock cannot.
 *
 * The baseline's shell runs on a virtconsole (`/dev/hvc0`), as its guests have it: each command is
 * `timeout 900 bash -c '…' | (base64 -w 0; echo)`, and a second round trip asks for `${PIPESTATUS[0]}`.
 */
import { readdirSync, readFileSync } from "node:fs"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { slowestOfTen } from "../integration-tests/transport/cancelled.ts"
import { boot } from "../integration-tests/transport/guest.ts"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore, progressLine } from "../src/images/ImageStore.ts"
import * as Connection from "../src/transport/Connection.ts"
import * as Shell from "../src/transport/Shell.ts"
import { type Case, median, progress, report } from "./harness.ts"

const rounds = 40

/** Rounds of what moves bytes, the fewest and the most, and the seconds after which there is no further one. */
const transfers = { least: 2, most: 5, seconds: 40 }

/** The longest that 1 GiB is streamed; what has not come by then is left out. */
const longestStream = 300

/** Milliseconds that an effect takes. */
const took = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timed(self), ([duration]) => Duration.toMillis(duration))

/** The processor time of this process so far, in milliseconds. */
const cpu = () => {
  const { system, user } = process.cpuUsage()
  return (system + user) / 1000
}

/** The processor time of another process so far, all threads that live, in milliseconds. */
const cpuOf = (pid: number) =>
  readdirSync(`/proc/${pid}/task`)
    .map((task) => Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]) / 1e6)
    .reduce((sum, time) => sum + time, 0)

/** How many processes a guest has made, which is asked without making one. */
const forks = (shell: Shell.ShellService) =>
  Effect.map(
    shell.execute(
      "while read -r name count; do if [ $name = processes ]; then echo $count; break; fi; done </proc/stat"
    ),
    ({ stdout }) => Number(stdout)
  )

/** Eight commands at once that each take a second. */
const eightAtOnce = <E>(run: (command: string) => Effect.Effect<unknown, E>) =>
  Effect.all(
    Array.from({ length: 8 }, () => run("sleep 1")),
    { concurrency: "unbounded", discard: true }
  )

/** A guest has one or two lanes until more commands run at once: the first time includes the start of the others. */
const firstRound = (guest: string, ms: number): Case => ({
  case: `8 sleeps of 1 s at once, the first time on a ${guest} guest`,
  value: ms / 1000,
  unit: "s",
  goal: { of: "value", atMost: 2.2 }
})

/** The same on forks of a saved machine, each of which runs eight commands as its first. */
const forked = Effect.gen(function* () {
  progress("commands at once on forks")
  const driver = yield* Driver
  const source = yield* driver.machine("saved", { image: Image.debian(), snapshot: false, autoStart: false })
  yield* source.start()
  yield* source.execute("systemctl is-system-running --wait")
  const snapshot = yield* source.snapshot("bench")
  const times: Array<number> = []
  for (let i = 0; i < 3; i++) {
    const machine = yield* source.fork({ from: snapshot })
    times.push(yield* took(eightAtOnce((command) => machine.execute(command))))
    yield* machine.crash()
  }
  return firstRound("forked", median(times))
}).pipe(Effect.provide(DriverLayer.layer({ output: "/tmp/vmtest-bench-output" })))

/** The NixOS driver's way of running commands, on a virtconsole. */
const nixos = Effect.fnUntraced(function* (shell: Shell.ShellService, socket: string) {
  const connection = yield* Connection.connect({ machine: "vm", socket })
  let chunks: Array<Buffer> = []
  let wake = () => {}
  connection.onData((chunk) => {
    chunks.push(chunk)
    if (chunk.includes(0x0a)) wake()
  })
  const line = (text: string) =>
    Effect.andThen(
      connection.write(text),
      Effect.callback<string>((resume) => {
        wake = () => resume(Effect.succeed(Buffer.concat(chunks.splice(0)).toString("latin1")))
      })
    )
  // The settings of a terminal last as long as somebody has it open, so the shell itself must make them.
  yield* shell.execute(
    "setsid sh -c 'stty raw -echo; PS1= exec bash --norc' </dev/hvc0 >/dev/hvc0 2>/dev/null & sleep 2"
  )
  yield* line("echo ready\n")
  return (command: string) =>
    Effect.gen(function* () {
      chunks = []
      const out = yield* line(`timeout 900 bash -c 'set -euo pipefail; ${command}' | (base64 -w 0; echo)\n`)
      const status = yield* line("echo ${PIPESTATUS[0]}\n")
      return { bytes: Buffer.from(out, "base64").length, exitCode: Number(status) }
    }).pipe(Effect.timeout("10 minutes"))
})

const main = Effect.gen(function* () {
  progress("preparing the image")
  const store = yield* ImageStore
  const image = yield* store.resolve(Image.debian(), {
    onProgress: (step) => Effect.sync(() => progress(progressLine(step)))
  })
  progress("booting the guest")
  const guest = yield* boot({ image, console: true })
  const shell = yield* Shell.make({ machine: "vm", channel: guest.channel, consoleTail: guest.consoleTail })
  // What else the boot starts is not what is measured.
  yield* shell.execute("sleep 15")
  const old = yield* nixos(shell, guest.hvc0)
  const cases: Array<Case> = []

  progress('execute("true")')
  const ours = { ms: [] as Array<number>, cpu: 0 }
  const theirs = { ms: [] as Array<number>, cpu: 0 }
  // As a test uses a shell: one command after another with something between. What a command leaves the guest to do after its
  // answer is counted as its own.
  const turn = Effect.fnUntraced(function* (of: typeof ours, command: Effect.Effect<unknown, unknown>) {
    const before = cpuOf(guest.process.pid)
    of.ms.push(yield* took(command))
    yield* Effect.sleep("60 millis")
    of.cpu += (cpuOf(guest.process.pid) - before) / rounds
  })
  for (let i = 0; i < rounds; i++) {
    yield* turn(ours, shell.execute("true"))
    yield* turn(theirs, old("true"))
  }
  const made = { before: yield* forks(shell), after: 0, theirs: 0 }
  for (let i = 0; i < 10; i++) yield* shell.execute("true")
  made.after = yield* forks(shell)
  for (let i = 0; i < 10; i++) yield* old("true")
  made.theirs = yield* forks(shell)
  cases.push(
    {
      case: 'execute("true"), median',
      value: median(ours.ms),
      baseline: median(theirs.ms),
      unit: "ms",
      goal: { of: "ratio", atMost: 0.1 }
    },
    { case: "processor time of QEMU for it, mean", value: ours.cpu, baseline: theirs.cpu, unit: "ms" },
    {
      case: "processes that the guest makes for it",
      // The question makes one, too: that of the next command.
      value: (made.after - made.before - 1) / 10,
      baseline: (made.theirs - made.after - 1) / 10,
      unit: "processes"
    }
  )
  progress(`  ${median(ours.ms).toFixed(1)} ms, the baseline ${median(theirs.ms).toFixed(1)} ms`)
  const inRow: Array<number> = []
  for (let i = 0; i < rounds; i++) inRow.push(yield* took(shell.execute("true")))
  cases.push({ case: "the same, without a pause between", value: median(inRow), unit: "ms" })

  progress("bytes out")
  const megabytes = 100
  const out = { ours: [] as Array<number>, theirs: [] as Array<number>, cpu: [] as Array<number>, lost: 0, asked: 0 }
  const qemu = { ours: [] as Array<number>, theirs: [] as Array<number> }
  const begun = performance.now()
  const more = (round: number) =>
    round < transfers.least || (round < transfers.most && performance.now() - begun < transfers.seconds * 1000)
  for (let i = 0; more(i); i++) {
    const before = cpu()
    const guestBefore = cpuOf(guest.process.pid)
    let bytes = 0
    const ms = yield* took(
      Stream.runForEach(shell.executeStream(`head -c ${megabytes}000000 /dev/zero`), (event) =>
        Effect.sync(() => {
          if (event._tag === "Stdout") bytes += event.bytes.length
        })
      )
    )
    if (bytes !== megabytes * 1e6) throw new Error(`${bytes} bytes came of ${megabytes * 1e6}`)
    out.cpu.push((cpu() - before) / megabytes)
    out.ours.push((megabytes * 1000) / ms)
    const guestBetween = cpuOf(guest.process.pid)
    qemu.ours.push((guestBetween - guestBefore) / megabytes)
    let arrived = 0
    const theirs = yield* took(
      Effect.tap(old("head -c 5000000 /dev/zero"), (got) =>
        Effect.sync(() => {
          arrived = got.bytes
        })
      )
    )
    out.lost += 5e6 - arrived
    out.asked += 5
    qemu.theirs.push((cpuOf(guest.process.pid) - guestBetween) / 5)
    out.theirs.push((arrived / 1e6) * (1000 / theirs))
    progress(`  ${out.ours.at(-1)?.toFixed(1)} MB/s, the baseline ${out.theirs.at(-1)?.toFixed(1)} MB/s`)
  }
  cases.push(
    {
      case: "100 MB out",
      value: median(out.ours),
      baseline: median(out.theirs),
      unit: "MB/s",
      goal: { of: "ratio", atLeast: 3 }
    },
    { case: `bytes that the baseline lost, of ${out.asked} MB`, value: out.lost, unit: "bytes" },
    { case: "processor time of vmtest for a MB out", value: median(out.cpu), unit: "ms" },
    { case: "processor time of QEMU for a MB out", value: median(qemu.ours), baseline: median(qemu.theirs), unit: "ms" }
  )

  progress("bytes in")
  const input = Buffer.alloc(megabytes * 1e6, "x")
  const cpuBefore = { ours: cpu(), qemu: cpuOf(guest.process.pid) }
  const inward = yield* took(
    Effect.tap(shell.execute("wc -c", { stdin: input }), ({ stdout }) =>
      Effect.sync(() => {
        if (Number(stdout) !== input.length) throw new Error(`${stdout} bytes arrived of ${input.length}`)
      })
    )
  )
  cases.push(
    { case: "100 MB in", value: (megabytes * 1000) / inward, unit: "MB/s" },
    { case: "processor time of vmtest for a MB in", value: (cpu() - cpuBefore.ours) / megabytes, unit: "ms" },
    {
      case: "processor time of QEMU for a MB in",
      value: (cpuOf(guest.process.pid) - cpuBefore.qemu) / megabytes,
      unit: "ms"
    }
  )

  progress("commands at once")
  const eight = eightAtOnce((command) => shell.execute(command))
  cases.push(firstRound("booted", yield* took(eight)), {
    case: "8 sleeps of 1 s at once (the baseline has one shell)",
    value: (yield* took(eight)) / 1000,
    baseline: ((yield* took(old("sleep 1"))) * 8) / 1000,
    unit: "s",
    goal: { of: "value", atMost: 2 }
  })

  progress("cancelling")
  cases.push({
    case: "a cancelled command is gone in the guest, the slowest of 10 (5 ignore SIGTERM)",
    value: yield* slowestOfTen(shell),
    unit: "s",
    goal: { of: "value", atMost: 1 }
  })

  progress("1 GiB out, and the memory of the host")
  globalThis.gc?.()
  let least = Number.POSITIVE_INFINITY
  let most = 0
  let total = 0
  let seen = 0
  const whole = yield* Stream.runForEach(shell.executeStream("head -c 1073741824 /dev/zero"), (event) =>
    Effect.sync(() => {
      if (event._tag !== "Stdout") return
      total += event.bytes.length
      // The first 64 MiB fill what the runtime keeps anyway.
      if (total < 64 * 1024 * 1024 || total - seen < 16 * 1024 * 1024) return
      seen = total
      globalThis.gc?.()
      const { rss } = process.memoryUsage()
      least = Math.min(least, rss)
      most = Math.max(most, rss)
    })
  ).pipe(Effect.timeoutOption(Duration.seconds(longestStream)))
  if (whole._tag === "Some" && total !== 1024 ** 3) throw new Error(`${total} bytes came of 1 GiB`)
  const streamed = whole._tag === "Some" ? "1 GiB streams" : `${Math.round(total / 1024 ** 2)} MiB stream`
  cases.push({
    case: `growth of vmtest's memory while ${streamed}`,
    value: (most - least) / 1024 / 1024,
    unit: "MiB",
    goal: { of: "value", atMost: 20 }
  })
  cases.push(yield* forked)
  progress(`load of the host: ${readFileSync("/proc/loadavg", "utf8").trim()}`)
  return report("channel", cases)
})

const met = await Effect.runPromise(Effect.scoped(main).pipe(Effect.provide(ImageStore.layer)))
process.exit(met ? 0 : 1)
