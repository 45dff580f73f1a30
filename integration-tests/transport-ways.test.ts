import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { ImageStore } from "../src/images/ImageStore.ts"
import type { ShellService } from "../src/transport/Shell.ts"
import { type Awkward, awkward } from "./transport/awkward.ts"
import { type Amount, inward, outward } from "./transport/lossless.ts"
import { has, overConsole, overVsock, vsockDevice } from "./transport/reach.ts"

const MiB = 1024 * 1024

/** What is asked of every way: awkward commands, and bytes both ways, whole. `npm run proof -- channel` moves more. */
const carries = Effect.fnUntraced(function* (shell: ShellService, commands: ReadonlyArray<Awkward>, amount: Amount) {
  for (const { command, exitCode, name, options } of commands) {
    const got = yield* shell.execute(command, { timeout: "60 seconds", ...options })
    if (typeof exitCode === "number") assert.strictEqual(got.exitCode, exitCode, `${name}: ${got.stderr}`)
  }
  for (const passages of [yield* outward(shell, amount), yield* inward(shell, amount)]) {
    for (const { guest, host, what } of passages) assert.strictEqual(host, guest, what)
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

describe("commands reach a guest", () => {
  it.live("over vsock", ({ skip }) => {
    skip(!has(vsockDevice), `${vsockDevice} is not on the PATH: cargo install ${vsockDevice}`)
    return overVsock.pipe(
      Effect.flatMap((shell) => carries(shell, some, fast)),
      Effect.provide(ImageStore.layer)
    )
  })

  it.live("over the stock backdoor of a NixOS guest, with lanes on virtio ports", () =>
    overConsole("ports").pipe(
      Effect.flatMap((shell) => carries(shell, some, fast)),
      Effect.provide(ImageStore.layer)
    )
  )

  it.live(
    "over nothing but a virtconsole, slowly and whole",
    () =>
      overConsole("console").pipe(
        Effect.flatMap((shell) =>
          carries(
            shell,
            awkward.filter(({ name }) => few.includes(name)),
            slow
          )
        ),
        Effect.provide(ImageStore.layer)
      ),
    900_000
  )
})
