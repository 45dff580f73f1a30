/**
 * The long proof of the snapshot store, on real guests. Its parts, each of which `--only=` runs alone:
 *
 * - `faults`: 500 flips and cuts of a saved machine against the decision to load it, 10 of them to the end;
 * - `kills`: 100 runs that are killed while they make a snapshot or go on from one;
 * - `methods`: 40 that are killed while their script takes snapshots, goes back to them, and forks one machine or all.
 *
 * Exits with 1 when anything is not as it should be. `--quick` does a tenth of it; `--seed N` repeats a run.
 */
import { rmSync } from "node:fs"
import { diskToTheEnd, flips, flipToTheEnd, goodRun, killedRun } from "../../integration-tests/snapshotFaults.ts"
import { killedWhile, methods, timesOf } from "../../integration-tests/snapshotKills.ts"
import { makePlace, vmtest } from "../../integration-tests/snapshotPlace.ts"
import { randomOf } from "../../test/driver/storeSupport.ts"

const scale = process.argv.includes("--quick") ? 10 : 1
const only = process.argv.flatMap((arg) => (arg.startsWith("--only=") ? arg.slice("--only=".length).split(",") : []))
const given = process.argv.indexOf("--seed")
const seed = given === -1 ? Date.now() % 1_000_000 : Number(process.argv[given + 1])
const random = randomOf(seed)
const begun = performance.now()
const place = makePlace()
let failures = 0

const say = (ok: boolean, text: string): void => {
  if (!ok) failures++
  console.log(`${ok ? "ok  " : "FAIL"} ${text}`)
}

/** Does it so many times, and gives how often it said what was wrong. */
const count = async (times: number, body: (round: number) => Promise<string | undefined>): Promise<number> => {
  let wrong = 0
  for (let round = 0; round < times; round++) {
    const problem = await body(round)
    if (problem === undefined) continue
    wrong++
    console.log(problem)
  }
  return wrong
}

const timed = (): number => {
  const from = performance.now()
  const problem = goodRun(place)
  say(problem === undefined, `a run passes ${problem ?? ""}`)
  return performance.now() - from
}

const faults = async (): Promise<void> => {
  timed()
  const wrong = await flips(place, 500 / scale, random)
  say(wrong.length === 0, `${500 / scale} flips and cuts: ${wrong.length} used, or not warned of once`)
  for (const one of wrong) console.log(one)
  const toTheEnd = 10 / Math.min(scale, 5)
  const spoiled = await count(toTheEnd, async () => flipToTheEnd(place, random))
  say(spoiled === 0, `${toTheEnd} to the end: ${spoiled} without a warning, a boot and a pass`)
  const disks = await count(toTheEnd, (round) => diskToTheEnd(place, round % 2 === 0, random))
  say(
    disks === 0,
    `${toTheEnd} to the end with a disk and a warm-up, half of them whole but not to be loaded: ${disks} wrong`
  )
}

const kills = async (): Promise<void> => {
  vmtest(place, ["snapshot", "prune", "--all"])
  const [coldTime, warmTime] = [timed(), timed()]
  let snapshots = 0
  const bad = await count(100 / scale, async (round) => {
    const empty = round % 2 === 0
    const problem = await killedRun(place, empty, Math.floor(random() * (empty ? coldTime : warmTime)))
    const listed: ReadonlyArray<unknown> = JSON.parse(vmtest(place, ["snapshot", "list", "--json"]).stdout)
    snapshots += listed.length
    // A run after the kill makes what was not stored, and forks what was; the store is full for the next round.
    const again = listed.length === 0 || round % 10 === 9 ? goodRun(place) : undefined
    return problem ?? again
  })
  say(
    bad === 0,
    `${100 / scale} runs killed at random, ${snapshots} of them with a snapshot left: ${bad} with something wrong`
  )
}

const killsOfMethods = async (): Promise<void> => {
  timed()
  const times = timesOf(place)
  if (typeof times === "string") return say(false, times)
  const hits = new Map<string, number>()
  const bad = await count(40 / scale, async (round) => {
    const method = methods[round % methods.length] ?? "fork"
    const after = random() * (times.get(method) ?? 1000)
    const { hit, problem } = await killedWhile(place, method, 1 + Math.floor(random() * 2), after)
    hits.set(hit, (hits.get(hit) ?? 0) + 1)
    return problem
  })
  const spread = [...hits].map(([what, often]) => `${what} ${often}`).join(", ")
  say(bad === 0, `${40 / scale} runs killed in methods (${spread}): ${bad} with something wrong`)
}

const parts = { faults, kills, methods: killsOfMethods }
console.log(`seed ${seed}`)
for (const [name, part] of Object.entries(parts)) if (only.length === 0 || only.includes(name)) await part()
timed()
rmSync(place, { recursive: true, force: true })
console.log(`${((performance.now() - begun) / 1000).toFixed(0)} s`)
console.log(failures === 0 ? "store: proven" : `store: ${failures} failed`)
process.exitCode = failures === 0 ? 0 : 1
