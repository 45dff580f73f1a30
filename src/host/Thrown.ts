/**
 * Reading what was thrown, or what an Effect failed with.
 *
 * JavaScript can throw any value: `undefined`, a symbol, an object without a prototype, a proxy, an error whose getters throw. Reading it never
 * throws in turn.
 *
 * **Example** (A line for any value)
 *
 * ```ts
 * Thrown.messageOf(new Error("no such host")) // "no such host"
 * Thrown.messageOf(Object.create(null)) // "[Object: null prototype] {}"
 * ```
 *
 * @since 0.1.0
 */
import * as Util from "node:util"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"

/** What a function gives, or `otherwise` if it throws. */
export const read = <A>(reading: () => A, otherwise: A): A => Result.getOrElse(Result.try(reading), () => otherwise)

/** Whether a value is an `Error`. */
export const isError = (value: unknown): value is Error => read(() => value instanceof Error, false)

/** A property of a value; undefined if it has none of that name. */
export const property = (value: unknown, name: string): unknown =>
  read(() => (Predicate.hasProperty(value, name) ? value[name] : undefined), undefined)

/** The stack of an error; empty if it has none. */
export const stackOf = (value: unknown): string => {
  const stack = isError(value) ? property(value, "stack") : undefined
  return typeof stack === "string" ? stack : ""
}

/** The error's tag, else its name, else its class; `"Error"` for a plain error and for a value that is not an error. */
export const kindOf = (error: unknown): string =>
  read(() => {
    if (Predicate.hasProperty(error, "_tag") && typeof error._tag === "string") return error._tag
    if (!(error instanceof Error)) return "Error"
    // A class that sets no name has that of the class that it extends.
    const inherited = !Object.hasOwn(error, "name") && !Object.hasOwn(error.constructor.prototype, "name")
    return String(inherited && error.constructor.name !== "" ? error.constructor.name : error.name)
  }, "Error")

const ownFields = new Set(["_tag", "name", "message", "stack", "cause"])

/** What an error without a message has in its place: the fields of its class, for example. */
const fieldsOf = (error: Error): string => {
  const fields = Object.entries(error).filter(([name]) => !ownFields.has(name))
  return fields.length === 0 ? "it has no message" : Util.inspect(Object.fromEntries(fields), { depth: 4 })
}

/** The error's message, or its fields if it has none; another value as Node shows it. */
export const messageOf = (error: unknown): string =>
  read(() => {
    if (typeof error === "string") return error
    if (Predicate.hasProperty(error, "message") && typeof error.message === "string" && error.message !== "") {
      return error.message
    }
    return error instanceof Error ? fieldsOf(error) : Util.inspect(error, { depth: 4 })
  }, "an error that cannot be read")
