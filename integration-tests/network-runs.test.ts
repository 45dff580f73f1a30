import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))

let place = ""
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), "vmtest-runs-"))
})
afterEach(() => rmSync(place, { recursive: true, force: true }))

/** A run that is ready when it has written a file, and waits for that of the other one before it looks around. */
const script = (name: string, other: string, machines: string, body: string) => `import * as Fs from "node:fs"
import { Effect } from "effect"
import { Image, test } from "vmtest"
const machine = { image: Image.tiny(), memory: "128 MiB" } as const
const meet = (step: string) =>
  Effect.sync(() => Fs.writeFileSync(${JSON.stringify(place)} + "/${name}-" + step, "")).pipe(
    Effect.andThen(
      Effect.repeat(
        Effect.delay(Effect.sync(() => Fs.existsSync(${JSON.stringify(place)} + "/${other}-" + step)), "50 millis"),
        { until: (there) => there }
      )
    )
  )
export default test("${name}", { machines: { ${machines} } }, ({ a, b }) =>
  Effect.gen(function* () {
    yield* a.succeed("(while true; do echo ${name} | nc -l -p 7000; done) </dev/null >/dev/null 2>&1 &")
    yield* a.waitForOpenPort(7000)
    yield* meet("begins")
    for (let time = 0; time < 5; time += 1) {
      yield* b.waitUntilSucceeds("[ \\"$(nc -w 5 192.168.1.1 7000 </dev/null)\\" = ${name} ]", { timeout: "20 seconds" })
    }
${body}
    yield* meet("ends")
  })
)
`

const ended = (child: ChildProcess) => {
  let said = ""
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk: Buffer) => (said += chunk.toString()))
  return new Promise<readonly [code: number | null, said: string]>((resolve) =>
    child.on("close", (code) => resolve([code, said]))
  )
}

const environment = { ...process.env, NO_COLOR: "1" }

describe("two runs at the same time", () => {
  it("never meet, with the same VLANs, names and addresses", async () => {
    // Only the one has a third machine.
    writeFileSync(
      join(place, "one.ts"),
      script(
        "one",
        "two",
        "a: machine, b: machine, c: machine",
        '    yield* b.succeed("ping -c 5 -i 0.2 -W 10 192.168.1.3")'
      )
    )
    writeFileSync(
      join(place, "two.ts"),
      script("two", "one", "a: machine, b: machine", '    yield* b.fail("ping -c 5 -i 0.2 -W 1 192.168.1.3")')
    )
    const runs = ["one", "two"].map((name) => {
      mkdirSync(join(place, name))
      return ended(
        spawn(process.execPath, [launcher, "run", `../${name}.ts`], { cwd: join(place, name), env: environment })
      )
    })
    for (const [code, said] of await Promise.all(runs)) assert.strictEqual(code, 0, said)
  })
})

describe("vmtest resume", () => {
  it("continues with the connections between machines", () => {
    writeFileSync(
      join(place, "fails.ts"),
      `import { Effect } from "effect"
import { Image, test } from "vmtest"
const machine = { image: Image.tiny(), memory: "128 MiB" } as const
export default test("fails", { machines: { a: machine, b: machine } }, ({ a, b }) =>
  Effect.gen(function* () {
    yield* b.succeed("nc -ll -p 7 -e cat </dev/null >/dev/null 2>&1 &")
    yield* b.waitForOpenPort(7)
    yield* a.succeed("mkfifo /tmp/in; (nc b 7 </tmp/in >/tmp/out 2>&1 &) ; (sleep 100000 >/tmp/in &)")
    yield* a.succeed("echo before >/tmp/in; until grep -q before /tmp/out; do sleep 0.1; done")
    yield* b.link().impair({ loss: 1 })
    yield* a.fail("true")
  })
)
`
    )
    const vmtest = (args: ReadonlyArray<string>, input = "") =>
      spawnSync(process.execPath, [launcher, ...args], { cwd: place, encoding: "utf8", env: environment, input })
    const run = vmtest(["run", "--snapshot-on-failure", "fails.ts"])
    assert.strictEqual(run.status, 1, run.stdout + run.stderr)
    // The impairment was the test's.
    const resumed = vmtest(
      ["resume", "vmtest-output/fails"],
      'a.succeed("echo after >/tmp/in; until grep -q after /tmp/out; do sleep 0.1; done; cat /tmp/out")\n'
    )
    assert.strictEqual(resumed.status, 0, resumed.stdout + resumed.stderr)
    assert.include(resumed.stdout, "before\\nafter\\n")
  })
})

describe("a switch that crashes over and over", () => {
  it("fails the test with the reason", () => {
    writeFileSync(
      join(place, "crashes.ts"),
      `import { Effect } from "effect"
import { Image, test } from "vmtest"
import { ExitReason, Observer, Process } from "vmtest/actors"
const machine = { image: Image.tiny(), memory: "128 MiB" } as const
const crash = Effect.gen(function* () {
  const { processes } = yield* Observer.snapshot
  const found = processes.find(({ label }) => label === "switch")
  if (found !== undefined) yield* Process.exit(found.pid, ExitReason.custom("boom"))
})
export default test("crashes", { machines: { a: machine, b: machine } }, ({ a }) =>
  Effect.gen(function* () {
    yield* a.succeed("ping -c 1 -w 10 b")
    yield* Effect.forkChild(Effect.forever(Effect.andThen(crash, Effect.sleep("100 millis"))))
    yield* a.waitUntilFails("ping -c 1 -W 1 b", { timeout: "1 minute" })
  })
)
`
    )
    const { status, stderr, stdout } = spawnSync(process.execPath, [launcher, "run", "crashes.ts"], {
      ...{ cwd: place, encoding: "utf8", env: environment }
    })
    assert.strictEqual(status, 1, stdout + stderr)
    assert.include(stdout, "VlanFailed: VLAN 1: its switch kept crashing")
  })
})
