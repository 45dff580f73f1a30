import { execFileSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"

const program = `
import * as Effect from "effect/Effect"
import { prompt } from "./src/cli/Prompt.ts"
const scope = { Effect }
const answer = prompt({ scope: () => scope, history: "/dev/null", run: (effect) => effect })
await Effect.runPromise(
  Effect.match(answer, {
    onSuccess: ({ failures }) => console.log("failures: " + failures),
    onFailure: (error) => console.log(error._tag + ": " + error.message)
  })
)
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
    .map((line) => line.replace(/^(\| )+/, ""))
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

  it("takes yield*, alone, in expressions and in statements", () => {
    assert.deepStrictEqual(
      answers(
        "yield* Effect.succeed(1)",
        "1 + (yield* Effect.succeed(1));",
        "yield* Effect.succeed('a; b') // said; so",
        "const text = yield* Effect.succeed('t'); `${text};`",
        "for (const each of [3, 4]) {",
        "  yield* Effect.sync(() => console.log(each))",
        "}",
        "yield* Effect.succeed(",
        "  5",
        ")",
        "yield* Effect.succeed(Effect.succeed('run, too'))",
        "yield* Effect.promise(async () => await 6)",
        "Effect.gen(function* () { return yield* Effect.succeed('its own') })"
      ),
      ["1", "2", "'a; b'", "'t;'", "3", "4", "5", "'run, too'", "6", "'its own'", "failures: 0"]
    )
  })

  it("shows errors and failed Exits that a line gives, instead of failing with them", () => {
    const shown = answers(
      "yield* Effect.flip(Effect.fail(new Error('as a value')))",
      "yield* Effect.exit(Effect.fail('no'))"
    )
    assert.match(shown.join("\n"), /Error: as a value[\s\S]*_tag: 'Failure'[\s\S]*failures: 0$/)
  })

  it("keeps what a line with yield* declares", () => {
    assert.deepStrictEqual(
      answers(
        "const out = yield* Effect.succeed('kept')",
        "out",
        "const { a: [first], ...others } = yield* Effect.succeed({ a: [1], b: 2 })",
        "[first, others]",
        "let count = yield* Effect.succeed(0); function up() { return ++count }",
        "up(); up(); count",
        "count = 7; up()",
        "await Promise.resolve(out)",
        "const out = yield* Effect.succeed('again')",
        "yield* Effect.succeed(out + count)",
        "{ const inner = yield* Effect.succeed(1) }",
        "typeof inner",
        "let plain = 1",
        "const plain = yield* Effect.succeed(2)",
        "plain"
      ),
      [
        "'kept'",
        "[ 1, { b: 2 } ]",
        "2",
        "8",
        "'kept'",
        "'again8'",
        "'undefined'",
        "Uncaught SyntaxError: Identifier 'plain' has already been declared",
        "1",
        "failures: 1"
      ]
    )
  })

  it("goes on after a line with yield* that fails, throws, or makes no sense", () => {
    assert.deepStrictEqual(
      answers(
        "const out = yield* Effect.fail('said'); console.log('not reached')",
        "const out = yield* Effect.succeed('better')",
        "out",
        "nobody(yield* Effect.succeed(1))",
        "yield* Effect.succeed(1); await 5",
        "yield* Effect.succeed(1) 2",
        "3"
      ).filter((line) => !/^\s*(\^|\(function)/.test(line)),
      [
        "said",
        "'better'",
        "nobody is not defined",
        "Uncaught SyntaxError: cannot mix await and yield*; use yield* Effect.promise(() => …)",
        "Uncaught SyntaxError: Unexpected number",
        "3",
        "failures: 4"
      ]
    )
  })

  it("says where a statement starts that the input does not finish", () => {
    const said = "the input ends within the statement that starts on line 4: for (const x of [1]) {"
    assert.deepStrictEqual(answers("1", "[", "2]", "for (const x of [1]) {", "  yield* Effect.void", "3"), [
      "1",
      "[ 2 ]",
      `UnfinishedStatement: ${said}`
    ])
    assert.deepStrictEqual(answers("for (;;) {", ".break", "4"), ["4", "failures: 0"])
  })
})
