/** The part of a stack trace that is the user's own. */
import { fileURLToPath } from "node:url"
import { inspect } from "node:util"
import * as Failure from "../../driver/Failure.ts"

const own = fileURLToPath(new URL("../..", import.meta.url))

const isForeign = (line: string): boolean =>
  line.includes(own) || /\(?(node:|file:.*node_modules|.*\/node_modules\/)/.test(line.trim().slice(3))

const framesOf = (error: Error): ReadonlyArray<string> =>
  (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line) && !isForeign(line))

/** Whether a line of the user's is among those that led to an error. */
export const isOfScript = (thrown: unknown): boolean => thrown instanceof Error && framesOf(thrown).length > 0

/** What was thrown, as text: an error's name, message and the frames outside Node, installed packages and vmtest, or the value itself. */
export const describeThrown = (thrown: unknown): string => {
  if (!(thrown instanceof Error)) return inspect(thrown)
  const head = `${thrown.name}: ${Failure.messageOf(thrown)}`
  return [head, ...framesOf(thrown)].map((line) => `  ${line}`).join("\n")
}
