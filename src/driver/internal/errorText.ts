/** What an error says of itself: its class, its message, its causes, and how what it compared differs. */
import * as Util from "node:util"
import { isError, kindOf, messageOf as ownMessageOf, property, read, stackOf } from "../../host/Thrown.ts"
import { hintOfImage } from "./misspelt.ts"
import { scriptFrame } from "./scriptLocation.ts"

/** An error's message, or its fields if it has no message. Any other value is shown as Node shows it. */
export const messageOf = (error: unknown): string =>
  isError(error) ? ownMessageOf(error) + read(() => hintOfImage(error), "") : ownMessageOf(error)

/** A message after the kind of its error, where it does not begin with it. */
export const named = (kind: string, message: string): string =>
  kind === "Error" || message.startsWith(kind) ? message : `${kind}: ${message}`

/** The error, then its cause, and so on; the errors of an `AggregateError` count as causes. */
export const chainOf = (error: unknown): ReadonlyArray<unknown> => {
  const chain: Array<unknown> = []
  const add = (one: unknown) => {
    if (chain.includes(one) || chain.length >= 10) return
    chain.push(one)
    const causes = read(() => {
      const errors: ReadonlyArray<unknown> = one instanceof AggregateError ? [...one.errors] : []
      // A plain object that is used as an error has both; another one is shown whole.
      const cause = isError(one) || property(one, "message") ? property(one, "cause") : undefined
      return cause === undefined ? errors : [...errors, cause]
    }, [])
    causes.forEach(add)
  }
  add(error)
  return chain
}

/** The causes of an error, a line or more each, without those that its message has already. */
export const causesOf = (error: unknown): string =>
  chainOf(error)
    .slice(1)
    .map((cause) => {
      const text = named(kindOf(cause), messageOf(cause))
      if (messageOf(error).includes(text)) return ""
      const place = scriptFrame(stackOf(cause))
      return place === undefined ? text : `${text}\n  at ${place.file}:${place.line}:${place.column}`
    })
    .filter((text) => text !== "")
    .join("\n")

/** More lines are not compared: it takes time that grows with their square. */
const comparable = 2000

const textOf = (value: unknown): string =>
  typeof value === "string"
    ? value
    : Util.inspect(value, { depth: 8, maxArrayLength: 1000, sorted: true, compact: false })

/**
 * The lines that differ between what an assertion of vitest, chai or Jest wanted and what it got, with two lines around them; empty for any other
 * error, and if the message already shows the difference.
 */
export const differenceOf = (error: unknown): string => read(() => differenceIn(error), "")

const differenceIn = (error: unknown): string => {
  if (!(error instanceof Error) || !("actual" in error) || !("expected" in error)) return ""
  // Node's own assertions have it in their message.
  if ("code" in error && error.code === "ERR_ASSERTION") return ""
  if ("showDiff" in error && error.showDiff === false) return ""
  const [actual, expected] = [textOf(error.actual).split("\n"), textOf(error.expected).split("\n")]
  const isShort = actual.length + expected.length === 2 && actual.concat(expected).join("").length < 60
  if (isShort || actual.length + expected.length > comparable) return ""
  const lines = Util.diff(actual, expected)
  const near = (index: number) => lines.slice(Math.max(0, index - 2), index + 3).some(([side]) => side !== 0)
  const shown = lines.map(([side, line], index) =>
    side === 0 ? (near(index) ? `  ${line}` : undefined) : `${side > 0 ? "+" : "-"} ${line}`
  )
  if (lines.every(([side]) => side === 0)) return ""
  return shown.flatMap((line, index) => line ?? (index > 0 && shown[index - 1] === undefined ? [] : ["  …"])).join("\n")
}
