/**
 * The methods of machines and of the driver as scripts call them: each call knows its line, and whether its Effect was run.
 *
 * An Effect that fails deep in the library carries only the library's stack, so the lines of the call are put into the stack of its error; and one that
 * nobody runs does nothing and says nothing, so a test knows of those that its body has made.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import { stackOf } from "../../host/Thrown.ts"
import { short } from "../../transport/ShellError.ts"
import * as Misspelt from "./misspelt.ts"
import { scriptFrame } from "./scriptLocation.ts"
import * as TestContext from "./testContext.ts"

type Method = (...args: Array<unknown>) => unknown

const calls = new WeakMap<object, { readonly made: Set<TestContext.Call>; readonly call: TestContext.Call }>()

/** Takes an Effect or a Stream off the list of those that were not run; any other value is let be. */
export const forget = (effect: unknown): void => {
  const known = typeof effect === "object" && effect !== null ? calls.get(effect) : undefined
  known?.made.delete(known.call)
}

/** The frames of a call down to the script's last one, and whether that was a generator's. */
const framesOf = ({ stack = "" }: TestContext.Call): ReadonlyArray<string> => {
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line))
  const last = frames.findLastIndex((line) => scriptFrame(line) !== undefined)
  return frames.slice(0, frames[last + 1]?.includes("next (<anonymous>)") === true ? last + 2 : last + 1)
}

/** Puts the lines of a call before those of the library in the stacks of errors that have no line of a script. */
const place = (cause: Cause.Cause<unknown>, call: TestContext.Call): void => {
  for (const reason of cause.reasons) {
    const error = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    const stack = stackOf(error)
    if (stack === "" || scriptFrame(stack) !== undefined) continue
    const lines = stack.split("\n")
    const first = lines.findIndex((line) => /^\s+at /.test(line))
    const placed = lines.toSpliced(first === -1 ? lines.length : first, 0, ...framesOf(call)).join("\n")
    // An error that is frozen keeps its own.
    Reflect.set(Object(error), "stack", placed)
  }
}

/** What a method gives that is a noun of its own, such as a link or a display. */
const isMethods = (value: unknown): value is object =>
  Predicate.isObject(value) &&
  Object.getPrototypeOf(value) === Object.prototype &&
  Object.values(value).some((part) => typeof part === "function")

const tracked = (name: string, method: Method): Method =>
  function call(this: unknown, ...args) {
    const result = method.apply(this, args)
    const isStream = Stream.isStream(result)
    // Errors and Exits are Effects, too.
    if (isMethods(result)) return methods(`${name}()`, result)
    if (!isStream && (!Effect.isEffect(result) || Exit.isExit(result) || result instanceof Error)) return result
    const [first] = args
    const what = typeof first === "string" ? `${name}(${short(JSON.stringify(first))})` : `${name}(…)`
    const one: TestContext.Call = {
      what: args.length === 0 ? `${name}()` : what,
      gives: isStream ? "Stream" : "Effect"
    }
    Error.captureStackTrace(one, call)
    const made = TestContext.current()?.made
    made?.add(one)
    const begin = () => {
      made?.delete(one)
      // What a method is given is for it to run, or not.
      args.forEach(forget)
    }
    const placed = (cause: Cause.Cause<unknown>) => Effect.sync(() => place(cause, one))
    const known = isStream
      ? Stream.suspend(() => {
          begin()
          return Stream.tapCause(result as Stream.Stream<unknown, unknown, unknown>, placed)
        })
      : Effect.suspend(() => {
          begin()
          return Effect.tapCause(result as Effect.Effect<unknown, unknown, unknown>, placed)
        })
    if (made !== undefined) calls.set(known, { made, call: one })
    return known
  }

/** An object with the methods of another, whose calls are known, and whose misspelt methods are told; messages call it `name`. */
export const methods = <Self extends object>(name: string, object: Self): Self => {
  const copy = { ...object }
  for (const key of Object.keys(copy)) {
    const value: unknown = Reflect.get(copy, key)
    if (typeof value === "function") Reflect.set(copy, key, tracked(`${name}.${key}`, value as Method))
  }
  return Misspelt.told(name, copy)
}
