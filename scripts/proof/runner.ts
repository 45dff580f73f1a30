/**
 * The long proof of the runner, on real tiny guests. Its parts, each of which `--only=` runs alone:
 *
 * - `signals`: 50 runs that get SIGINT, SIGTERM or SIGHUP at a random moment, and leave nothing;
 * - `two`: two runs at the same time with one cache that has no snapshot yet;
 * - `full`: an output folder that fills up while a test fails, and readers that leave.
 *
 * Exits with 1 when anything is not as it should be. `--quick` does a tenth of the signals; `--seed N` repeats a run.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import {
  installed,
  makePlace,
  processes,
  script,
  start,
  storeOf,
  vmtest
} from "../../integration-tests/snapshotPlace.ts"
import { randomOf } from "../../test/driver/storeSupport.ts"

const only = process.argv.flatMap((arg) => (arg.startsWith("--only=") ? arg.slice("--only=".length).split(",") : []))
const given = process.argv.indexOf("--seed")
const seed = given === -1 ? Date.now() % 1_000_000 : Number(process.argv[given + 1])
const random = randomOf(seed)
const place = makePlace()
let failures = 0

const say = (ok: boolean, text: string): void => {
  if (!ok) failures++
  console.log(`${ok ? "ok  " : "FAIL"} ${text}`)
}

const tests = script(
  place,
  "tests.vmtest.ts",
  `import { Effect } from "effect"
import { Image, suite, test } from "vmtest"
const machines = { a: { image: Image.tiny(), memory: "128 MiB" } }
export default [
  test("alone", { machines }, ({ a }) => a.succeed("echo hello")),
  test("copies", { machines }, ({ a }) => Effect.andThen(a.succeed("echo 1 > /file"), a.copyFromMachine("/file"))),
  ...suite("shared", { machines }, (test) => {
    test("one", ({ a }) => a.succeed("true"))
    test("fails", ({ a }) => a.succeed("false"))
  })
]
`
)

/** What is left of runs that are over, where a run has what goes with it. */
const leftovers = (): ReadonlyArray<string> =>
  [join(place, "run", "vmtest"), join(place, "tmp"), join(storeOf(place), "tmp")].flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder) : []
  )

/** What still runs after some time. */
const running = async (): Promise<ReadonlyArray<string>> => {
  for (let tries = 0; tries < 50 && processes(place).length > 0; tries++) await sleep(100)
  return processes(place)
}

/** Interrupts a run after some milliseconds, and gives what is wrong then. */
const interrupted = async (signal: NodeJS.Signals, after: number): Promise<string | undefined> => {
  const child = start(place, ["run", "-q", "--retries", "1", tests], installed)
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.on("exit", (code, by) => resolve(code ?? by))
  )
  await sleep(after)
  child.kill(signal)
  const late = sleep(30_000).then(() => "late" as const)
  const how = await Promise.race([ended, late])
  // 1: it had ended by itself, with the test that fails. The signal's name: Node had not read a line of vmtest yet.
  const isExpected = how === 130 || how === 1 || (how === signal && after < 1000)
  const [left, files] = [await running(), leftovers()]
  if (how === "late") child.kill("SIGKILL")
  if (isExpected && left.length === 0 && files.length === 0) return undefined
  return `${signal} after ${after} ms: ended with ${how}; runs: ${left.join(", ")}; files: ${files.join(", ")}`
}

const signals = async (): Promise<void> => {
  const began = performance.now()
  const first = await new Promise((resolve) => start(place, ["run", "-q", tests], installed).on("exit", resolve))
  const whole = performance.now() - began
  say(first === 1, `a run ends by itself, with the test that fails, in ${Math.round(whole)} ms`)
  const times = process.argv.includes("--quick") ? 5 : 50
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const
  let wrong = 0
  for (let round = 0; round < times; round++) {
    const problem = await interrupted(names[round % 3] ?? "SIGINT", Math.floor(random() * whole))
    if (problem === undefined) continue
    wrong++
    console.log(problem)
  }
  say(
    wrong === 0,
    `${times} runs interrupted at random moments (seed ${seed}): ${wrong} left something or ended in another way`
  )
  const after = vmtest(place, ["run", "-q", tests])
  say(after.status === 1 && /3 passed, 1 failed/.test(after.stdout), "the next run is as the first")
}

const two = async (): Promise<void> => {
  rmSync(storeOf(place), { recursive: true, force: true })
  const both = [0, 1].map((number) => {
    const child = start(place, ["run", "-q", "-o", `out${number}`, tests])
    return new Promise<number | null>((resolve) => child.on("exit", resolve))
  })
  const codes = await Promise.all(both)
  say(
    codes.every((code) => code === 1),
    `two runs with one empty store end with ${codes.join(" and ")}`
  )
  const list = vmtest(place, ["snapshot", "list", "--json"])
  say(list.status === 0 && JSON.parse(list.stdout).length === 1, "and have stored one snapshot for both")
  const same = [0, 1].map(() => {
    const child = start(place, ["run", "-q", tests])
    return new Promise<number | null>((resolve) => child.on("exit", resolve))
  })
  say(
    (await Promise.all(same)).every((code) => code === 1),
    "two runs with one output folder end as one does"
  )
  const [left, files] = [await running(), leftovers()]
  say(left.length === 0 && files.length === 0, `nothing is left: ${[...left, ...files].join(", ")}`)
}

const full = async (): Promise<void> => {
  const folder = join(place, "work", "small")
  mkdirSync(folder)
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=16k", "tmpfs", folder]).status === 0
  if (!mounted) console.log("skip an output folder that fills up: no right to mount one")
  else {
    const { all, status } = vmtest(place, ["run", "-o", "small", tests])
    spawnSync("umount", [folder])
    say(
      status === 1 && /No space left|ENOSPC|no space|full/i.test(all),
      `an output folder that fills up: exit code ${status}, and a clear error`
    )
    if (status !== 1) console.log(all)
  }
  for (const reader of ["head -n 1", "true"]) {
    const words = [
      "-c",
      `set -o pipefail; "$0" src/cli/Launcher.ts run ${join(place, "work", tests)} 2>&1 | ${reader} > /dev/null`
    ]
    const { status } = spawnSync("bash", [...words, process.execPath], {
      env: { ...process.env, XDG_RUNTIME_DIR: join(place, "run") },
      timeout: 120_000
    })
    say(status === 1, `a reader that leaves (${reader}): exit code ${status}, that of the tests`)
  }
  const [left, files] = [await running(), leftovers()]
  say(left.length === 0 && files.length === 0, `nothing is left: ${[...left, ...files].join(", ")}`)
}

const parts = { signals, two, full }
for (const [name, part] of Object.entries(parts)) if (only.length === 0 || only.includes(name)) await part()
rmSync(place, { recursive: true, force: true })
process.exitCode = failures === 0 ? 0 : 1
