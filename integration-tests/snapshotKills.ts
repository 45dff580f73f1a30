/** Runs that are killed while a script takes snapshots, goes back to them and forks. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { goodRun, storeProblem, untilNothingRuns } from "./snapshotFaults.ts"
import { script, start, storeOf, vmtest } from "./snapshotPlace.ts"

/** What the script is busy with. */
export const methods = ["snapshot", "restore", "fork", "driver.fork"] as const
export type Method = (typeof methods)[number]

/** A test of two tiny machines, on a network and with a disk, that does nothing else, and writes down what it is at. */
const busyTest = (place: string, rounds: number): string =>
  script(
    place,
    "busy.ts",
    `import { appendFileSync } from "node:fs"
import { Effect } from "effect"
import { Image, test } from "vmtest"
const tiny = { image: Image.tiny(), memory: "128 MiB" }
const at = (what) => Effect.sync(() => appendFileSync("diary", Date.now() + " " + what + "\\n"))
const during = (what, effect) => Effect.andThen(at(what), Effect.tap(effect, at("else")))
export default test("busy", { machines: { a: { ...tiny, disks: ["8 MiB"] }, b: tiny } }, ({ a }, driver) => Effect.gen(function* () {
  for (let round = 0; round < ${rounds}; round++) {
    yield* during("snapshot", a.snapshot("here"))
    yield* during("restore", a.restore("here"))
    const fork = yield* during("fork", a.fork())
    yield* fork.crash()
    yield* during("driver.fork", driver.fork(({ b }) => b.succeed("ping -c 1 -w 20 a")))
  }
}))`
  )

interface Line {
  readonly time: number
  readonly what: string
}

const diary = (place: string): ReadonlyArray<Line> => {
  const path = join(place, "work", "diary")
  const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : []
  return lines.map((line) => {
    const [time, what = ""] = line.split(" ")
    return { time: Number(time), what }
  })
}

const forget = (place: string): void => rmSync(join(place, "work", "diary"), { force: true })

/** Runs the script to its end, which makes what the later runs fork, and gives how many milliseconds each method takes; or what went wrong. */
export const timesOf = (place: string): ReadonlyMap<string, number> | string => {
  forget(place)
  const { all, status } = vmtest(place, ["run", busyTest(place, 1)])
  if (status !== 0) return all
  const lines = diary(place)
  return new Map(lines.map(({ time, what }, index) => [what, (lines[index + 1]?.time ?? time) - time]))
}

/** What is left of runs that are over, in all the places that a run has for what is gone with it. */
const leftovers = (place: string): ReadonlyArray<string> => {
  const runs = [join(place, "run", "vmtest"), join(place, "tmp"), join(storeOf(place), "tmp")]
  // The locks of entries stay; those of a run are its own.
  const locks = readdirSync(join(storeOf(place), "locks")).filter((name) => !/^[0-9a-f]{16}-[0-9a-f]{16}\./.test(name))
  return [...runs.flatMap((folder) => (existsSync(folder) ? readdirSync(folder) : [])), ...locks]
}

/**
 * Kills a run with SIGKILL `after` milliseconds from when it begins with a method for the `time`th time. Gives what it was at, and what is
 * wrong afterwards: something that still runs, a store that is damaged, or something that is there even after the next run.
 */
export const killedWhile = async (
  place: string,
  method: Method,
  time: number,
  after: number
): Promise<{ readonly hit: string; readonly problem: string | undefined }> => {
  forget(place)
  const run = start(place, ["run", busyTest(place, 100)])
  let ended = false
  const end = new Promise<void>((resolve) =>
    run.once("exit", () => {
      ended = true
      resolve()
    })
  )
  const deadline = Date.now() + 120_000
  const begun = () => diary(place).filter(({ what }) => what === method).length >= time
  while (!begun() && !ended && Date.now() < deadline) await sleep(5)
  await Promise.race([sleep(after), end])
  const early = ended
  run.kill("SIGKILL")
  await end
  const hit = diary(place).at(-1)?.what ?? "start"
  const what = `${after.toFixed(0)} ms after ${method} began for the ${time}. time, at ${hit}`
  const wrong = early
    ? "it had ended"
    : ((await untilNothingRuns(place)) ?? (await storeProblem(place)) ?? goodRun(place) ?? undefined)
  const left = leftovers(place)
  const problem = wrong ?? (left.length > 0 ? `left after the next run: ${left.join(", ")}` : undefined)
  return { hit, problem: problem === undefined ? undefined : `${what}: ${problem}` }
}
