/**
 * The guest channel against the bytes that the NixOS test driver sends, in one guest, by turns.
 *
 * The baseline's shell runs on a virtconsole (`/dev/hvc0`), as its guests have it: each command is
 * `timeout 900 bash -c '…' | (base64 -w 0; echo)`, and a second round trip asks for `${PIPESTATUS[0]}`.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { boot } from "../integration-tests/transport/guest.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore, progressLine } from "../src/images/ImageStore.ts"
import * as Connection from "../src/transport/Connection.ts"
import * as Shell from "../src/transport/Shell.ts"
import { type Case, median, progress, report } from "./harness.ts"

const rounds = 40

/** Milliseconds that an effect takes. */
const took = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timed(self), ([duration]) => Duration.toMillis(duration))

/** The host's processor time so far, in milliseconds. */
const cpu = () => {
  const { system, user } = process.cpuUsage()
  return (system + user) / 1000
}

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
  const latency = { ours: [] as Array<number>, theirs: [] as Array<number> }
  for (let i = 0; i < rounds; i++) {
    // As a test uses a shell: one command after another with something between.
    yield* Effect.sleep("30 millis")
    latency.ours.push(yield* took(shell.execute("true")))
    yield* Effect.sleep("30 millis")
    latency.theirs.push(yield* took(old("true")))
  }
  cases.push({
    case: 'execute("true"), median',
    value: median(latency.ours),
    baseline: median(latency.theirs),
    unit: "ms",
    goal: { of: "ratio", atMost: 0.1 }
  })
  progress(`  ${median(latency.ours).toFixed(1)} ms, the baseline ${median(latency.theirs).toFixed(1)} ms`)
  const inRow: Array<number> = []
  for (let i = 0; i < rounds; i++) inRow.push(yield* took(shell.execute("true")))
  cases.push({ case: "the same, without a pause between", value: median(inRow), unit: "ms" })

  progress("bytes out")
  const megabytes = 100
  const out = { ours: [] as Array<number>, theirs: [] as Array<number>, cpu: [] as Array<number>, lost: 0 }
  for (let i = 0; i < 3; i++) {
    const before = cpu()
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
    let arrived = 0
    const theirs = yield* took(
      Effect.tap(old("head -c 20000000 /dev/zero"), (got) =>
        Effect.sync(() => {
          arrived = got.bytes
        })
      )
    )
    out.lost += 20e6 - arrived
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
    { case: "bytes lost of 60 MB by the baseline, of 300 MB by vmtest", value: 0, baseline: out.lost, unit: "bytes" },
    { case: "the host's processor time for a MB out", value: median(out.cpu), unit: "ms" }
  )

  progress("bytes in")
  const input = Buffer.alloc(megabytes * 1e6, "x")
  const cpuBefore = cpu()
  const inward = yield* took(
    Effect.tap(shell.execute("wc -c", { stdin: input }), ({ stdout }) =>
      Effect.sync(() => {
        if (Number(stdout) !== input.length) throw new Error(`${stdout} bytes arrived of ${input.length}`)
      })
    )
  )
  cases.push(
    { case: "100 MB in", value: (megabytes * 1000) / inward, unit: "MB/s" },
    { case: "the host's processor time for a MB in", value: (cpu() - cpuBefore) / megabytes, unit: "ms" }
  )

  progress("commands at once")
  const eight = Effect.all(
    Array.from({ length: 8 }, () => shell.execute("sleep 1")),
    { concurrency: "unbounded" }
  )
  yield* eight
  cases.push({
    case: "8 sleeps of 1 s at once (the baseline has one shell)",
    value: (yield* took(eight)) / 1000,
    baseline: ((yield* took(old("sleep 1"))) * 8) / 1000,
    unit: "s",
    goal: { of: "value", atMost: 2 }
  })

  progress("cancelling")
  const cancelled: Array<number> = []
  for (const command of ["sleep 100", "trap '' TERM; while :; do sleep 0.1; done"]) {
    for (let i = 0; i < 5; i++) {
      const running = yield* Effect.forkChild(shell.execute(command), { startImmediately: true })
      yield* Effect.sleep("500 millis")
      // An interruption returns when the command's processes have ended in the guest.
      cancelled.push((yield* took(Fiber.interrupt(running))) / 1000)
    }
  }
  cases.push({
    case: "a cancelled command is gone in the guest, the slowest of 10, 5 of which ignore SIGTERM",
    value: Math.max(...cancelled),
    unit: "s",
    goal: { of: "value", atMost: 1 }
  })

  progress("1 GiB out, and the memory of the host")
  globalThis.gc?.()
  let least = Number.POSITIVE_INFINITY
  let most = 0
  let total = 0
  let seen = 0
  yield* Stream.runForEach(shell.executeStream("head -c 1073741824 /dev/zero"), (event) =>
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
  )
  if (total !== 1024 ** 3) throw new Error(`${total} bytes came of 1 GiB`)
  cases.push({
    case: "growth of the host's memory while 1 GiB streams",
    value: (most - least) / 1024 / 1024,
    unit: "MiB",
    goal: { of: "value", atMost: 20 }
  })
  return report("channel", cases)
})

const met = await Effect.runPromise(Effect.scoped(main).pipe(Effect.provide(ImageStore.layer)))
process.exit(met ? 0 : 1)
