import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as RunRecord from "../../src/report/RunRecord.ts"
import { recordsOf } from "./records.ts"

const published = fileURLToPath(new URL("../../docs/report.schema.json", import.meta.url))

describe("a record of a run", () => {
  it("has a JSON Schema that is published", () => {
    const { definitions, schema } = Schema.toJsonSchemaDocument(RunRecord.RunRecord)
    const document = { $schema: "https://json-schema.org/draft/2020-12/schema", ...schema, $defs: definitions }
    if ((process.env.VMTEST_UPDATE_DOCS ?? "") !== "")
      writeFileSync(published, `${JSON.stringify(document, null, 1)}\n`)
    assert.deepStrictEqual(JSON.parse(readFileSync(published, "utf8")), JSON.parse(JSON.stringify(document)))
  })

  it("is read back as it was from its line", () => {
    for (const record of recordsOf()) assert.deepStrictEqual(RunRecord.fromLine(JSON.stringify(record)), record)
  })

  it("of a later version is skipped, or has what is known of it; anything else is no record", () => {
    assert.strictEqual(RunRecord.fromLine('{"type":"weather","at":1}'), "unknown")
    const log = { type: "log", at: 1, test: 0, line: "a" } as const
    assert.deepStrictEqual(RunRecord.fromLine(JSON.stringify({ ...log, colour: "red" })), log)
    assert.isUndefined(RunRecord.fromLine('{"type":"log","at":"noon"}'))
    assert.isUndefined(RunRecord.fromLine("{"))
    assert.isUndefined(RunRecord.fromLine("3"))
  })

  it("has the tests numbered, however alike their names are, and what was logged before they began", () => {
    const tests = recordsOf().flatMap((one) => ("test" in one ? [`${one.test} ${one.type}`] : []))
    assert.deepStrictEqual([tests[0], tests[1], tests.at(-1)], ["0 log", "0 test-started", "3 test-ended"])
  })
})
