/**
 * Words of a command line by the rules of Python's argparse, which the NixOS test driver has: options can be abbreviated as long as it is clear which
 * one is meant, and values follow as `--option value`, `--option=value`, `-o value` or `-ovalue`.
 *
 * **Example** (An abbreviated option)
 *
 * ```ts
 * Flags.read([{ names: ["--debug-hook-attach"], takes: "one", help: "…" }], ["--debug-hook=attach.sh"])
 * ```
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { near } from "../host/Spelling.ts"

/** A wrong command line. */
export class UsageError extends Schema.TaggedError<UsageError>()("UsageError", {
  reason: Schema.String
}) {
  override get message() {
    return this.reason
  }
}

/** An option. Its key in what is read is its last name. */
export interface Option {
  /** For example `-o` and `--output_directory`; at least one. */
  readonly names: readonly [string, ...ReadonlyArray<string>]
  /** How many values follow it: none, one, or all words up to the next option. */
  readonly takes: "none" | "one" | "many"
  /** What its value is called in the help. */
  readonly value?: string
  readonly help: string
}

/** What a command line has: the values of the options that were given, by key, the last one last; and the words that belong to none. */
export interface Read {
  readonly options: ReadonlyMap<string, ReadonlyArray<string>>
  readonly words: ReadonlyArray<string>
}

/** The key of an option. */
export const keyOf = (option: Option): string => option.names[option.names.length - 1] ?? option.names[0]

const isLong = (word: string) => word.startsWith("--")

/** Whether a word is an option and not a value: a single dash is a value. */
const isOption = (word: string) => word.length > 1 && word.startsWith("-")

const fail = (reason: string) => Result.fail(new UsageError({ reason }))

type Found = Result.Result<{ readonly option: Option; readonly name: string; readonly value?: string }, UsageError>

/** The option that a long name means: that name itself, or the only one that begins with it. */
const findLong = (options: ReadonlyArray<Option>, name: string): Found => {
  const exact = options.find(({ names }) => names.includes(name))
  if (exact !== undefined) return Result.succeed({ option: exact, name })
  const known = options.flatMap((option) => option.names.filter(isLong).map((full) => ({ option, name: full })))
  const meant = known.filter((one) => one.name.startsWith(name))
  const [first, ...others] = meant
  if (first === undefined) {
    const guess = near(
      name.slice(2),
      known.map((one) => one.name.slice(2))
    )
    return fail(`unknown option "${name}"${guess === undefined ? "" : `; did you mean "--${guess}"?`}`)
  }
  if (others.some(({ option }) => option !== first.option)) {
    return fail(`option "${name}" could be ${meant.map((one) => `"${one.name}"`).join(" or ")}; write it in full`)
  }
  return Result.succeed(first)
}

const find = (options: ReadonlyArray<Option>, word: string): Found => {
  if (isLong(word)) {
    const equals = word.indexOf("=")
    if (equals === -1) return findLong(options, word)
    return Result.map(findLong(options, word.slice(0, equals)), (found) => ({
      ...found,
      value: word.slice(equals + 1)
    }))
  }
  const name = word.slice(0, 2)
  const option = options.find(({ names }) => names.includes(name))
  if (option === undefined) return fail(`unknown option "${name}"`)
  return Result.succeed(word.length > 2 ? { option, name, value: word.slice(2).replace(/^=/, "") } : { option, name })
}

/** Reads the words of a command line. What is given twice counts as it was given last. */
export const read = (options: ReadonlyArray<Option>, args: ReadonlyArray<string>): Result.Result<Read, UsageError> => {
  const given = new Map<string, ReadonlyArray<string>>()
  const note = (key: string, values: ReadonlyArray<string>) => {
    given.delete(key)
    given.set(key, values)
  }
  const words: Array<string> = []
  const left = [...args]
  for (let word = left.shift(); word !== undefined; word = left.shift()) {
    if (word === "--") {
      words.push(...left.splice(0))
      continue
    }
    if (!isOption(word)) {
      words.push(word)
      continue
    }
    const found = find(options, word)
    if (Result.isFailure(found)) return Result.fail(found.failure)
    const { name, option, value } = found.success
    const key = keyOf(option)
    if (option.takes === "none") {
      if (value !== undefined && isLong(word)) return fail(`${name} takes no value, got "${value}"`)
      note(key, [])
      // Letters can be together: `-KI`.
      if (value !== undefined) left.unshift(`-${word.slice(2)}`)
      continue
    }
    const values = value === undefined ? [] : [value]
    if (value === undefined) {
      const most = option.takes === "one" ? 1 : Number.POSITIVE_INFINITY
      while (values.length < most && left[0] !== undefined && !isOption(left[0])) values.push(left.shift() ?? "")
      if (option.takes === "one" && values.length === 0) return fail(`${name} needs a value: ${option.value ?? ""}`)
    }
    note(key, values)
  }
  return Result.succeed({ options: given, words })
}

/** The lines of a help about options. */
export const help = (options: ReadonlyArray<Option>): string =>
  options
    .map(({ help: text, names, takes, value = "" }) => {
      const after = takes === "none" ? "" : takes === "one" ? ` ${value}` : ` [${value}…]`
      return `  ${names.join(", ")}${after}\n      ${text}`
    })
    .join("\n")
