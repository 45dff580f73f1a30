/**
 * `npm run --silent otp:run < scenarios.jsonl > traces.jsonl`: runs the oracle's scenarios on vmtest's supervisors and
 * prints traces in the oracle's form, one line a scenario.
 */
import { createInterface } from "node:readline"
import { runLine } from "../test/oracle/Scenario.ts"

createInterface({ input: process.stdin }).on("line", (line) => {
  if (line.trim() !== "") console.log(runLine(line))
})
