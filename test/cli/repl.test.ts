import { execFileSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"

const program = `
import * as Effect from "effect/Effect"
import { prompt } from "./src/cli/internal/repl.ts"
const scope = { Effect }
const failures = await Effect.runPromise(prompt({ scope, history: "/dev/null", run: (effect) => effect }))
console.log("failures: " + failures)
`

/** What the prompt says to the lines of a pipe. */
const answers = (...lines: ReadonlyArray<string>) =>
  execFileSync(process.execPath, ["--input-type=module", "-e", program], {
    cwd: new URL("../..", import.meta.url),
    input: lines.map((line) => `${line}\n`).join(""),
    encoding: "utf8",
    timeout: 60_000,
    stdio: ["pipe", "pipe", "ignore"]
  })
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("    at "))

describe("the prompt of vmtest resume", () => {
  it("goes on after what throws, rejects, fails and makes no sense, and counts each", () => {
    const lines = ["nobody", "1 + 1", "await Promise.reject(new Error('no'))", "2 + 2", "await 5"]
    assert.deepStrictEqual(
      answers(...lines, "Effect.fail('said')", "Effect.succeed(6)", "throw new Error('up')", "7"),
      [
        "Uncaught ReferenceError: nobody is not defined",
        "2",
        "Uncaught Error: no",
        "4",
        "5",
        "said",
        "6",
        "Uncaught Error: up",
        "7",
        "failures: 4"
      ]
    )
  })
})
