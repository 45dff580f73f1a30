/**
 * Values that scripts give: decoded by the schema of what they describe, or refused with one sentence.
 *
 * A script is not type-checked when it runs, so each method and each declaration has a schema beside it. This module runs them, with properties
 * that the schema does not have refused, and is the only place that words a refusal: `unknown option "timeuot"; did you mean "timeout"?`,
 * `cpus must be a whole number of at least 1, got 0`.
 *
 * A schema says what it takes with the annotation `expected`, which completes "must be …". A filter that returns a text completes
 * "<name> …" with it instead. The annotation `aliases` of a struct maps other people's names of its fields, in lower case, to them; `elsewhere` maps names
 * of fields that it does not have to what has them.
 *
 * **Example** (Refuse a misspelt option)
 *
 * ```ts
 * const check = Decode.checker(Schema.Struct({ timeout: Schema.optional(Schema.Number) }))
 * check({ timeuot: 5 })?.reason // 'unknown option "timeuot"; did you mean "timeout"?'
 * ```
 *
 * @since 0.1.0
 */
import { inspect } from "node:util"
import { isRegExp } from "node:util/types"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import * as Spelling from "./Spelling.ts"

/** Why a value was refused: the first of its parts that does not fit. */
export interface Problem {
  /** Which part, from the outermost name in; empty for the value itself. */
  readonly path: ReadonlyArray<PropertyKey>
  /** The part that was given. */
  readonly value: unknown
  /** A sentence without a full stop, which names the part. */
  readonly reason: string
}

/** What messages call a value. */
export interface Naming {
  /** The value itself. Default `it`. */
  readonly whole?: string
  /** A property whose own properties are called without it: of a method's arguments, `options`. */
  readonly unnamed?: string
}

/**
 * Reads a value by a schema; compiled once, at the first use. Schemas that do their work asynchronously, or need services, are not for this.
 * `unknown: "ignored"` is for files that other programs write, which can have more properties than are known here.
 */
export const decoder = <S extends Schema.ConstraintDecoder<unknown>>(
  schema: S,
  { unknown, ...naming }: Naming & { readonly unknown?: "ignored" } = {}
) => {
  const decode = SchemaParser.decodeUnknownResult(schema, {
    onExcessProperty: unknown === "ignored" ? "ignore" : "error"
  })
  return (value: unknown): Result.Result<S["Type"], Problem> => {
    return Result.mapError(decode(value), (issue) => problemOf(issue, value, naming))
  }
}

/** Like `decoder`, for callers that only need to know what is wrong with a value, and keep using the value itself. */
export const checker = (schema: Schema.ConstraintDecoder<unknown>, naming: Naming = {}) => {
  const decode = SchemaParser.decodeUnknownResult(schema, { onExcessProperty: "error" })
  return (value: unknown): Problem | undefined => {
    const result = decode(value)
    return Result.isSuccess(result) ? undefined : problemOf(result.failure, value, naming)
  }
}

/** A value in a message, as short as it can be told apart. */
export const shown = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(short(value))
  if (Effect.isEffect(value) && !Predicate.isError(value)) return "an Effect; yield* it first"
  if (typeof value === "function") return value.name === "" ? "a function" : `the function ${value.name}`
  if (typeof value !== "object" || value === null || isRegExp(value)) return String(value)
  const maker: unknown = Array.isArray(value) ? Array : value.constructor
  return maker === Array || maker === Object || maker === undefined
    ? short(inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY, customInspect: false }))
    : `an object of the class ${value.constructor.name}`
}

/** `masks[0].x` */
export const nameOf = (path: ReadonlyArray<PropertyKey>, { unnamed, whole = "it" }: Naming = {}): string => {
  const named = path.length > 1 && path[0] === unnamed ? path.slice(1) : path
  const [first, ...rest] = named
  if (first === undefined) return whole
  return rest.reduce<string>(
    (name, key) => (typeof key === "number" ? `${name}[${key}]` : `${name}.${String(key)}`),
    String(first)
  )
}

const longest = 60
const short = (text: string): string => (text.length > longest ? `${text.slice(0, longest)}…` : text)

const at = (value: unknown, path: ReadonlyArray<PropertyKey>): unknown =>
  path.reduce<unknown>((part, key) => (Predicate.hasProperty(part, key) ? part[key] : undefined), value)

/** The part of a schema's error that the message has, and the schema of the value that it is about. */
interface Leaf {
  readonly path: ReadonlyArray<PropertyKey>
  readonly issue: SchemaIssue.Issue
  /** What the part should be; of a property that is not known, what its object should be. */
  readonly ast: SchemaAST.AST | undefined
}

/** What a filter said in its own words. */
const messageOf = (issue: SchemaIssue.Issue): string | undefined =>
  issue._tag === "Filter" && issue.issue._tag === "InvalidValue" ? issue.issue.annotations?.message : undefined

const leafOf = (
  given: unknown,
  issue: SchemaIssue.Issue,
  path: ReadonlyArray<PropertyKey>,
  ast: SchemaAST.AST | undefined
): Leaf => {
  switch (issue._tag) {
    case "Pointer": {
      const at = [...path, ...issue.path]
      if (issue.issue._tag === "UnexpectedKey") return { path: at, issue: issue.issue, ast: issue.issue.ast }
      return leafOf(given, issue.issue, at, issue.path.reduce<SchemaAST.AST | undefined>(propertyOf, ast))
    }
    case "Composite":
      return leafOf(given, issue.issues[0], path, issue.ast)
    case "Encoding":
      return leafOf(given, issue.issue, path, ast)
    case "Filter":
      return issue.issue._tag === "InvalidValue" ? { path, issue, ast } : leafOf(given, issue.issue, path, ast)
    case "AnyOf": {
      // No alternative means an Effect that nobody ran, though one may be an object.
      if (Effect.isEffect(at(given, path))) return { path, issue, ast: issue.ast }
      // The alternative that fits furthest is the one that was meant.
      const leaves = issue.issues.map((one) => leafOf(given, one, path, issue.ast))
      const deepest = leaves.reduce<Leaf | undefined>(
        (best, leaf) => (leaf.path.length > (best ?? { path }).path.length ? leaf : best),
        undefined
      )
      // Or the one of its type that has something to say of it.
      return deepest ?? leaves.find(({ issue }) => messageOf(issue) !== undefined) ?? { path, issue, ast: issue.ast }
    }
    case "InvalidType":
      return { path, issue, ast: issue.ast }
    default:
      return { path, issue, ast }
  }
}

const propertyOf = (ast: SchemaAST.AST | undefined, key: PropertyKey): SchemaAST.AST | undefined => {
  if (ast?._tag === "Objects") return ast.propertySignatures.find(({ name }) => name === key)?.type
  return ast?._tag === "Arrays" ? ast.rest[0] : undefined
}

const annotationsOf = (ast: SchemaAST.AST): Schema.Annotations.Annotations | undefined =>
  ast.checks?.at(-1)?.annotations ?? ast.annotations

/** What completes "must be …". */
export const expectedOf = (ast: SchemaAST.AST): string => {
  const said = annotationsOf(ast)?.expected ?? ast.annotations?.expected
  if (typeof said === "string") return said
  switch (ast._tag) {
    case "String":
      return "a string"
    case "Number":
      return "a number"
    case "Boolean":
      return "true or false"
    case "Undefined":
      return "undefined"
    case "Literal":
      return JSON.stringify(ast.literal)
    case "Arrays":
      return ast.rest[0] === undefined ? "an array" : `an array, each ${expectedOf(ast.rest[0])}`
    case "Union":
      return alternatives(ast.types.filter(({ _tag }) => _tag !== "Undefined").map(expectedOf))
    default:
      return "an object"
  }
}

/** `"a", "b" or "c"` */
export const alternatives = (all: ReadonlyArray<string>): string =>
  all.length < 2 ? all.join("") : `${all.slice(0, -1).join(", ")} or ${all.at(-1)}`

const problemOf = (issue: SchemaIssue.Issue, given: unknown, naming: Naming): Problem => {
  const leaf = leafOf(given, issue, [], undefined)
  const value = at(given, leaf.path)
  const name = nameOf(leaf.path, naming)
  const wanted = leaf.ast === undefined ? "something else" : expectedOf(leaf.ast)
  switch (leaf.issue._tag) {
    case "UnexpectedKey":
      return unexpected(leaf, given, naming)
    case "MissingKey":
      return { path: leaf.path, value, reason: `${name} is missing: it must be ${wanted}` }
    case "Filter": {
      const said = messageOf(leaf.issue)
      const expected = leaf.issue.filter.annotations?.expected ?? wanted
      return { path: leaf.path, value, reason: `${name} ${said ?? `must be ${expected}, got ${shown(value)}`}` }
    }
    case "InvalidValue": {
      const said = leaf.issue.annotations?.message
      return { path: leaf.path, value, reason: `${name} ${said ?? `must be ${wanted}, got ${shown(value)}`}` }
    }
    default:
      return { path: leaf.path, value, reason: `${name} must be ${wanted}, got ${shown(value)}` }
  }
}

/** Of a property that the schema does not have. */
const unexpected = ({ ast, path }: Leaf, given: unknown, naming: Naming): Problem => {
  const inside = path.slice(0, -1)
  const whole = at(given, inside)
  if (Effect.isEffect(whole) || ast?._tag !== "Objects") {
    const wanted = ast === undefined ? "something else" : expectedOf(ast)
    return { path: inside, value: whole, reason: `${nameOf(inside, naming)} must be ${wanted}, got ${shown(whole)}` }
  }
  const key = String(path.at(-1))
  const names = ast.propertySignatures.map(({ name }) => String(name)).filter((name) => !name.startsWith("_"))
  const aliases = annotationsOf(ast)?.aliases
  const near = Spelling.near(key, names, Predicate.isObject(aliases) ? (aliases as Spelling.Aliases) : {})
  const place =
    inside.length === 0 || (inside.length === 1 && inside[0] === naming.unnamed) ? "" : ` of ${nameOf(inside, naming)}`
  const others = annotationsOf(ast)?.elsewhere
  const owner = Predicate.isObject(others) && Object.hasOwn(others, key) ? Reflect.get(others, key) : undefined
  if (typeof owner === "string") {
    const reason = `unknown option ${JSON.stringify(key)}${place}; it is an option of ${owner}`
    return { path, value: at(given, path), reason }
  }
  const advice = near === undefined ? `the options are ${names.join(", ")}` : `did you mean ${JSON.stringify(near)}?`
  return { path, value: at(given, path), reason: `unknown option ${JSON.stringify(key)}${place}; ${advice}` }
}
