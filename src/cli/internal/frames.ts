/** The part of a stack trace that is the user's own. */
import { fileURLToPath } from "node:url"
import { inspect } from "node:util"

const own = fileURLToPath(new URL("../..", import.meta.url))

const isForeign = (line: string): boolean =>
  line.includes(own) || /\(?(node:|file:.*node_modules|.*\/node_modules\/)/.test(line.trim().slice(3))

/** What was thrown, as text: an error's name, message and the frames outside Node, installed packages and vmtest, or the value itself. */
export const describeThrown = (thrown: unknown): string => {
  if (!(thrown instanceof Error)) return inspect(thrown)
  const head = `${thrown.name}: ${thrown.message}`
  const frames = (thrown.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line) && !isForeign(line))
  return [head, ...frames].map((line) => `  ${line}`).join("\n")
}
