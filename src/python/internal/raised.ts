/** The exceptions of a script as the errors of its test, at the script's lines. */
import { PythonSyntaxError, ScriptRaised } from "../PythonError.ts"
import type { Raised } from "./protocol.ts"

/** Where the text of the script is, if that is a part of another file: the columns that were taken from the begin of its lines. */
export interface Indented {
  readonly file: string
  readonly columns: number
}

/** As V8 writes it, which is how failures find the lines of a script. */
const stackOf = ({ frames }: Raised, { columns, file: indented }: Indented): string =>
  frames
    .map(({ column, file, function: name, line }) => {
      const at = file === indented ? column + columns : column
      return `\n    at ${name} (${file}:${line}:${at})`
    })
    .join("")

const textOf = ({ exit, message, type }: Raised): string => {
  if (type === "SystemExit") return `the script called sys.exit(${exit ?? JSON.stringify(message)})`
  return type === "Stopped" ? "the script ended the test with terminate_test()" : message
}

const ownError = (raised: Raised): Error => {
  const [place] = raised.frames
  if (/^(Syntax|Indentation|Tab)Error$/.test(raised.type) && place !== undefined) {
    const { column, file, line } = place
    return new PythonSyntaxError({ file, line, column, problem: raised.message })
  }
  return new ScriptRaised({ type: raised.type, text: textOf(raised) })
}

/**
 * Gives the error for an exception, the same one for the same exception: that of the call that it came from, if it came from one. `failures` has the errors
 * of calls by their numbers.
 */
export const make = (failures: ReadonlyMap<number, unknown>, indented: Indented) => {
  const known = new Map<number, Error>()
  const errorOf = (raised: Raised): Error => {
    const before = known.get(raised.number)
    if (before !== undefined) return before
    const failure = failures.get(raised.call)
    const error = failure instanceof Error ? failure : ownError(raised)
    if (raised.number > 0) known.set(raised.number, error)
    if (raised.cause !== null && error.cause === undefined && error !== failure) error.cause = errorOf(raised.cause)
    error.stack = `${error.name}: ${error.message}${stackOf(raised, indented)}`
    return error
  }
  return errorOf
}
