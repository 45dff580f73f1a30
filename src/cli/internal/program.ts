/**
 * How the text of `vmtest eval` and `vmtest eval-file` becomes a module that exports an Effect.
 *
 * Lines keep their numbers, and a source map corrects the columns, so that places in errors are those of the text.
 */
import * as Effect from "effect/Effect"
import * as Bundle from "./bundle.ts"
import { insert } from "./insert.ts"

const readings = [
  { before: "return yield* vmtestRun((", after: "\n))" },
  { before: "", after: "\n" }
].map(({ after, before }) => ({
  check: (text: string) => `function* program() { ${before}${text}${after} }`,
  before: `export default vmtestReturned(Effect.gen(function* () { const driver = yield* vmtestDriver; ${before}`,
  after: `${after} }))`
}))

/** A blank line, a comment, or an import: these come before the program, and cannot be in a generator. */
const heading =
  /^(?:\s+|\/\/.*|\/\*[\s\S]*?\*\/|import\s+(?:type\s+)?[\w$*{][^"'`;()]*?\sfrom\s*(?:"[^"\n]*"|'[^'\n]*');?|import\s*(?:"[^"\n]*"|'[^'\n]*');?)/

/** The imports that a text starts with, up to the start of a line, and the rest. */
export const splitImports = (text: string): readonly [imports: string, program: string] => {
  let end = 0
  let rest = text
  let taken = 0
  for (let match = heading.exec(rest); match !== null; match = heading.exec(rest)) {
    taken += match[0].length
    rest = text.slice(taken)
    if (match[0].startsWith("import")) end = taken
  }
  return [text.slice(0, end), text.slice(end)]
}

const wrap = (imports: string, program: string, reading: (typeof readings)[number], path: string): string => {
  const text = imports + program
  const separator = imports === "" || imports.endsWith(";") ? "" : ";"
  const before = separator + Bundle.metaOf(path, text) + reading.before
  return insert(text, imports.length, before, reading.after, path)
}

/** Imports followed by an expression; else by the body of a generator; else a module as it is. */
export const toModule = Effect.fnUntraced(function* (text: string, path: string) {
  const [imports, program] = splitImports(text)
  const expression = program.replace(/;\s*$/, "")
  const [asExpression, asBody] = [readings[0]!, readings[1]!]
  if (expression.trim() !== "" && (yield* Bundle.parses(asExpression.check(expression)))) {
    return wrap(imports, expression, asExpression, path)
  }
  const isModule = /^\s*(import|export)\b/m.test(program) && !(yield* Bundle.parses(asBody.check(program)))
  return isModule ? Bundle.withMeta(path, text) : wrap(imports, program, asBody, path)
})
