/** QMP events in messages: which ones a schema asks for, and which ones came. */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type { QmpEvent } from "../../transport/qmp/Qmp.ts"

const literals = (ast: SchemaAST.AST): ReadonlyArray<string> => {
  if (SchemaAST.isUnion(ast)) return ast.types.flatMap(literals)
  return SchemaAST.isLiteral(ast) ? [String(ast.literal)] : []
}

const eventsOf = (ast: SchemaAST.AST): ReadonlyArray<string> => {
  if (SchemaAST.isUnion(ast)) return ast.types.flatMap(eventsOf)
  if (!SchemaAST.isObjects(ast)) return []
  return ast.propertySignatures.flatMap(({ name, type }) => (name === "event" ? literals(type) : []))
}

/** The names of events that a schema accepts; none if it accepts any. */
export const namesIn = (schema: Schema.Top): ReadonlyArray<string> => eventsOf(SchemaAST.toEncoded(schema.ast))

/** How many kinds of events are named. */
const kept = 20

/** The events that came; those with these names, which did not match, with their data. */
export const makeSeen = (names: ReadonlyArray<string>) => {
  const counts = new Map<string, number>()
  return {
    note: ({ data, event }: QmpEvent): Effect.Effect<void> =>
      Effect.sync(() => {
        const what = names.includes(event)
          ? `${event} with ${JSON.stringify(data)}, which does not match the schema`
          : event
        counts.set(what, (counts.get(what) ?? 0) + 1)
      }),
    described: Effect.sync(() => {
      if (counts.size === 0) return "no QMP event"
      const lines = [...counts].slice(-kept).map(([what, times]) => (times === 1 ? what : `${what}, ${times} times`))
      return `QMP events that did not match:\n${lines.join("\n")}`
    })
  }
}
