/** The answer to a wrong command line: a line for each error, and where to read more. */
import type * as CliError from "effect/cli/CliError"
import type * as CliOutput from "effect/cli/CliOutput"
import { type Aliases, near } from "../../host/Spelling.ts"

type Invalid = CliOutput.Presenter.InvalidInvocation

const sharedPrefix = (a: string, b: string): number => {
  let length = 0
  while (length < a.length && a[length] === b[length]) length += 1
  return length
}

/** What other tools call options, and what options were called here. */
const aliases: Aliases = {
  "test-name": "grep",
  "test-name-pattern": "grep",
  workers: "jobs",
  parallel: "jobs",
  bail: "fail-fast",
  exitfirst: "fail-fast",
  "max-failures": "fail-fast",
  "last-failed": "only-failed",
  "only-failures": "only-failed",
  repeat: "repeat-each",
  "output-dir": "output"
}

/**
 * The long option that was probably meant. Effect suggests options that differ in at most two letters; this also finds
 * one whose letters are in another order, or that has the same beginning. For a single letter it is an option that begins with it.
 */
const nearestOption = ({ option, suggestions }: CliError.UnrecognizedOption, known: ReadonlyArray<string>) => {
  const typed = option.replace(/^-+/, "")
  if (typed.length === 1) return known.find((name) => name.startsWith(typed))
  const alias = Object.hasOwn(aliases, typed) ? aliases[typed] : undefined
  if (alias !== undefined && known.includes(alias)) return alias
  const suggested = suggestions.find((name) => name.startsWith("--"))?.slice(2) ?? near(typed, known)
  const [alike] = [...known].sort((a, b) => sharedPrefix(b, typed) - sharedPrefix(a, typed))
  return suggested ?? (alike !== undefined && sharedPrefix(alike, typed) >= 3 ? alike : undefined)
}

/** Options whose value can follow their letter without a space, and the long options that begin with such a letter. */
const valued = /^-([jto])(.+)$/s
const longOptions = ["jobs", "json", "junit", "older-than", "only-failed", "output", "test-name", "timeout"]

/** Whether a word with one dash, such as `timeout` or `otuput`, was meant as a long option, not as a letter and its value. */
const isLong = (word: string): boolean => {
  const [name = ""] = word.split("=")
  const [first, second] = name
  // No long option begins with a letter twice: `-ooutput` is the folder "output".
  if (first === second) return false
  const alike = longOptions.filter((option) => option[0] === first)
  return near(name, alike) !== undefined || alike.some((option) => name.length >= 3 && option.startsWith(name))
}

/** Letters without a value can be together, such as `-qh`; `-help` and `-version` are what they seem to be. */
const together = /^-([qhvi]+|help|version)$/

/** Marks a word as an unknown long option, which the parser would read letter by letter. */
const marked = (word: string) => `--${word}`
const asTyped = (option: string) => option.replace(/^---(?=[^-])/, "-")

/** The words of the command line as Effect's parser reads them: `-j4` as `-j 4`, and `-timeout` as one unknown option. */
export const apart = (word: string, index: number, all: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (!/^-[a-z]./is.test(word) || together.test(word) || all.slice(0, index).includes("--")) return [word]
  const [, letter, value] = valued.exec(word) ?? []
  if (letter !== undefined && value !== undefined && !isLong(word.slice(1)))
    return [`-${letter}`, value.replace(/^=/, "")]
  return word[2] === "=" ? [word] : [marked(word)]
}

const didYouMean = (suggestion: string | undefined) => (suggestion === undefined ? "" : `; did you mean ${suggestion}?`)

const invalidValue = ({ expected, kind, option, value }: CliError.InvalidValue): string => {
  const name = kind === "flag" ? `--${option}` : option
  const wanted = expected
    .replace(/^Expected:? /, "")
    .replace(/ \| (?=[^|]*$)/, " or ")
    .replaceAll(" | ", ", ")
  if (value === "") return `${name} needs a value: ${wanted}`
  return /^\d+ occurrences$/.test(value)
    ? `${name} can be given only once`
    : `${name} must be ${wanted}, got "${value}"`
}

const describe = (error: Invalid["errors"][number], known: ReadonlyArray<string>): string => {
  switch (error._tag) {
    case "UnrecognizedOption": {
      const name = nearestOption(error, known)
      return `unknown option "${asTyped(error.option)}"${didYouMean(name === undefined ? undefined : `"--${name}"`)}`
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
  // The parser reads a value such as -1/3, which it does not take, letter by letter.
  const isLetter = (error: Invalid["errors"][number]) =>
    error._tag === "UnrecognizedOption" && /^-[^a-z-]/i.test(error.option)
  const own = errors.filter((error) => !isLetter(error))
  return [
    ...(own.length === 0 ? errors : own).map((error) => `vmtest: ${describe(error, known)}`),
    `For more information, try '${commandPath.join(" ")} --help'.`
  ].join("\n")
}
