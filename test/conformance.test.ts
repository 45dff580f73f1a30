/**
 * `docs/otp-conformance.md` names tests. Every one of them must be there, and none may be skipped.
 */
import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), "utf8")

interface Row {
  /** The names in backticks of the first column. */
  readonly cases: ReadonlyArray<string>
  readonly heading: string
  readonly line: string
  /** What the column "held by" says. */
  readonly heldBy: string
  /** Files that the text above the table names: where a title without a file is looked for. */
  readonly files: ReadonlyArray<string>
}

const testFile = /`((?:test\/\w+\/)?\w+\.test\.ts)`/g
const pathOf = (file: string): string => (file.startsWith("test/") ? file : `test/actors/${file}`)

const rows = (): ReadonlyArray<Row> => {
  const found: Array<Row> = []
  let heading = ""
  let files: Array<string> = []
  let held = false
  for (const line of read("docs/otp-conformance.md").split("\n")) {
    if (line.startsWith("#")) {
      heading = line.replace(/^#+ /, "")
      files = []
    }
    if (!line.startsWith("|")) {
      held = false
      for (const match of line.matchAll(testFile)) files.push(pathOf(match[1] as string))
      continue
    }
    const cells = line.split("|").slice(1, -1)
    if (cells.at(-1)?.trim() === "held by") held = true
    else if (held && !line.startsWith("|---")) {
      const cases = [...(cells[0] as string).matchAll(/`([^`]+)`/g)].map((match) => match[1] as string)
      found.push({ cases, heading, line, heldBy: (cells.at(-1) as string).trim(), files })
    }
  }
  return found
}

/** The titles of a file's tests and groups, as they are written: `%s` stands for what a table of cases puts in. */
const titlesOf = (() => {
  const known = new Map<string, ReadonlyArray<string>>()
  return (path: string): ReadonlyArray<string> => {
    const before = known.get(path)
    if (before !== undefined) return before
    const source = read(path)
    assert.notMatch(source, /\b(?:it|describe|test)(?:\.\w+)*\.(?:skip|todo|fails)\b(?!If)/, `${path} skips tests`)
    const titles = [
      ...source.matchAll(/(?:\b(?:it|describe|test)(?:\.\w+)*|[)\]])\s*\(\s*(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)\s*,/g)
    ].map((match) => (match[1] ?? match[2] ?? "").replaceAll('\\"', '"'))
    known.set(path, titles)
    return titles
  }
})()

const escape = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")

/** A rule's number stands for the titles that begin with it; `…` for any text. */
const matcher = (text: string): RegExp => {
  const pattern = text.split("…").map((part) => escape(part.trim()))
  return /^[A-Z]\d+(?: to [A-Z]\d+)?$/.test(text)
    ? new RegExp(`^${escape(text)}:`)
    : new RegExp(`^${pattern.join(".*")}$`, "s")
}

const scenarios = read("test/oracle/scenarios.jsonl").trim().split("\n")
const oracleTests = "test/oracle/oracle.test.ts"

/** Whether there is such a test; a text that names none, but says why, is one too. */
const holds = (text: string, files: ReadonlyArray<string>): boolean => {
  if (text === "") return files.length > 0
  if (/^(?:not offered|no counterpart): ./.test(text)) return true
  if (text === "random scenarios") return titlesOf(oracleTests).includes("agrees with vmtest on random scenarios")
  if (text === "random machines") {
    return titlesOf("test/oracle/statem.test.ts").some((title) => title.startsWith("behaves the same on"))
  }
  const numbers = /^hand-made scenario ([\d, ]+)$/.exec(text)
  if (numbers !== null) {
    const wanted = (numbers[1] as string).split(",").map((number) => number.trim())
    return wanted.every((number) => scenarios[Number(number) - 1]?.startsWith(`{"id":"${number} `) === true)
  }
  const pattern = matcher(text)
  return files.some((file) => titlesOf(file).some((title) => pattern.test(title)))
}

/** The parts of a cell that name no test. */
const missing = (row: Row): ReadonlyArray<string> => {
  const parts = row.heldBy.split(/;\s/)
  const wrong: Array<string> = []
  let files = row.files
  for (let i = 0; i < parts.length; ) {
    const own = [...(parts[i] as string).matchAll(testFile)].map((match) => pathOf(match[1] as string))
    if (own.length > 0) files = own
    // A title may contain a semicolon itself: one part, or two, or three.
    const length = [1, 2, 3].find((n) => {
      const text = parts
        .slice(i, i + n)
        .join("; ")
        .replace(/^(?:`[^`]*`(?:, )?)+(?:: )?/, "")
        .replace(/^either: /, "")
        .replace(/ \([^)]*\)$/, "")
        .trim()
      return i + n <= parts.length && holds(text, files)
    })
    if (length === undefined) wrong.push(parts[i] as string)
    i += length ?? 1
  }
  return wrong
}

describe("docs/otp-conformance.md", () => {
  it("names only tests that exist, and gives a reason where there is none", () => {
    const all = rows()
    assert.isAbove(all.length, 150)
    const wrong = all.flatMap((row) => missing(row).map((part) => `${row.heading}: ${part}`))
    assert.deepStrictEqual(wrong, [])
  })

  it.each([
    ["supervisor_SUITE", 93],
    ["gen_server_SUITE", 60]
  ] as const)("has every case of %s, once", (suite, count) => {
    const cases = rows()
      .filter(({ heading }) => heading === suite)
      .flatMap((row) => row.cases)
    assert.strictEqual(new Set(cases).size, count)
    assert.strictEqual(cases.length, count)
  })

  it("has every rule", () => {
    const rules = rows().map(({ line }) => /^\| ([SPGE]\d+) \|/.exec(line)?.[1])
    for (const [letter, count] of [
      ["S", 38],
      ["P", 7],
      ["G", 13],
      ["E", 5]
    ] as const) {
      for (let i = 1; i <= count; i++) assert.include(rules, `${letter}${i}`)
    }
  })

  it("would notice a test that is gone", () => {
    const row = { cases: [], heading: "", line: "", files: ["test/actors/Supervisor.test.ts"] }
    assert.deepStrictEqual(missing({ ...row, heldBy: "S1; S99" }), ["S99"])
    assert.deepStrictEqual(missing({ ...row, heldBy: "a dead supervisor is NoProcess" }), [])
    assert.deepStrictEqual(missing({ ...row, heldBy: "a dead supervisor" }), ["a dead supervisor"])
  })
})
