/**
 * How long it takes to read the screen of a guest, a frame at a time, and how soon a wait notices a text.
 *
 * Each frame is a full text screen that was never seen before. Exact reading is what text screens get; tesseract is what graphics get, on
 * the same frames. A run takes about three minutes; `--rounds=5` makes it shorter.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine } from "../src/machine/Machine.ts"
import type { ReadOptions } from "../src/screen/Screen.ts"
import { type Case, median, progress, report } from "./harness.ts"

const rounds = Number(/--rounds=(\d+)/.exec(process.argv.join(" "))?.[1] ?? 15)

const now = () => performance.now()

/** 24 lines of 60 to 79 characters, and a line of its own. */
const fill = (machine: Machine, line: string) =>
  machine.succeed(
    `printf '\\033c\\033[?25l' >/dev/tty1
for i in 1 2 3 4 5 6; do
  echo "$i: The quick brown fox jumps over the lazy dog, and the dog sleeps on: ${line}"
  echo "$i: loaded active running systemd-journald.service Journal Service ${line}"
  echo "$i: drwxr-xr-x 2 root root 4096 Nov 23 16:55 /usr/lib/x86_64-linux-gnu ${line}"
  echo "$i: inet 192.168.1.$i/24 brd 192.168.1.255 scope global eth1 ${line}"
done >/dev/tty1
printf '%s' '${line}' >/dev/tty1`
  )

const reading = Effect.fnUntraced(function* (machine: Machine, reader: ReadOptions["reader"] & string) {
  const times: Array<number> = []
  for (let round = 0; round < rounds; round++) {
    yield* fill(machine, `${reader} ${round}`)
    const started = now()
    yield* machine.getScreenText({ reader })
    times.push(now() - started)
  }
  return times
})

/** From the end of the command that writes the text to the end of the wait for it. */
const noticing = Effect.fnUntraced(function* (machine: Machine, reader: ReadOptions["reader"] & string) {
  const times: Array<number> = []
  for (let round = 0; round < rounds; round++) {
    yield* fill(machine, "nothing yet")
    const waiting = yield* Effect.forkChild(
      Effect.map(machine.waitForText(`Ready now ${round}`, { reader, timeout: "1 minute" }), now)
    )
    yield* Effect.sleep("500 millis")
    yield* machine.succeed(`printf '\\r\\nReady now ${round}\\r\\n' >/dev/tty1`)
    const written = now()
    times.push((yield* Fiber.join(waiting)) - written)
  }
  return times
})

const frame = (name: string, times: ReadonlyArray<number>): ReadonlyArray<Case> => [
  { case: `${name}, median`, value: median(times), unit: "ms" },
  { case: `${name}, slowest of ${rounds}`, value: Math.max(...times), unit: "ms", goal: { of: "value", atMost: 3000 } }
]

const measure = Effect.gen(function* () {
  const driver = yield* Driver
  const machine = yield* driver.machine("screen", { image: Image.tiny(), memory: "256 MiB" })
  yield* machine.start()
  progress("reading")
  const exact = yield* reading(machine, "auto")
  const tesseract = yield* reading(machine, "tesseract")
  progress("waiting")
  const noticed = yield* noticing(machine, "auto")
  const noticedByTesseract = yield* noticing(machine, "tesseract")
  return [
    ...frame("getScreenText of a text screen", exact),
    ...frame("getScreenText by tesseract", tesseract),
    ...frame("waitForText on a text screen", noticed),
    ...frame("waitForText by tesseract", noticedByTesseract)
  ]
})

const output = mkdtempSync(join(tmpdir(), "vmtest-bench-"))
const cases = await Effect.runPromise(Effect.provide(measure, DriverLayer.layer({ output })))
rmSync(output, { recursive: true, force: true })
process.exitCode = report("screen", cases) ? 0 : 1
