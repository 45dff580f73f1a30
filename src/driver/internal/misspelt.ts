/** Machines and drivers as scripts have them: a method that was misspelt says which one was meant. */
import * as Predicate from "effect/Predicate"
import { near } from "../../host/Spelling.ts"
import * as Image from "../../images/Image.ts"

/** What those ask for who await, show, compare or copy a value, whatever it is. */
const askedOfAll = new Set(
  `then catch finally toJSON toString valueOf inspect constructor prototype stack message cause code errno type status state
  length size key keys values entries id on emit next return throw props ref render displayName calls mock getMockName
  asymmetricMatch nodeType nodeName tagName outerHTML sameNode pipe`.split(/\s+/)
)

/**
 * A copy of an object, whose unknown properties that are nearly one of its own throw with that one, instead of being undefined.
 *
 * Its prototype is what throws: the properties that there are cost nothing more, and a prompt completes their names, which it does not for a Proxy.
 */
export const told = <Self extends object>(name: string, object: Self): Self => {
  const get = (target: object, key: string | symbol, receiver: unknown): unknown => {
    if (typeof key === "symbol" || key in target || askedOfAll.has(key)) return Reflect.get(target, key, receiver)
    const meant = near(key, Object.keys(object))
    if (meant === undefined) return undefined
    const error = new TypeError(`${name} has no method ${JSON.stringify(key)}; did you mean ${JSON.stringify(meant)}?`)
    // The line that asked comes first, as reporters of other tools show the first one.
    Error.captureStackTrace(error, get)
    throw error
  }
  return Object.assign(Object.create(new Proxy(Object.prototype, { get })), object)
}

/** What completes the message of an error about a misspelt function of `Image`. A module cannot say it itself. */
export const hintOfImage = (error: unknown): string => {
  const [, key] = Predicate.isError(error) ? (/\bImage\.(\w+) is not a function$/.exec(error.message) ?? []) : []
  const functions = Object.keys(Image).filter((name) => typeof Reflect.get(Image, name) === "function")
  const meant = key === undefined ? undefined : near(key, functions)
  return meant === undefined ? "" : `; did you mean ${JSON.stringify(meant)}?`
}
