/** A hypervisor's published description of its HTTP interface, and whether a request is one that it describes. */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Yaml from "effect/encoding/Yaml"
import type * as JsonSchema from "effect/JsonSchema"
import * as Schema from "effect/Schema"
import * as SchemaRepresentation from "effect/SchemaRepresentation"

type Node = Readonly<Record<string, unknown>>

const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null && !Array.isArray(value)
const at = (node: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>((inner, key) => (isNode(inner) ? inner[key] : undefined), node)

/** What says nothing of which values there are. Formats are those of integers, whose bounds a number does not reach. */
const silent = new Set(["description", "default", "example", "readOnly", "deprecated", "format", "title"])

/** As JSON Schema, and without fields that are not described: both hypervisors refuse some of these and ignore others. */
const closed = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(closed)
  if (!isNode(value)) return value
  if (typeof value.$ref === "string")
    return { $ref: value.$ref.replace(/^#\/(definitions|components\/schemas)\//, "#/$defs/") }
  const properties = value.properties
  const rest = Object.entries(value).filter(([key]) => !silent.has(key) && key !== "properties")
  return {
    ...Object.fromEntries(rest.map(([key, inner]) => [key, closed(inner)])),
    ...(isNode(properties)
      ? { properties: Object.fromEntries(Object.entries(properties).map(([key, inner]) => [key, closed(inner)])) }
      : {}),
    ...(isNode(properties) && value.additionalProperties === undefined ? { additionalProperties: false } : {})
  }
}

/** Why a request is not one that is described; undefined for one that is. */
export type Check = (method: string, path: string, body: unknown) => string | undefined

export interface Description {
  readonly version: string
  readonly check: Check
  /** Whether a value has the shape of this definition; otherwise why it does not. */
  readonly is: (definition: string, value: unknown) => string | undefined
  /** The fields of a definition. */
  readonly fieldsOf: (definition: string) => ReadonlyArray<string>
}

/** Reads a description, of Swagger 2 or of OpenAPI 3; `base` is what all its paths begin with. */
export const read = (file: string, base = ""): Description => {
  const document = Yaml.parse(Fs.readFileSync(file, "utf8"))
  const definitions = (at(document, "definitions") ?? at(document, "components", "schemas")) as Node
  const closedDefinitions = Object.fromEntries(
    Object.entries(definitions).map(([name, definition]) => [name, closed(definition) as JsonSchema.JsonSchema])
  )
  const made = new Map<string, Schema.Top>()
  const schemaOf = (schema: JsonSchema.JsonSchema): Schema.Top => {
    const key = JSON.stringify(schema)
    const known = made.get(key)
    if (known !== undefined) return known
    const fresh = SchemaRepresentation.fromJsonSchemaDocument({
      dialect: "draft-2020-12",
      schema,
      definitions: closedDefinitions
    })
    made.set(key, fresh)
    return fresh
  }
  const problem = (schema: JsonSchema.JsonSchema, value: unknown): string | undefined => {
    const decoded = Schema.decodeUnknownEffect(schemaOf(schema) as Schema.Decoder<unknown>)(value, {
      onExcessProperty: "error",
      errors: "all"
    })
    return Effect.runSync(
      Effect.match(decoded, { onFailure: ({ message }): string | undefined => message, onSuccess: () => undefined })
    )
  }
  const paths = Object.entries(at(document, "paths") as Node).map(([path, operations]) => ({
    pattern: new RegExp(`^${base}${path.replaceAll(".", "\\.").replace(/\{[^}]+\}/g, "[^/]+")}$`),
    operations
  }))
  return {
    version: String(at(document, "info", "version")),
    fieldsOf: (definition) => Object.keys((at(definitions, definition, "properties") as Node | undefined) ?? {}),
    is: (definition, value) => problem({ $ref: `#/$defs/${definition}` }, value),
    check: (method, path, body) => {
      const operation = paths.find(({ pattern }) => pattern.test(path))?.operations
      const described = at(operation, method.toLowerCase())
      if (described === undefined) return `${method} ${path} is not described`
      const parameters = at(described, "parameters")
      const schema =
        at(described, "requestBody", "content", "application/json", "schema") ??
        (Array.isArray(parameters)
          ? at(
              parameters.find((parameter) => at(parameter, "in") === "body"),
              "schema"
            )
          : undefined)
      if (schema === undefined) return body === undefined ? undefined : `${method} ${path} takes no body`
      if (body === undefined) return `${method} ${path} needs a body`
      const found = problem(closed(schema) as JsonSchema.JsonSchema, body)
      return found === undefined ? undefined : `${method} ${path}: ${found}`
    }
  }
}
