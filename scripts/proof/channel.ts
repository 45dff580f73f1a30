/**
 * The long proof of the guest channel: on every transport, in a real guest, 1 GiB out in eight commands at once and 100 MiB
 * in, with SHA-256 taken at both ends, readers that pause, and writes from one byte to 1 MiB; 64 MiB in all on a guest that
 * has only a console. Exits with 1 when a byte is lost or in the wrong place. `--quick` moves a sixteenth of it; names of
 * transports after `--only=` pick some.
 */
import { spawnSync } from "node:child_process"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { slowestOfTen } from "../../integration-tests/transport/cancelled.ts"
import { type Amount, inward, outward, type Passage } from "../../integration-tests/transport/lossless.ts"
import {
  has,
  overConsole,
  overConsoleWithPorts,
  overPorts,
  overVsock,
  vsockDevice
} from "../../integration-tests/transport/reach.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import { Shell, type ShellService } from "../../src/transport/Shell.ts"

const MiB = 1024 * 1024
const scale = process.argv.includes("--quick") ? 16 : 1
const only = process.argv.flatMap((arg) => (arg.startsWith("--only=") ? arg.slice("--only=".length).split(",") : []))
let failures = 0

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

const say = (ok: boolean, text: string): void => {
  if (!ok) failures++
  console.log(`${ok ? "ok  " : "FAIL"} ${text}`)
}

/**
 * The memory of this process while bytes stream, in MiB, each 4 MiB of them; the first quarter fills what the runtime keeps anyway.
 * `before` is what is done before each look.
 */
const memory = (whole: number, before: () => void = () => {}) => {
  let total = 0
  let seen = 0
  const looks: Array<number> = []
  return {
    looks,
    onBytes: (count: number) => {
      total += count
      if (total < whole / 4 || total - seen < 4 * MiB) return
      seen = total
      before()
      looks.push(process.memoryUsage().rss / MiB)
    }
  }
}

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

const judge = (passages: ReadonlyArray<Passage>, ms: number): void => {
  for (const { bytes, guest, host, what } of passages) {
    say(
      host === guest,
      `${what}: ${bytes} bytes, SHA-256 ${host === guest ? host.slice(0, 16) : `${host}, in the guest ${guest}`}`
    )
  }
  const bytes = passages.reduce((sum, passage) => sum + passage.bytes, 0)
  console.log(`     ${(bytes / MiB).toFixed(1)} MiB in ${(ms / 1000).toFixed(1)} s`)
}

/**
 * The growth of a process that nobody tells to collect its garbage, in MiB: beyond that it is a leak. Between the middles of the first and the last
 * quarter of what it looks at pass 576 of 1024 MiB, so that a leak of a ninth of them is found; the garbage that happens to lie around made
 * the medians differ by less than half of this bound.
 */
const mostGrowth = 64

/** One command says that many bytes, which nobody keeps. */
const streamed = (shell: ShellService, bytes: number, onBytes: (count: number) => void) =>
  Stream.runForEach(shell.executeStream(`head -c ${bytes} /dev/zero`, { timeout: "2 hours" }), (event) =>
    Effect.sync(() => {
      if (event._tag === "Stdout") onBytes(event.bytes.length)
    })
  )

const prove = Effect.fnUntraced(function* ({ amount, flat, judged, name }: Way) {
  const shell = yield* Shell
  console.log(`${name}:`)
  // A buffer that nobody holds any more is no growth; when it is given back is the runtime's business.
  const forced = memory(amount.out, collect)
  let begun = performance.now()
  judge(yield* outward(shell, amount, forced.onBytes), performance.now() - begun)
  if (forced.looks.length > 0) {
    const [least, most] = [Math.min(...forced.looks), Math.max(...forced.looks)]
    const range = `from ${least.toFixed(0)} to ${most.toFixed(0)} MiB`
    say(most - least <= 20, `memory of this process while it read, without what was garbage: ${range}`)
  }
  begun = performance.now()
  judge(yield* inward(shell, amount), performance.now() - begun)

  const natural = memory(flat)
  yield* streamed(shell, flat, natural.onBytes)
  const quarter = Math.ceil(natural.looks.length / 4)
  const [first, last] = [median(natural.looks.slice(0, quarter)), median(natural.looks.slice(-quarter))]
  const quarters = `median ${first.toFixed(0)} MiB in the first quarter, ${last.toFixed(0)} MiB in the last`
  const grown = `memory of this process while ${Math.round(flat / MiB)} MiB came, garbage and all: ${quarters}`
  if (judged) say(last - first <= mostGrowth, grown)
  else console.log(`     ${grown}`)

  const slowest = yield* slowestOfTen(shell)
  const gone = `cancelled commands are gone after at most ${slowest.toFixed(2)} s`
  if (judged) say(slowest <= 1, gone)
  else console.log(`     ${gone}`)
})

const whole: Amount = { out: (1024 * MiB) / scale, in: (100 * MiB) / scale, single: 100_000 / scale }
const slow: Amount = { out: (56 * MiB) / scale, in: (8 * MiB) / scale, single: Math.floor(1000 / scale) }

/** One way to a guest, and what goes over it. */
interface Way {
  readonly name: string
  readonly shell: Layer.Layer<Shell, unknown, ImageStore>
  readonly amount: Amount
  /** bytes while which the memory of this process is watched as it is */
  readonly flat: number
  /** whether what the console itself decides is judged: there a leak of what comes in minutes is less than garbage, and answers take their time */
  readonly judged: boolean
  readonly missing?: string | undefined
}

const fast = { amount: whole, flat: whole.out, judged: true }

const ways: ReadonlyArray<Way> = [
  { name: "virtio-port", shell: overPorts, ...fast },
  {
    name: "vsock",
    shell: overVsock,
    ...fast,
    missing: has(vsockDevice) ? undefined : `${vsockDevice} is not on the PATH: cargo install ${vsockDevice}`
  },
  { name: "virtconsole-with-ports", shell: overConsoleWithPorts, ...fast },
  { name: "virtconsole", shell: overConsole, amount: slow, flat: slow.in, judged: false }
]

const unknown = only.find((one) => ways.every(({ name }) => name !== one))
const [alone] = ways.filter(({ name }) => only.includes(name))
if (unknown !== undefined) {
  say(false, `--only: unknown transport ${unknown}; must be one of ${ways.map(({ name }) => name).join(", ")}`)
} else if (alone !== undefined && only.length === 1) {
  if (alone.missing !== undefined) console.log(`skipped: ${alone.name}: ${alone.missing}`)
  else {
    const outcome = await Effect.runPromise(
      prove(alone).pipe(Effect.provide(Layer.provide(alone.shell, ImageStore.layer)), Effect.exit)
    )
    if (outcome._tag === "Failure") say(false, `${alone.name}: ${outcome.cause}`)
  }
} else {
  // Each in a process of its own: what one has used, and not given back to the system, is no growth of the next.
  const [script = "", ...args] = process.argv.slice(1).filter((arg) => !arg.startsWith("--only="))
  for (const { name } of ways) {
    if (only.length > 0 && !only.includes(name)) continue
    const { status } = spawnSync(process.execPath, [...process.execArgv, script, ...args, `--only=${name}`], {
      stdio: "inherit"
    })
    if (status !== 0) failures++
  }
}
console.log(failures === 0 ? "channel: proven" : `channel: ${failures} failed`)
process.exit(failures === 0 ? 0 : 1)
