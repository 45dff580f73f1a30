/** The exceptions of a script as the errors of its test, at the script's lines. */
import { near } from "../../host/Spelling.ts"
import { PythonSyntaxError, ScriptRaised } from "../PythonError.ts"
import * as Surface from "../Surface.ts"
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

/** A machine's name as a script has it. */
const identifier = (machine: string): string => machine.replaceAll(/^[^A-Za-z_]|[^A-Za-z0-9_]/g, "_")

/** What completes the message about a name that is not defined: which is near, and which machines there are. */
const nameHint = ({ message, type }: Raised, machines: ReadonlyArray<string>): string => {
  const [, name] = type === "NameError" ? (/^name '(\w+)' is not defined$/.exec(message) ?? []) : []
  if (name === undefined) return ""
  const known = machines.map(identifier)
  // `machine` is there only where it is the only one.
  const others = Object.keys(Surface.names.script).filter((one) => /^[a-z]/.test(one) && one !== "machine")
  const meant = name === "machine" ? undefined : near(name, [...known, ...others])
  const hint = meant === undefined ? "" : `; did you mean ${JSON.stringify(meant)}?`
  if (meant !== undefined && !known.includes(meant)) return hint
  const those = known.length === 0 ? "the test declares no machines" : `machines of this test: ${known.join(", ")}`
  return hint === "" ? `; ${those}` : `${hint} (${those})`
}

const ownError = (raised: Raised, machines: ReadonlyArray<string>): Error => {
  const [place] = raised.frames
  if (/^(Syntax|Indentation|Tab)Error$/.test(raised.type) && place !== undefined) {
    const { column, file, line } = place
    return new PythonSyntaxError({ file, line, column, problem: raised.message })
  }
  return new ScriptRaised({ type: raised.type, text: textOf(raised) + nameHint(raised, machines) })
}

/**
 * Gives the error for an exception, the same one for the same exception: that of the call that it came from, if it came from one. `failures` has the errors
 * of calls by their numbers; `machines` gives the names of the test's machines.
 */
export const make = (
  failures: ReadonlyMap<number, unknown>,
  indented: Indented,
  machines: () => ReadonlyArray<string>
) => {
  const known = new Map<number, Error>()
  const errorOf = (raised: Raised): Error => {
    const before = known.get(raised.number)
    if (before !== undefined) return before
    const failure = failures.get(raised.call)
    const error = failure instanceof Error ? failure : ownError(raised, machines())
    if (raised.number > 0) known.set(raised.number, error)
    if (raised.cause !== null && error.cause === undefined && error !== failure) error.cause = errorOf(raised.cause)
    error.stack = `${error.name}: ${error.message}${stackOf(raised, indented)}`
    return error
  }
  return errorOf
}
