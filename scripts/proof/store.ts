/**
 * The long proof of the snapshot store, on real guests: 500 flips and cuts of a saved machine against the decision to load it, 10 of them
 * to the end, and 100 runs that are killed while they make a snapshot or go on from one. Exits with 1 when anything is not as it should be.
 * `--quick` does a tenth of it; `--seed N` repeats a run.
 */
import { rmSync } from "node:fs"
import { diskToTheEnd, flips, flipToTheEnd, goodRun, killedRun } from "../../integration-tests/snapshotFaults.ts"
import { makePlace, vmtest } from "../../integration-tests/snapshotPlace.ts"
import { randomOf } from "../../test/driver/storeSupport.ts"

const scale = process.argv.includes("--quick") ? 10 : 1
const given = process.argv.indexOf("--seed")
const seed = given === -1 ? Date.now() % 1_000_000 : Number(process.argv[given + 1])
const random = randomOf(seed)
let failures = 0

const say = (ok: boolean, text: string): void => {
  if (!ok) failures++
  console.log(`${ok ? "ok  " : "FAIL"} ${text}`)
}

const place = makePlace()
console.log(`seed ${seed}`)
const begun = performance.now()
const cold = performance.now()
const first = goodRun(place)
const coldTime = performance.now() - cold
say(first === undefined, `a first run makes a snapshot ${first ?? ""}`)
const warm = performance.now()
goodRun(place)
const warmTime = performance.now() - warm

const wrong = await flips(place, 500 / scale, random)
say(wrong.length === 0, `${500 / scale} flips and cuts: ${wrong.length} used, or not warned of once`)
for (const one of wrong) console.log(one)

let spoiled = 0
for (let round = 0; round < 10 / Math.min(scale, 5); round++) {
  const problem = flipToTheEnd(place, random)
  if (problem !== undefined) console.log(problem)
  spoiled += problem === undefined ? 0 : 1
}
say(spoiled === 0, `${10 / Math.min(scale, 5)} to the end: ${spoiled} without a warning, a boot and a pass`)

let wrongDisks = 0
const disks = 10 / Math.min(scale, 5)
for (let round = 0; round < disks; round++) {
  const problem = await diskToTheEnd(place, round % 2 === 0, random)
  if (problem !== undefined) console.log(problem)
  wrongDisks += problem === undefined ? 0 : 1
}
say(
  wrongDisks === 0,
  `${disks} to the end with a disk and a warm-up, half of them whole but of no use: ${wrongDisks} wrong`
)

let bad = 0
let snapshots = 0
const kills = 100 / scale
for (let round = 0; round < kills; round++) {
  const empty = round % 2 === 0
  const problem = await killedRun(place, empty, Math.floor(random() * (empty ? coldTime : warmTime)))
  if (problem !== undefined) {
    bad++
    console.log(problem)
  }
  const listed: ReadonlyArray<unknown> = JSON.parse(vmtest(place, ["snapshot", "list", "--json"]).stdout)
  snapshots += listed.length
  // A run after the kill makes what was not stored, and forks what was; the store is full for the next round.
  const again = listed.length === 0 || round % 10 === 9 ? goodRun(place) : undefined
  if (again !== undefined) {
    bad++
    console.log(again)
  }
}
say(bad === 0, `${kills} runs killed at random, ${snapshots} of them with a snapshot left: ${bad} with something wrong`)
const last = goodRun(place)
say(last === undefined, `a last run passes ${last ?? ""}`)
rmSync(place, { recursive: true, force: true })
console.log(`${((performance.now() - begun) / 1000).toFixed(0)} s`)
console.log(failures === 0 ? "store: proven" : `store: ${failures} failed`)
process.exitCode = failures === 0 ? 0 : 1
