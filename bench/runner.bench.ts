/**
 * What the runner itself costs: the time from the start of the command to the first machine that is spawned, beside a Node that spawns QEMU and nothing
 * else; and a suite of 30 tests on warm forks of a tiny machine, beside the sum of the tests' own times, shared out to the tests that run at once.
 *
 * `--quick` has 8 tests.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { median, progress, report, wallTime } from "./harness.ts"

const vmtest = fileURLToPath(new URL("../bin/vmtest.js", import.meta.url))
const quick = process.argv.includes("--quick")
const count = quick ? 8 : 30
const jobs = 2
const folder = mkdtempSync(join(tmpdir(), "vmtest-bench-"))
const script = (name: string, tests: number) => {
  writeFileSync(
    join(folder, name),
    `import { Image, test } from "vmtest"
const machines = { machine: { image: Image.tiny(), memory: "128 MiB" } }
export default test.each(Array.from({ length: ${tests} }, (_, index) => index))("test %s", { machines }, (_, { machine }) =>
  machine.succeed("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done"))
`
  )
  return join(folder, name)
}

/** Whether a process, or one that it has started, is a QEMU. */
const hasQemu = (pid: number): boolean => {
  try {
    if (readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("qemu-system")) return true
    return readdirSync(`/proc/${pid}/task`).some((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "utf8")
        .split(" ")
        .some((child) => child !== "" && hasQemu(Number(child)))
    )
  } catch {
    // It has just ended.
    return false
  }
}

/** Milliseconds of processor time that a process and the children that it has waited for have used: fields 14 to 17 of its stat, in ticks of 10 ms. */
const processorTime = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ")
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) * 10, 0)
}

interface Start {
  readonly wall: number
  readonly processor: number
}

/** The time until a command has started QEMU. */
const untilQemu = async (command: string, args: ReadonlyArray<string>): Promise<Start> => {
  const began = performance.now()
  const child = spawn(command, args, { cwd: folder, stdio: "ignore", env })
  const ended = new Promise((resolve) => child.on("exit", resolve))
  while (!hasQemu(child.pid ?? 0) && child.exitCode === null) await sleep(3)
  const took = { wall: performance.now() - began, processor: processorTime(child.pid ?? 0) }
  if (child.exitCode !== null) throw new Error("no QEMU was started")
  child.kill("SIGTERM")
  await ended
  return took
}

/** The command is started by its first line, as npx does; the Node is this one. */
const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` }
const one = script("one.vmtest.ts", 1)
const many = script("many.vmtest.ts", count)
const bare = `const qemu = require("node:child_process").spawn("qemu-system-x86_64", ["-machine", "none", "-display", "none", "-S"])
process.on("SIGTERM", () => { qemu.kill(); process.exit() })`
const run = (...args: ReadonlyArray<string>) =>
  wallTime(process.execPath, [vmtest, "run", "-q", "-o", join(folder, "out"), ...args], { NO_COLOR: "1" })
run(one)
const rounds = quick ? 3 : 9
const starts: Array<Start> = []
const baselines: Array<Start> = []
for (let round = 0; round < rounds; round++) {
  starts.push(await untilQemu(vmtest, ["run", one]))
  baselines.push(await untilQemu(process.execPath, ["-e", bare]))
}
progress(`starts: ${starts.map(({ wall }) => wall.toFixed(0)).join(", ")} ms`)
const durations = join(folder, "durations.json")
const wall = run("-j", `${jobs}`, "--durations", durations, many)
const own: Readonly<Record<string, number>> = JSON.parse(readFileSync(durations, "utf8")).milliseconds
const sum = Object.values(own).reduce((all, millis) => all + millis, 0)
rmSync(folder, { recursive: true, force: true })

const met = report("runner", [
  {
    case: "from the start of vmtest run to its first QEMU",
    value: median(starts.map(({ wall }) => wall)),
    unit: "ms",
    baseline: median(baselines.map(({ wall }) => wall)),
    goal: { of: "value", atMost: 600 }
  },
  {
    case: "the processor time of vmtest until then",
    value: median(starts.map(({ processor }) => processor)),
    unit: "ms",
    baseline: median(baselines.map(({ processor }) => processor))
  },
  {
    case: `${count} tests on warm forks, ${jobs} at a time, beside the sum of their own times / ${jobs}`,
    value: wall,
    unit: "ms",
    baseline: sum / jobs,
    goal: { of: "ratio", atMost: 2 }
  }
])
process.exitCode = met ? 0 : 1
