/**
 * Erlang terms as the oracle writes them in JSON, and exit reasons as such terms.
 */
import * as Cause from "effect/Cause"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import { UnknownMessage } from "../../src/actors/internal/gen/server.ts"
import { FailedToStartChild, InvalidSpec, type Problem, StartCrash } from "../../src/actors/SupervisorError.ts"

export type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [key: string]: Json }

/** A JSON object whose keys were binaries on the Erlang side: the oracle prints those in plain alphabetical order. */
export class BinaryMap {
  readonly entries: { readonly [key: string]: unknown }
  constructor(entries: { readonly [key: string]: unknown }) {
    this.entries = entries
  }
}

const leading = ["id", "op", "error", "ret", "sup"]
const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

/** JSON in the oracle's byte form. */
export const encode = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(encode).join(",")}]`
  if (value instanceof BinaryMap) return object(value.entries, Object.keys(value.entries).sort(byText))
  if (typeof value === "object" && value !== null) {
    const record = value as { readonly [key: string]: unknown }
    const keys = Object.keys(record).filter((key) => record[key] !== undefined)
    const rest = keys.filter((key) => !leading.includes(key)).sort(byText)
    return object(record, [...leading.filter((key) => keys.includes(key)), ...rest])
  }
  return JSON.stringify(value)
}

const object = (record: { readonly [key: string]: unknown }, keys: ReadonlyArray<string>): string =>
  `{${keys.map((key) => `${JSON.stringify(key)}:${encode(record[key])}`).join(",")}}`

const simple: Readonly<Record<string, ExitReason.ExitReason>> = {
  normal: ExitReason.normal,
  shutdown: ExitReason.shutdown,
  kill: ExitReason.kill,
  killed: ExitReason.killed,
  noproc: ExitReason.noProcess
}

/** The exit reason that a term stands for. */
export const reasonOf = (term: Json): ExitReason.ExitReason => {
  if (typeof term === "string") return simple[term] ?? ExitReason.custom(term)
  if (Array.isArray(term) && term.length === 2 && term[0] === "shutdown") return ExitReason.shutdownWith(term[1])
  return ExitReason.custom(term)
}

/** An error that is a term: what `error(Term)` raises. */
export class TermError extends Error {
  readonly term: Json
  constructor(term: Json) {
    super(JSON.stringify(term))
    this.term = term
  }
}

const crashTerm = (cause: Cause.Cause<unknown>): unknown => {
  const defect = Cause.squash(cause)
  if (defect instanceof ExitReason.ExitDefect) return termOf(defect.reason)
  // A message that no clause of a callback accepts is this error in Erlang.
  if (defect instanceof UnknownMessage) return ["function_clause", "$stack"]
  return [defect instanceof TermError ? defect.term : String(defect), "$stack"]
}

/** An exit reason as a term. */
export const termOf = (reason: ExitReason.ExitReason): unknown => {
  switch (reason._tag) {
    case "Normal":
      return "normal"
    case "Shutdown":
      return "shutdown"
    case "ShutdownWith":
      return ["shutdown", detailOf(reason.detail)]
    case "Kill":
      return "kill"
    case "Killed":
      return "killed"
    case "NoProcess":
      return "noproc"
    case "Crashed":
      return crashTerm(reason.cause)
    case "BadReturn":
      return ["bad_return_value", reason.value]
    case "Custom":
      return detailOf(reason.term)
  }
}

const detailOf = (detail: unknown): unknown => {
  if (detail instanceof FailedToStartChild) return ["failed_to_start_child", detail.id, termOf(detail.reason)]
  if (detail instanceof StartCrash) return ["EXIT", crashTerm(detail.cause)]
  if (detail instanceof InvalidSpec) return specProblem(detail)
  return detail
}

const words: Readonly<Record<string, string>> = {
  oneForOne: "one_for_one",
  oneForAll: "one_for_all",
  restForOne: "rest_for_one",
  simpleOneForOne: "simple_one_for_one",
  anySignificant: "any_significant",
  allSignificant: "all_significant",
  brutalKill: "brutal_kill",
  startError: "start_error",
  childTerminated: "child_terminated",
  shutdownError: "shutdown_error"
}
const unwords = Object.fromEntries(Object.entries(words).map(([ours, theirs]) => [theirs, ours]))

/** OTP's word for one of ours; anything else is left alone. */
export const theirWord = (value: unknown): unknown => (typeof value === "string" ? (words[value] ?? value) : value)
/** Our word for one of OTP's. */
export const ourWord = (value: unknown): unknown => (typeof value === "string" ? (unwords[value] ?? value) : value)

const names: Readonly<Partial<Record<Problem, string>>> = {
  invalidStrategy: "invalid_strategy",
  invalidIntensity: "invalid_intensity",
  invalidPeriod: "invalid_period",
  invalidAutoShutdown: "invalid_auto_shutdown",
  invalidStart: "invalid_mfa",
  invalidRestart: "invalid_restart_type",
  invalidShutdown: "invalid_shutdown",
  invalidType: "invalid_child_type",
  invalidModules: "invalid_modules",
  invalidSignificant: "invalid_significant",
  invalidChildSpec: "invalid_child_spec",
  duplicateChildName: "duplicate_child_name"
}

/** The term for an invalid spec, without the `start_spec` or `supervisor_data` around it. */
export const bareProblem = (error: InvalidSpec): unknown => {
  switch (error.problem) {
    case "missingId":
      return "missing_id"
    case "missingStart":
      return "missing_start"
    case "significantWithoutAutoShutdown":
      return [
        "bad_combination",
        {
          list: [
            ["auto_shutdown", "never"],
            ["significant", true]
          ]
        }
      ]
    case "significantAndPermanent":
      return [
        "bad_combination",
        {
          list: [
            ["restart", "permanent"],
            ["significant", true]
          ]
        }
      ]
    case "invalidPeriod":
      return ["invalid_period", typeof error.value === "number" ? error.value / 1000 : error.value]
    default:
      return [names[error.problem] ?? error.problem, theirWord(error.value)]
  }
}

const specProblem = (error: InvalidSpec): unknown => {
  if (error.problem === "badStartSpec") return ["bad_start_spec", error.value]
  return [error.of === "supervisor" ? "supervisor_data" : "start_spec", bareProblem(error)]
}
