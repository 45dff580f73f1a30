import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as ByteSize from "effect/ByteSize"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as Driver from "../../src/driver/Driver.ts"
import type { Signature } from "../../src/guest/Arguments.ts"
import { spawnedParameters } from "../../src/guest/Spawn.ts"
import * as Image from "../../src/images/Image.ts"
import { MachineOptions } from "../../src/machine/MachineSpec.ts"
import { parameters } from "./parameters.ts"

// `VMTEST_UPDATE_DOCS=1 npx vitest run --project unit test/machine/docs.test.ts` writes what the schemas say into the page.
const page = fileURLToPath(new URL("../../docs/machines.md", import.meta.url))

const objectOf = (ast: SchemaAST.AST): SchemaAST.Objects | undefined => {
  if (ast._tag === "Objects") return ast.propertySignatures.length === 0 ? undefined : ast
  return ast._tag === "Union" && ast.types.every(({ _tag }) => _tag === "Objects" || _tag === "Undefined")
    ? ast.types.find((type) => type._tag === "Objects")
    : undefined
}

const isOptional = (ast: SchemaAST.AST): boolean => ast.context?.isOptional === true
const mark = (name: string, ast: SchemaAST.AST): string => (isOptional(ast) ? `${name}?` : name)

/** `{ timeout?, user? }` */
const spelled = ({ propertySignatures }: SchemaAST.Objects): string =>
  `{ ${propertySignatures.map(({ name, type }) => mark(String(name), type)).join(", ")} }`

/** `waitForUnit(unit, { timeout?, user? })`. An object that a method takes twice, such as a point, is named instead. */
const signatureOf = (name: string, { fields }: Signature): string => {
  const all = Object.entries(fields).map(([parameter, { ast }]) => {
    const object = objectOf(ast)
    return { parameter, ast, text: object === undefined ? undefined : spelled(object) }
  })
  const shown = all.map(({ ast, parameter, text }) => {
    if (parameter === "commands") return "...commands"
    const once = all.filter((other) => other.text === text).length === 1
    return text !== undefined && once ? text : mark(parameter, ast)
  })
  return `${name}(${shown.join(", ")})`
}

/** The calls in the first cell of a row, each with the parameters that its schema names. */
const row = (line: string, signatures: Readonly<Record<string, Signature>>, seen: Array<string>): string => {
  const end = line.indexOf(" |", 1)
  const cell = line.slice(0, end).replace(/`(\w+)\((?:[^`]*)\)`/g, (call, name: string) => {
    const signature = signatures[name]
    assert(signature !== undefined, `${name} is not a method`)
    seen.push(name)
    return Object.keys(signature.fields).length === 0 ? call : `\`${signatureOf(name, signature)}\``
  })
  return cell + line.slice(end)
}

const defaultOf = (name: string, value: unknown): string => {
  if (name === "image") return "required"
  if (value === undefined) return "none"
  return `\`${JSON.stringify(typeof value === "number" && value > 1024 ? ByteSize.format(ByteSize.fromInputUnsafe(value)) : value)}\``
}

/** The table of the fields of a declaration. */
const declaration = (): ReadonlyArray<string> => {
  const defaults: Readonly<Record<string, unknown>> = Schema.decodeUnknownSync(MachineOptions)({ image: Image.tiny() })
  return MachineOptions.ast.propertySignatures.map(({ name, type }) => {
    const description = type.context?.annotations?.description
    assert(typeof description === "string", `${String(name)} has no description`)
    return `| \`${String(name)}\` | ${defaultOf(String(name), defaults[String(name)])} | ${description} |`
  })
}

/** The methods of a heading's tables; those of a machine by default. */
const sections: Readonly<Record<string, Readonly<Record<string, Signature>>>> = {
  "## The driver": Driver.parameters,
  "| | |": spawnedParameters
}

const regenerated = (text: string, seen: Record<string, Array<string>>): string => {
  const lines: Array<string> = []
  let heading = ""
  let table = ""
  for (const line of text.split("\n")) {
    if (line.startsWith("## ")) heading = line
    if (!line.startsWith("|")) table = ""
    else if (table === "") table = line
    if (table === "| field | default | |" && line.startsWith("| `")) {
      if (line.startsWith("| `image`")) lines.push(...declaration())
      continue
    }
    const of = table === "| | |" ? table : heading === "## The driver" ? heading : "machine"
    const isMethods = table === "| method | |" || table === "| | |"
    const calls = seen[of] ?? []
    seen[of] = calls
    lines.push(isMethods && line.startsWith("| `") ? row(line, sections[of] ?? parameters, calls) : line)
  }
  return lines.join("\n")
}

describe("docs/machines.md", () => {
  it("has the fields, the parameters and the options that the schemas have, and every method", () => {
    const text = readFileSync(page, "utf8")
    const seen: Record<string, Array<string>> = {}
    const wanted = regenerated(text, seen)
    if ((process.env.VMTEST_UPDATE_DOCS ?? "") !== "") writeFileSync(page, wanted)
    else assert.strictEqual(text, wanted)
    assert.deepStrictEqual(seen.machine?.toSorted(), Object.keys(parameters).sort())
    assert.deepStrictEqual(seen["## The driver"]?.toSorted(), Object.keys(Driver.parameters).sort())
    assert.deepStrictEqual(seen["| | |"]?.toSorted(), Object.keys(spawnedParameters).sort())
  })
})
