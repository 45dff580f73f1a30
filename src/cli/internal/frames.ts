/** The part of a stack trace that is the user's own. */
import { inspect } from "node:util"

const isForeign = (line: string): boolean =>
  /\(?(node:|file:.*node_modules|.*\/node_modules\/)/.test(line.trim().slice(3))

/** What was thrown, as text: an error's name, message and the frames outside Node and installed packages, or the value itself. */
export const describeThrown = (thrown: unknown): string => {
  if (!(thrown instanceof Error)) return inspect(thrown)
  const head = `${thrown.name}: ${thrown.message}`
  const frames = (thrown.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line) && !isForeign(line))
  return [head, ...frames].map((line) => `  ${line}`).join("\n")
}
