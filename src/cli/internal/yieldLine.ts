/**
 * Lines of the prompt with `yield*`: each is the body of an `Effect.gen`, and later lines can use its declarations.
 *
 * JavaScript's own parser decides what a line is, what it declares, and which expression is its value: by whether a text compiles.
 */
import { Script } from "node:vm"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type AnyEffect, isToRun } from "./toRun.ts"

const compiles = (text: string): boolean => Result.isSuccess(Result.try(() => new Script(text)))

const isBody = (code: string): boolean => compiles(`(function* () { ${code}\n})`)

/** Whether the code uses `yield*` itself, not only within generators in it: in strict code nothing else can be called `yield`. */
export const yields = (code: string): boolean =>
  /\byield\b/.test(code) && !compiles(`(async () => { "use strict"; ${code}\n})`)

/** The names that a body declares: those that cannot be declared a second time beside it. */
const declaredBy = (body: string): ReadonlyArray<string> =>
  [...new Set(body.match(/[\p{ID_Start}$_][\p{ID_Continue}$]*/gu))].filter(
    (name) => isBody(`let ${name}`) && !isBody(`let ${name}; ${body}`)
  )

/** What cannot continue a statement in the next line, or after a brace. */
const startsNew = /^\s*[\p{ID_Start}$_\d"'!~]/u

/** The body with a `return` before its last statement if that is an expression, because a prompt shows its value. */
const withValue = (body: string): string => {
  const text = body.replace(/[\s;]+$/, "")
  const ends = [...text.matchAll(/[;\n}]/g)].map(({ index }) => index + 1)
  for (const end of [0, ...ends].reverse()) {
    const [before, last] = [text.slice(0, end), text.slice(end)]
    const isStatement = end === 0 || before.endsWith(";") || startsNew.test(last)
    const returning = `${before} return (${last}\n)`
    if (isStatement && isBody(before) && isBody(returning) && declaredBy(last).length === 0) return returning
  }
  return body
}

const noAwait = `throw new SyntaxError("cannot mix await and yield*; use yield* Effect.promise(() => …)")`

/**
 * What the prompt evaluates for a line that {@link yields}: a generator function for {@link toEffect}; or a text that fails, so that the prompt
 * reports what is wrong with the line, or waits for the next one.
 */
export const toGenerator = (code: string): string => {
  // Without the closing brace, so that it never compiles.
  if (!isBody(code)) return isBody(code.replaceAll(/\bawait\b/g, "")) ? noAwait : `(function* () { ${code}`
  const names = declaredBy(code)
  // Fails for a name that another line declared with `let`, `const` or `class`, which would hide this one.
  const claimed = names.length === 0 ? "" : `(0, eval)("var ${names.join(", ")}");`
  const kept = names.map((name) => `${name}: { get: () => ${name}, set: (value) => { ${name} = value } }`)
  return `${claimed}(function* () { yield { ${kept.join(", ")} }; ${withValue(code)}\n})`
}

/** The Effect of such a line. If its value is an Effect, that is run too. */
export const toEffect = (generator: () => Generator<AnyEffect, unknown>, context: object): AnyEffect =>
  Effect.suspend(() => {
    const line = generator()
    // The variables themselves, not copies: functions of the line may change them.
    for (const [name, variable] of Object.entries<PropertyDescriptor>(Object(line.next().value))) {
      Object.defineProperty(context, name, { ...variable, configurable: true, enumerable: true })
    }
    return Effect.gen(function* () {
      const value = yield* line
      return isToRun(value) ? yield* value : value
    })
  })
