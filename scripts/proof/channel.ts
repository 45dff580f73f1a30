/**
 * The long proof of the guest channel: on every transport, in a real guest, 1 GiB out in eight commands at once and 100 MiB
 * in, with SHA-256 taken at both ends, readers that pause, and writes from one byte to 1 MiB; 64 MiB in all on a guest that
 * has only a console. Exits with 1 when a byte is lost or in the wrong place. `--quick` moves a sixteenth of it; names of
 * transports after `--only=` pick some.
 */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Amount, inward, outward, type Passage } from "../../integration-tests/transport/lossless.ts"
import { has, overConsole, overPorts, overVsock, vsockDevice } from "../../integration-tests/transport/reach.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import type { ShellService } from "../../src/transport/Shell.ts"

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

/** The memory of this process while bytes stream; the first of them fill what the runtime keeps anyway. */
const memory = (warm: number) => {
  let total = 0
  let seen = 0
  const range = { least: Number.POSITIVE_INFINITY, most: 0 }
  const onBytes = (count: number) => {
    total += count
    if (total < warm || total - seen < 4 * MiB) return
    seen = total
    // A buffer that nobody holds any more is no growth; when it is given back is the runtime's business.
    collect()
    const { rss } = process.memoryUsage()
    range.least = Math.min(range.least, rss)
    range.most = Math.max(range.most, rss)
  }
  return { range, onBytes }
}

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

const prove = Effect.fnUntraced(function* (name: string, shell: ShellService, amount: Amount) {
  console.log(`${name}:`)
  const { onBytes, range } = memory(amount.out / 4)
  let begun = performance.now()
  judge(yield* outward(shell, amount, onBytes), performance.now() - begun)
  const grown = (range.most - range.least) / MiB
  if (Number.isFinite(grown))
    say(
      grown <= 20,
      `memory of this process while it read: from ${(range.least / MiB).toFixed(0)} to ${(range.most / MiB).toFixed(0)} MiB`
    )
  begun = performance.now()
  judge(yield* inward(shell, amount), performance.now() - begun)
})

const whole: Amount = { out: (1024 * MiB) / scale, in: (100 * MiB) / scale, single: 100_000 / scale }
const slow: Amount = { out: (56 * MiB) / scale, in: (8 * MiB) / scale, single: Math.floor(1000 / scale) }

const transports: ReadonlyArray<
  readonly [
    name: string,
    shell: Effect.Effect<ShellService, unknown, Scope.Scope | ImageStore>,
    amount: Amount,
    missing?: string | undefined
  ]
> = [
  ["virtio-port", overPorts, whole],
  [
    "vsock",
    overVsock,
    whole,
    has(vsockDevice) ? undefined : `${vsockDevice} is not on the PATH: cargo install ${vsockDevice}`
  ],
  ["virtconsole-with-ports", overConsole("ports"), whole],
  ["virtconsole", overConsole("console"), slow]
]

for (const [name, shell, amount, missing] of transports) {
  if (only.length > 0 && !only.includes(name)) continue
  if (missing !== undefined) {
    console.log(`skipped: ${name}: ${missing}`)
    continue
  }
  const outcome = await Effect.runPromise(
    Effect.flatMap(shell, (opened) => prove(name, opened, amount)).pipe(
      Effect.scoped,
      Effect.provide(ImageStore.layer),
      Effect.exit
    )
  )
  if (outcome._tag === "Failure") say(false, `${name}: ${outcome.cause}`)
}
console.log(failures === 0 ? "channel: proven" : `channel: ${failures} failed`)
process.exit(failures === 0 ? 0 : 1)
