import { assert, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ImageStore } from "../src/images/ImageStore.ts"
import { Shell } from "../src/transport/Shell.ts"
import { type Awkward, awkward } from "./transport/awkward.ts"
import { cancel, endless } from "./transport/cancelled.ts"
import { type Amount, inward, outward } from "./transport/lossless.ts"
import { has, overConsole, overConsoleWithPorts, overVsock, vsockDevice } from "./transport/reach.ts"

const MiB = 1024 * 1024

/** Awkward commands, and bytes both ways, whole. `npm run proof -- channel` moves more. */
const carries = Effect.fnUntraced(function* (commands: ReadonlyArray<Awkward>, amount: Amount) {
  const shell = yield* Shell
  for (const { command, exitCode, name, options } of commands) {
    const got = yield* shell.execute(command, { timeout: "60 seconds", ...options })
    if (typeof exitCode === "number") assert.strictEqual(got.exitCode, exitCode, `${name}: ${got.stderr}`)
  }
  for (const passages of [yield* outward(shell, amount), yield* inward(shell, amount)]) {
    for (const { guest, host, what } of passages) assert.strictEqual(host, guest, what)
  }
})

/** Whatever a command does, its fiber can be interrupted: then nothing of it is left, and the next one runs. */
const cancels = Effect.gen(function* () {
  const shell = yield* Shell
  for (const command of Object.values(endless)) {
    yield* cancel(shell, command)
    const next = yield* shell.execute("echo next; exit 7", { timeout: "60 seconds" })
    assert.deepStrictEqual(next, { exitCode: 7, stdout: "next\n", stderr: "" })
  }
})

const fast = { out: 32 * MiB, in: 8 * MiB, single: 10_000 }
/** Of every three awkward commands one: all of them go over virtio ports in another test. */
const some = awkward.filter((_, i) => i % 3 === 0)

/** A console carries a command in many steps, each with processes of its own. */
const slow = { out: MiB / 4, in: MiB / 16, single: 10 }
const few = [
  "both streams apart",
  "errexit",
  "NUL bytes",
  "printing framing",
  "a background child that keeps the output"
]

/** What is asked of every way to a guest. */
const ways = [
  { way: "vsock", shell: overVsock, commands: some, amount: fast, missing: vsockDevice },
  {
    way: "the stock backdoor of a NixOS guest, with lanes on virtio ports",
    shell: overConsoleWithPorts,
    commands: some,
    amount: fast
  },
  {
    way: "nothing but a virtconsole, slowly",
    shell: overConsole,
    commands: awkward.filter(({ name }) => few.includes(name)),
    amount: slow
  }
]

for (const { amount, commands, missing, shell, way } of ways) {
  const name = `commands over ${way}`
  if (missing !== undefined && !has(missing)) {
    it(name, ({ skip }) => skip(`${missing} is not on the PATH: cargo install ${missing}`))
    continue
  }
  layer(Layer.provide(shell, ImageStore.layer), { excludeTestServices: true, timeout: "10 minutes" })(name, (it) => {
    it.effect("arrive whole, and so do their answers", () => carries(commands, amount), 900_000)

    it.effect("end in the guest when they are cancelled", () => cancels, 900_000)
  })
}
