/** The part of a stack trace that is the user's own. */
import * as Failure from "../../driver/Failure.ts"
import * as OwnFiles from "../../host/OwnFiles.ts"
import { isError, property, stackOf } from "../../host/Thrown.ts"

/** The file of a frame, such as `    at suite (/home/me/web.ts:3:1)`. */
const fileOf = (line: string): string => /(?:\(|at (?:async )?)(?:file:\/\/)?(\/[^()]*)\)?$/.exec(line)?.[1] ?? ""

const isForeign = (line: string): boolean =>
  OwnFiles.has(fileOf(line)) || /\(?(node:|file:.*node_modules|.*\/node_modules\/)/.test(line.trim().slice(3))

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
