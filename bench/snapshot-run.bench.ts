/**
 * A suite of 20 tests, each on a fresh Debian machine of its own, as `vmtest run` does it the second time; the baseline is what 20 cold
 * boots take, by the median of a few. `--quick` has 5 tests, and the goal in proportion.
 *
 * The time of the first test of a first run, which boots and keeps what booted, is told as well.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { median, progress, report, wallTime } from "./harness.ts"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))
const quick = process.argv.includes("--quick")
const tests = quick ? 5 : 20
const goal = (30_000 * tests) / 20

const folder = mkdtempSync(join(tmpdir(), "vmtest-bench-"))
const script = (count: number) => {
  const path = join(folder, `${count}.ts`)
  writeFileSync(
    path,
    `import { Image, test } from "vmtest"
const machines = { machine: { image: Image.debian({}), memory: "512 MiB" } }
export default Array.from({ length: ${count} }, (_, index) =>
  test("test " + index, { machines }, ({ machine }) => machine.succeed("systemctl is-active dbus.service", "touch /fresh")))
`
  )
  return path
}

const run = (count: number, ...flags: ReadonlyArray<string>) => {
  const time = wallTime(process.execPath, [launcher, "run", ...flags, script(count)], {
    XDG_RUNTIME_DIR: folder,
    NO_COLOR: "1"
  })
  progress(`${count} ${count === 1 ? "test" : "tests"} ${flags.join(" ")}: ${(time / 1000).toFixed(1)} s`)
  return time
}

run(1)
const cold = median(Array.from({ length: quick ? 1 : 3 }, () => run(1, "--no-snapshot")))
const second = run(tests, "-j", "1")
const parallel = run(tests, "-j", "2")
rmSync(folder, { recursive: true, force: true })

const met = report("snapshot-run", [
  {
    case: `${tests} tests, a fresh Debian machine each, second run`,
    value: second,
    unit: "ms",
    baseline: cold * tests
  },
  {
    case: "the same, two at a time, for two processors",
    value: parallel,
    unit: "ms",
    baseline: cold * tests,
    goal: { of: "value", atMost: goal }
  }
])
process.exitCode = met ? 0 : 1
