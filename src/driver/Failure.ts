/**
 * Why a test failed, as data for people: what went wrong, the evidence, and where in the script.
 *
 * **Example** (Showing a failure in a report)
 *
 * ```ts
 * import type { Failure } from "vmtest"
 *
 * const line = ({ kind, message, place }: Failure.Failure) =>
 *   place === undefined ? `${kind}: ${message}` : `${place.file}:${place.line}: ${message}`
 * ```
 *
 * @since 0.1.0
 */
import { readFileSync } from "node:fs"
import { inspect } from "node:util"
import * as Cause from "effect/Cause"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import { lastLines, section, sectionsOf, titleOf } from "../host/Evidence.ts"
import { type Location, originOf, scriptFrame } from "./internal/scriptLocation.ts"

/** A line of the script; line and column from 1. `text` is the line itself, or empty where the file cannot be read. */
export interface Place extends Location {
  readonly text: string
}

/** A failure, ready to be shown. */
export interface Failure {
  /** The error's tag or name: `"CommandFailed"`; `"Error"` for a plain value. */
  readonly kind: string
  /** One or several lines; says the most important of the evidence. */
  readonly message: string
  /** The error's `stdout`, `stderr`, `journal` and `console`, where the message does not show them whole; then other failures. */
  readonly evidence: ReadonlyArray<{ readonly title: string; readonly text: string }>
  /** The script's line that failed. */
  readonly place: Place | undefined
  /** The subtest that failed, after the names of those that it is a part of. */
  readonly subtest?: ReadonlyArray<string> | undefined
  readonly cause: Cause.Cause<unknown>
}

const evidenceFields = ["stdout", "stderr", "journal", "console"] as const

const messageOf = (error: unknown): string => {
  if (typeof error === "string") return error
  if (Predicate.hasProperty(error, "message") && typeof error.message === "string" && error.message !== "") {
    return error.message
  }
  return inspect(error, { depth: 4 })
}

const kindOf = (error: unknown): string => {
  if (Predicate.hasProperty(error, "_tag") && typeof error._tag === "string") return error._tag
  return error instanceof Error ? error.name : "Error"
}

const withText = (location: Location): Place => {
  const lines = Result.try(() => readFileSync(location.file, "utf8").split("\n"))
  return { ...location, text: Result.isSuccess(lines) ? (lines.success[location.line - 1] ?? "") : "" }
}

/** What failed: the first error, else the first defect, else what the cause says of itself. */
const failed = (cause: Cause.Cause<unknown>): { readonly error: unknown; readonly step: Location | undefined } => {
  for (const reason of cause.reasons) {
    if (Cause.isFailReason(reason)) return { error: reason.error, step: originOf(reason) }
  }
  for (const reason of cause.reasons) {
    if (Cause.isDieReason(reason)) return { error: reason.defect, step: originOf(reason) }
  }
  const error = Cause.hasInterruptsOnly(cause)
    ? { _tag: "Interrupted", message: "interrupted before it ended" }
    : Cause.squash(cause)
  return { error, step: undefined }
}

/** The stack of an error, and of each that is its cause. */
const stacksOf = (error: unknown): ReadonlyArray<string> => {
  const stacks: Array<string> = []
  const seen = new Set<unknown>()
  for (let at = error; at instanceof Error && !seen.has(at); at = at.cause) {
    seen.add(at)
    if (at.stack !== undefined) stacks.push(at.stack)
  }
  return stacks
}

/**
 * A cause as a failure. `lastStep` is the script's step that was under way.
 *
 * An error that was made on a line of the script names that line; one that was made elsewhere, or is no `Error` at all, the step that the
 * fiber was on which failed first, or else the last step.
 */
export const fromCause = (cause: Cause.Cause<unknown>, lastStep: Location | undefined): Failure => {
  const { error, step } = failed(cause)
  const message = messageOf(error)
  const made = stacksOf(error).flatMap((stack) => scriptFrame(stack) ?? [])[0]
  const location = made ?? step ?? lastStep
  return {
    kind: kindOf(error),
    message,
    evidence: evidenceFields.flatMap((title) => {
      const text = Predicate.hasProperty(error, title) ? error[title] : undefined
      const shown = typeof text === "string" ? text.trim() : ""
      // A message shows the lines that say something, indented.
      const lines = lastLines(shown, Infinity)
      return lines === "" || message.includes(lines.replace(/^/gm, "  ")) || message.includes(shown)
        ? []
        : [{ title, text: shown }]
    }),
    place: location === undefined ? undefined : withText(location),
    cause
  }
}

/** What failed, of a cause. */
export const errorOf = (cause: Cause.Cause<unknown>): unknown => failed(cause).error

/** A subtest by its path, for people: `outer › inner`. */
export const subtestName = (path: ReadonlyArray<string>): string => path.join(" › ")

/** A failure of the whole as that of the subtest which failed first with the same error, if one did. */
export const ofSubtest = (
  failure: Failure,
  subtests: ReadonlyArray<{ readonly failure: Failure | undefined }>
): Failure => {
  const error = errorOf(failure.cause)
  const same = typeof error === "object" && subtests.find((one) => one.failure && errorOf(one.failure.cause) === error)
  return same ? { ...failure, subtest: same.failure?.subtest } : failure
}

/** Each text without the sections that one before it has, but for their titles: machines and consoles that several failures are about. */
export const tellOnce = (texts: ReadonlyArray<string>): ReadonlyArray<string> => {
  const told = new Set<string>()
  return texts.map((text) => {
    const [head, ...parts] = sectionsOf(text)
    const once = parts.map((part) => {
      const isLong = part.split("\n").length > 2
      if (isLong && told.has(part)) return `${titleOf(part)}: as above`
      told.add(part)
      return part
    })
    return [head, ...once].join("\n")
  })
}

/** A test's failure, with those of its subtests, and of what ran beside it, as further evidence. */
export const withParts = (failure: Failure, parts: ReadonlyArray<Failure>): Failure => {
  const [, ...texts] = tellOnce([failure, ...parts].map(render))
  const further = parts.map(({ subtest = [] }, index) => ({
    title: subtest.length === 0 ? "another error" : `subtest ${JSON.stringify(subtestName(subtest))} failed too`,
    text: texts[index] ?? ""
  }))
  return { ...failure, evidence: [...failure.evidence, ...further] }
}

const named = ({ kind }: Failure, message: string) =>
  kind === "Error" || message.startsWith(kind) ? message : `${kind}: ${message}`

/** The failure in one line, for where the whole of it is told elsewhere. */
export const headline = (failure: Failure): string => named(failure, failure.message).split("\n")[0] ?? ""

const linesOf = (text: string) => text.split("\n").map((line) => line.trim())

/** Whether evidence shows all that a section of a message shows of it: its end, or the lines that explain it. */
const shows =
  (part: string) =>
  ({ text, title }: Failure["evidence"][number]): boolean => {
    if (part === section("last seen", text).slice(1)) return true
    const lines = new Set(["…", ...linesOf(text)])
    const [, ...shown] = linesOf(part)
    return titleOf(part).split(" ")[0] === title && shown.every((line) => lines.has(line))
  }

/** The failure in one block of text: where, what, evidence. */
export const render = (failure: Failure): string => {
  const place = failure.place
  const where =
    place === undefined
      ? ""
      : `${place.file}:${place.line}:${place.column}\n${place.text === "" ? "" : `  ${place.line} | ${place.text.trimEnd()}\n`}`
  const evidence = failure.evidence.map(({ text, title }) => `\n${title}:\n${text.replace(/^/gm, "  ")}`)
  // What the message shows a part of comes whole below, and once is enough: what a wait saw last may be the console.
  const [head, ...parts] = sectionsOf(failure.message)
  const message = [head, ...parts.filter((part) => !failure.evidence.some(shows(part)))].join("\n")
  return `${where}${named(failure, message)}${evidence.join("")}`
}
