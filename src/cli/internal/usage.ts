/** The answer to a wrong command line: a line for each error, and where to read more. */
import type * as CliError from "effect/cli/CliError"
import type * as CliOutput from "effect/cli/CliOutput"

type Invalid = CliOutput.Presenter.InvalidInvocation

const sharedPrefix = (a: string, b: string): number => {
  let length = 0
  while (length < a.length && a[length] === b[length]) length += 1
  return length
}

/**
 * The long option that was probably meant. Effect suggests options that differ in at most two letters; this also finds
 * one with the same beginning. For a single letter it is an option that begins with it.
 */
const nearestOption = ({ option, suggestions }: CliError.UnrecognizedOption, known: ReadonlyArray<string>) => {
  const typed = option.replace(/^-+/, "")
  if (typed.length === 1) return known.find((name) => name.startsWith(typed))
  const near = suggestions.find((name) => name.startsWith("--"))?.slice(2)
  const [alike] = [...known].sort((a, b) => sharedPrefix(b, typed) - sharedPrefix(a, typed))
  return near ?? (alike !== undefined && sharedPrefix(alike, typed) >= 3 ? alike : undefined)
}

const didYouMean = (suggestion: string | undefined) => (suggestion === undefined ? "" : `; did you mean ${suggestion}?`)

const invalidValue = ({ expected, kind, option, value }: CliError.InvalidValue): string => {
  const name = kind === "flag" ? `--${option}` : option
  const wanted = expected.replace(/^Expected:? /, "")
  if (value === "") return `${name} needs a value: ${wanted}`
  return /^\d+ occurrences$/.test(value)
    ? `${name} can be given only once`
    : `${name} must be ${wanted}, got "${value}"`
}

const describe = (error: Invalid["errors"][number], known: ReadonlyArray<string>): string => {
  switch (error._tag) {
    case "UnrecognizedOption": {
      const name = nearestOption(error, known)
      return `unknown option ${error.option}${didYouMean(name === undefined ? undefined : `--${name}`)}`
    }
    case "UnknownSubcommand":
      return `unknown command "${error.subcommand}"${didYouMean(error.suggestions.map((name) => `"${name}"`)[0])}`
    case "MissingArgument":
      return `missing argument ${error.argument}`
    case "MissingOption":
      return `missing option --${error.option}`
    case "UnexpectedArgument":
      return `unexpected ${error.arguments.length === 1 ? "argument" : "arguments"} ${error.arguments.map((value) => `"${value}"`).join(", ")}`
    case "InvalidValue":
      return invalidValue(error)
    default:
      return error.message
  }
}

/** The answer to a wrong command line. */
export const render = ({ commandPath, errors, helpDoc }: Invalid): string => {
  const known = [...helpDoc.flags, ...(helpDoc.globalFlags ?? [])].map(({ name }) => name)
  return [
    ...errors.map((error) => `vmtest: ${describe(error, known)}`),
    `For more information, try '${commandPath.join(" ")} --help'.`
  ].join("\n")
}
