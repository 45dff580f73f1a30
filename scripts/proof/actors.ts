/**
 * The long proofs of the actor runtime: the soak at full size, and 20,000 random scenarios against real OTP for each of two
 * seeds. Exits with 1 when anything is not as it should be. `--quick` runs a hundredth of it.
 */
import * as Effect from "effect/Effect"
import { alive, type Count, crashes, growth } from "../../test/actors/soak.ts"
import { compare } from "../../test/oracle/compare.ts"
import { isInstalled } from "../../test/oracle/Oracle.ts"

const scale = process.argv.includes("--quick") ? 100 : 1
let failures = 0
let rejections = 0
process.on("unhandledRejection", (reason) => {
  rejections++
  console.error("unhandled rejection:", reason)
})

const say = (ok: boolean, text: string): void => {
  if (!ok) failures++
  console.log(`${ok ? "ok  " : "FAIL"} ${text}`)
}
const number = (value: number): string => value.toLocaleString("en")
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(2)} MB`

const soak = async (name: string, n: number, part: (n: number) => Effect.Effect<ReadonlyArray<Count>>) => {
  const begun = performance.now()
  const [counts, memory] = await Effect.runPromise(growth(part(n), part(n)))
  console.log(`${name}, ${number(n)}: ${((performance.now() - begun) / 1000).toFixed(1)} s`)
  for (const { what, counted, wanted } of counts) say(counted === wanted, `${what}: ${number(counted)}`)
  const percent = (memory.share * 100).toFixed(1)
  const heap = `${megabytes(memory.before)} before, ${megabytes(memory.after)} after (${percent} %)`
  say(Math.abs(memory.share) <= 0.05, `heap: ${heap}`)
}

await soak("processes alive at once", 100_000 / scale, alive)
await soak("crashes of a tree", 100_000 / scale, crashes)
say(rejections === 0, `unhandled rejections: ${rejections}`)
if (isInstalled()) {
  for (const seed of [42, 25]) {
    const { mismatch, scenarios, unjudged } = await compare(20_000 / scale, seed)
    say(mismatch === undefined, `${number(scenarios)} scenarios of seed ${seed} against OTP, ${unjudged} not judged`)
    if (mismatch !== undefined) console.log(JSON.stringify(mismatch, null, 1))
  }
} else console.log("skipped: scenarios against real OTP need escript (Debian: erlang-base)")
console.log(failures === 0 ? "actors: proven" : `actors: ${failures} failed`)
process.exitCode = failures === 0 ? 0 : 1
