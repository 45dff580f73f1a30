/** The part of a stack trace that is the user's own. */
import { fileURLToPath } from "node:url"
import * as Failure from "../../driver/Failure.ts"
import { isError, property, stackOf } from "../../host/Thrown.ts"

const own = fileURLToPath(new URL("../..", import.meta.url))

const isForeign = (line: string): boolean =>
  line.includes(own) || /\(?(node:|file:.*node_modules|.*\/node_modules\/)/.test(line.trim().slice(3))

const framesOf = (error: unknown): ReadonlyArray<string> =>
  stackOf(error)
    .split("\n")
    .filter((line) => /^\s+at /.test(line) && !isForeign(line))

/** Whether a line of the user's is among those that led to an error. */
export const isOfScript = (thrown: unknown): boolean => framesOf(thrown).length > 0

/** What was thrown, as text: an error's name, message and the frames outside Node, installed packages and vmtest, or the value itself. */
export const describeThrown = (thrown: unknown): string => {
  if (!isError(thrown)) return Failure.messageOf(thrown)
  const head = `${property(thrown, "name")}: ${Failure.messageOf(thrown)}`
  return [head, ...framesOf(thrown)].map((line) => `  ${line}`).join("\n")
}
