/**
 * Lines of the prompt in TypeScript: esbuild takes their types out, as it does with scripts.
 *
 * A line that is JavaScript already is left as it is, so that JavaScript's own parser says what is wrong with it, and whether it goes on.
 */
import { Script } from "node:vm"
import * as Result from "effect/Result"
import * as esbuild from "esbuild"

const isJavaScript = (code: string): boolean =>
  Result.isSuccess(Result.try(() => new Script(`(async function* () { ${code}\n})`)))

const before = "async function* line() {\n"

const transform = (text: string) =>
  Result.try(
    () => esbuild.transformSync(text, { loader: "ts", charset: "utf8", target: "esnext", logLevel: "silent" }).code
  )

/** Whether more lines can make it whole: without the closing brace, nothing is wrong with it but its end. */
const isUnfinished = (code: string): boolean => {
  const open = transform(before + code)
  return Result.isFailure(open) && /\bend of file\b/.test(String(open.failure))
}

/** What Node's REPL takes for a statement that the next line continues. */
const unfinished = "("

/** The JavaScript of a line. One that is not TypeScript is given as it is. */
export const toJavaScript = (code: string): string => {
  if (code.trim() === "" || isJavaScript(code)) return code
  const whole = transform(`${before}${code}\n}`)
  if (Result.isFailure(whole)) return isUnfinished(code) ? unfinished : code
  const text = whole.success
  return text.slice(text.indexOf("{") + 1, text.lastIndexOf("}"))
}
