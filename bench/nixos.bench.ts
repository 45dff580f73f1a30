/**
 * What a Python script costs: a call, beside the same call in TypeScript; its interpreter's start; and a command, beside the bytes that the NixOS test
 * driver sends for it, in one guest.
 *
 * Calls are measured on the mock backend, whose guests answer at once, so that the guest's time is no part of them. `--mock` leaves out the guest.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { Backend } from "../src/backends/Backend.ts"
import * as Mock from "../src/backends/mock/Mock.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Failure from "../src/driver/Failure.ts"
import { Reporter, type RunEvent } from "../src/driver/RunEvent.ts"
import * as Runner from "../src/driver/Runner.ts"
import { type TestCase, test } from "../src/driver/TestCase.ts"
import * as RunDirectory from "../src/host/RunDirectory.ts"
import type { BootImage } from "../src/images/BootImage.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import type { Machine } from "../src/machine/Machine.ts"
import { python } from "../src/python/Python.ts"
import { type Case, median, progress, report } from "./harness.ts"

const calls = 2000
const guestCalls = 60

const now = () => performance.timeOrigin + performance.now()

const output = mkdtempSync(join(tmpdir(), "vmtest-bench-"))
process.on("exit", () => rmSync(output, { recursive: true, force: true }))

/** Runs tests; gives the lines that they log, and when each test began, in milliseconds. */
const run = Effect.fnUntraced(function* (tests: ReadonlyArray<TestCase>) {
  const lines: Array<string> = []
  const begun: Array<number> = []
  const hear = (event: RunEvent) =>
    Effect.sync(() => {
      if (event._tag === "TestStarted") begun.push(now())
      if (event._tag === "Log") lines.push(event.line)
    })
  const results = yield* Runner.run(tests, { output, snapshots: false }).pipe(Effect.provideService(Reporter, hear))
  for (const { failure } of results) if (failure !== undefined) throw new Error(Failure.render(failure))
  return { lines, begun }
})

const times = (lines: ReadonlyArray<string>, name: string): ReadonlyArray<number> =>
  lines.filter((line) => line.startsWith(`${name} `)).map((line) => Number(line.slice(name.length + 1)))

/** The median time of a call in TypeScript, in milliseconds. */
const timed = Effect.fnUntraced(function* (call: Effect.Effect<unknown, unknown>, count: number) {
  const taken: Array<number> = []
  for (let i = 0; i < count; i++) {
    const before = performance.now()
    yield* call
    taken.push(performance.now() - before)
  }
  return median(taken)
})

/** The same in Python. */
const inPython = (name: string, call: string, count: number) => `
import time
taken = []
for _ in range(${count}):
    before = time.perf_counter()
    ${call}
    taken.append(time.perf_counter() - before)
print("${name}", sorted(taken)[len(taken) // 2] * 1000)
`

const bootImage: BootImage = {
  ...{ digest: "0", kernel: "/dev/null", initrd: "/dev/null", cmdline: "", root: undefined },
  ...{ guest: "tiny", builtAt: 0 }
}

const unused = Effect.die("not in this store")

const mocked = Effect.gen(function* () {
  progress("calls on the mock")
  const mock = yield* Mock.make({})
  const machines = { web: { image: Image.tiny(), vlans: [] } }
  const first = Array.from({ length: 7 }, (_, index) =>
    python(`first ${index}`, { machines: {} }, "import time\nprint('first', time.time() * 1000)\n")
  )
  const inTypeScript = test("calls", { machines }, ({ web }, driver) =>
    Effect.gen(function* () {
      yield* timed(web.succeed("true"), calls)
      yield* driver.log(`typescript ${yield* timed(web.succeed("true"), calls)}`)
    })
  )
  const script = inPython("python", 'web.succeed("true")', calls)
  const { begun, lines } = yield* run([inTypeScript, python("calls", { machines }, script), ...first]).pipe(
    Effect.provideService(Backend, mock.backend),
    Effect.provideService(RunDirectory.RunDirectory, yield* RunDirectory.make()),
    Effect.provideService(
      ImageStore,
      ImageStore.of({ resolve: () => Effect.succeed(bootImage), list: unused, prune: () => unused })
    )
  )
  const ready = times(lines, "first").map((at, index) => at - (begun[index + 2] ?? 0))
  return [
    {
      case: "a call from Python, beside TypeScript",
      value: median(times(lines, "python")),
      baseline: median(times(lines, "typescript")),
      unit: "ms",
      goal: { of: "difference", atMost: 0.3 }
    },
    { case: "the script's first line", value: median(ready), unit: "ms", goal: { of: "value", atMost: 500 } }
  ] satisfies ReadonlyArray<Case>
}).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

/** The median time of one command as the NixOS driver sends it to a root shell, in milliseconds. */
const asThere = Effect.fnUntraced(function* (machine: Machine, count: number) {
  const shell = yield* machine.spawn("exec bash --norc", { timeout: Infinity })
  const lines = yield* Queue.unbounded<string>()
  yield* shell.stdout.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((line) => Queue.offer(lines, line)),
    Effect.forkScoped
  )
  const command = Effect.gen(function* () {
    yield* shell.write("timeout 900 bash -c 'set -euo pipefail; true' | (base64 -w 0; echo)\n")
    yield* Queue.take(lines)
    yield* shell.write("echo ${PIPESTATUS[0]}\n")
    yield* Queue.take(lines)
  })
  return yield* timed(command, count)
}, Effect.scoped)

const onGuest = Effect.gen(function* () {
  progress("commands on a Debian guest")
  const machines = { web: { image: Image.debian(), memory: "512 MiB" as const } }
  const measured = test("there", { machines }, ({ web }, driver) =>
    Effect.gen(function* () {
      yield* timed(web.succeed("true"), 10)
      yield* driver.log(`typescript ${yield* timed(web.succeed("true"), guestCalls)}`)
      yield* driver.log(`there ${yield* asThere(web, guestCalls)}`)
    })
  )
  const script = `web.wait_for_unit("multi-user.target")
web.succeed(*["true"] * 10)
${inPython("python", 'web.succeed("true")', guestCalls)}`
  const { lines } = yield* run([measured, python("here", { machines }, script)])
  return [
    {
      case: 'succeed("true") from Python, beside the NixOS driver\'s bytes',
      value: median(times(lines, "python")),
      baseline: median(times(lines, "there")),
      unit: "ms",
      goal: { of: "ratio", atMost: 1 / 8 }
    },
    {
      case: 'succeed("true") from Python, beside TypeScript',
      value: median(times(lines, "python")),
      baseline: median(times(lines, "typescript")),
      unit: "ms"
    }
  ] satisfies ReadonlyArray<Case>
}).pipe(Effect.provide(DriverLayer.host))

const cases: ReadonlyArray<Case> = process.argv.includes("--mock")
  ? await Effect.runPromise(mocked)
  : [...(await Effect.runPromise(mocked)), ...(await Effect.runPromise(onGuest))]
process.exitCode = report("nixos", cases) ? 0 : 1
