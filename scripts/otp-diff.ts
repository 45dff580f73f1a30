/**
 * `npm run otp:diff -- --scenarios N --seed S`: random scenarios on vmtest's supervisors and on real OTP's, side by side. The
 * first mismatch is made as small as possible, printed, and makes the exit code 1.
 */
import { parseArgs } from "node:util"
import { compare } from "../test/oracle/compare.ts"
import { isInstalled } from "../test/oracle/Oracle.ts"

const { values } = parseArgs({
  options: { scenarios: { type: "string", default: "1000" }, seed: { type: "string", default: "1" } }
})

if (!isInstalled()) {
  console.error("otp:diff needs Erlang (Debian: erlang-base)")
  process.exit(2)
}
const count = Number(values.scenarios)
const seed = Number(values.seed)
const begun = performance.now()
const report = await compare(count, seed, (done) => {
  if (done % 3200 < 64) console.error(`${done} of ${count}`)
})
const seconds = ((performance.now() - begun) / 1000).toFixed(1)
if (report.mismatch === undefined) {
  const { differ, raised, scenarios, unjudged } = report
  console.log(
    `${scenarios} scenarios of seed ${seed}: no mismatch, ${unjudged} not judged, ${raised} with a raised shutdown, ${differ} of which differ as expected, ${seconds} s`
  )
} else {
  console.log(`mismatch in scenario ${report.scenarios} of seed ${seed}, after ${seconds} s:`)
  console.log(JSON.stringify(report.mismatch.scenario))
  console.log(`ours   ${report.mismatch.ours}`)
  console.log(`theirs ${report.mismatch.theirs}`)
  process.exitCode = 1
}
