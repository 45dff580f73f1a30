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
import * as Cause from "effect/Cause"
import * as Result from "effect/Result"
import { cutMiddle, lastLines, section, sectionsOf, titleOf, visible } from "../host/Evidence.ts"
import type { Location } from "../host/Location.ts"
import * as OutputFolder from "../host/OutputFolder.ts"
import { kindOf, property, stackOf } from "../host/Thrown.ts"
import { causesOf, chainOf, differenceOf, messageOf, named } from "./internal/errorText.ts"
import { endsInGenerator, originOf, scriptFrame, scriptFrames } from "./internal/scriptLocation.ts"

/** A line of the script; line and column from 1. `text` is the line itself, or empty where the file cannot be read. */
export interface Place extends Location {
  readonly text: string
  /** At most two lines before it. */
  readonly before: ReadonlyArray<string>
  /** At most two lines after it. */
  readonly after: ReadonlyArray<string>
}

/** A failure, ready to be shown. */
export interface Failure {
  /** The error's tag, name or class: `"CommandFailed"`; `"Error"` for a plain value. */
  readonly kind: string
  /** One or several lines; says the most important of the evidence. */
  readonly message: string
  /** The file with the whole message, if that is long and one was written. */
  readonly messageFile?: string | undefined
  /**
   * What the message does not show whole: how the values differ that were compared, the error's causes, its `stdout`, `stderr`, `journal` and
   * `console`; then other failures. `file` has the whole of a text that is long, if one was written.
   */
  readonly evidence: ReadonlyArray<Evidence>
  /** The script's line that failed. */
  readonly place: Place | undefined
  /** The lines of scripts that called that one, the nearest first. */
  readonly callers: ReadonlyArray<Place>
  /** The subtest that failed, after the names of those that it is a part of. */
  readonly subtest?: ReadonlyArray<string> | undefined
  readonly cause: Cause.Cause<unknown>
}

/** What is shown of a failure: all but its cause, which a report of another run does not have. */
export interface Shown extends Omit<Failure, "cause" | "place"> {
  readonly place?: Place | undefined
}

/** A part of a failure: a title of a few words, and a text of any length, as it was said. */
export interface Evidence {
  readonly title: string
  readonly text: string
  readonly file?: string | undefined
}

export {
  /** An error's message; for a function that `Image` does not have, with the one that was probably meant. */
  messageOf
} from "./internal/errorText.ts"

const evidenceFields = ["stdout", "stderr", "journal", "console"] as const

/** A place in a text, with the lines around it. */
export const placeIn = (location: Location, text: string): Place => {
  const lines = text.split("\n")
  const index = location.line - 1
  return {
    ...location,
    text: lines[index] ?? "",
    before: lines.slice(Math.max(0, index - 2), index),
    after: lines.slice(index + 1, index + 3)
  }
}

/** A place with its lines, as its file has them now. */
export const withText = (location: Location): Place => {
  const text = Result.try(() => readFileSync(location.file, "utf8"))
  return Result.isSuccess(text) ? placeIn(location, text.success) : { ...location, text: "", before: [], after: [] }
}

/** The errors of a cause, then its defects, each once; what it says of itself if there is neither. */
const failuresOf = (
  cause: Cause.Cause<unknown>
): ReadonlyArray<{ readonly error: unknown; readonly steps: ReadonlyArray<Location>; readonly reason?: Reason }> => {
  const errors = cause.reasons.flatMap((reason) =>
    Cause.isFailReason(reason) ? [{ reason, error: reason.error }] : []
  )
  const defects = cause.reasons.flatMap((reason) =>
    Cause.isDieReason(reason) ? [{ reason, error: reason.defect }] : []
  )
  const all = [...errors, ...defects]
  if (all.length > 0) {
    return all
      .filter(({ error }, index) => all.findIndex((other) => other.error === error) === index)
      .map(({ error, reason }) => ({ error, reason, steps: originOf(reason) }))
  }
  const error = Cause.hasInterruptsOnly(cause)
    ? { _tag: "Interrupted", message: "interrupted before it ended" }
    : Cause.squash(cause)
  return [{ error, steps: [] }]
}

type Reason = Cause.Reason<unknown>

const isSameLine = (one: Location) => (other: Location) => one.file === other.file && one.line === other.line

/**
 * The lines of scripts that led to an error: those of its own stack, or of the stack of its cause, then the steps that the fiber was on which failed
 * first, then the steps of the script; the innermost first, and each once.
 */
const placesOf = (
  error: unknown,
  steps: ReadonlyArray<Location>,
  lastSteps: ReadonlyArray<Location>
): ReadonlyArray<Place> => {
  const stack = chainOf(error)
    .map(stackOf)
    .find((one) => scriptFrame(one) !== undefined)
  const made = stack === undefined ? [] : scriptFrames(stack)
  const trail = steps.length > 0 ? steps : lastSteps
  // The generator that the error was made in is at the line of its stack now, no longer at that of its last step.
  const inGenerator = stack !== undefined && endsInGenerator(stack)
  const waiting = inGenerator ? trail.slice(1) : made.length > 0 ? [] : trail
  // What ran at once with others has steps of its own, and was begun by one of the script's.
  const beside = trail.some((one) => lastSteps.some(isSameLine(one))) ? [] : lastSteps
  const all = [...made, ...waiting, ...beside]
  return all.filter((one, index) => all.findIndex(isSameLine(one)) === index).map(withText)
}

const evidenceOf = (error: unknown, message: string): ReadonlyArray<Evidence> => {
  const said = evidenceFields.flatMap((title) => {
    const text = property(error, title)
    const shown = typeof text === "string" ? text.trim() : ""
    // A message shows the lines that say something, indented. What is cut has a file of its own.
    const lines = lastLines(shown, Infinity)
    const inMessage = message.includes(lines.replace(/^/gm, "  ")) || message.includes(shown)
    return lines === "" || (inMessage && cutMiddle(shown) === shown) ? [] : [{ title, text: shown }]
  })
  return [
    { title: "difference (- expected, + actual)", text: differenceOf(error) },
    { title: "caused by", text: causesOf(error) },
    ...said
  ].filter(({ text }) => text !== "")
}

/**
 * A cause as a failure. `lastSteps` are the script's step that was under way, and those that waited for it, the innermost first.
 *
 * An error that was made on a line of the script names that line; one that was made elsewhere, or is not an `Error`, the step that the
 * fiber was on which failed first, or else the last step. The first error of the cause is the failure; others are further evidence.
 */
export const fromCause = (cause: Cause.Cause<unknown>, lastSteps: ReadonlyArray<Location> = []): Failure => {
  const [{ error, steps }, ...others] = failuresOf(cause) as [Failed, ...ReadonlyArray<Failed>]
  const message = messageOf(error)
  const [place, ...callers] = placesOf(error, steps, lastSteps)
  const failure = { kind: kindOf(error), message, evidence: evidenceOf(error, message), place, callers, cause }
  return withParts(
    failure,
    others.flatMap(({ reason }) => (reason === undefined ? [] : [fromCause(Cause.fromReasons([reason]))]))
  )
}

/**
 * The failure, called from the lines that declare its test if its own seem to be outside of that test: in another file, or before it. So a test whose
 * body is a call of a helper is found.
 */
export const calledFrom = (failure: Failure, lines: ReadonlyArray<Location>): Failure => {
  const places = [failure.place ?? [], failure.callers].flat()
  const isWithin = (place: Place) => lines.some(({ file, line }) => place.file === file && place.line >= line)
  if (places.some(isWithin)) return failure
  const [place, ...callers] = [...places, ...lines.map(withText)]
  return { ...failure, place, callers }
}

type Failed = ReturnType<typeof failuresOf>[number]

/** What failed, of a cause. */
export const errorOf = (cause: Cause.Cause<unknown>): unknown => failuresOf(cause)[0]?.error

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
  const seen = new Set<string>()
  return texts.map((text) => {
    const [head, ...parts] = sectionsOf(text)
    const once = parts.map((part) => {
      const isLong = part.split("\n").length > 2
      if (isLong && seen.has(part)) return `${titleOf(part)}: as above`
      seen.add(part)
      return part
    })
    return [head, ...once].join("\n")
  })
}

/** A test's failure, with those of its subtests, and of what ran beside it, as further evidence. */
export const withParts = (failure: Failure, parts: ReadonlyArray<Failure>): Failure => {
  if (parts.length === 0) return failure
  // Whole, because what is shown of them is cut with the rest of the evidence.
  const [, ...texts] = tellOnce([failure, ...parts].map((one) => renderWith(one, (text) => text)))
  const further = parts.map(({ subtest = [] }, index) => ({
    title: subtest.length === 0 ? "another error" : `subtest ${JSON.stringify(subtestName(subtest))} failed too`,
    text: texts[index] ?? ""
  }))
  return { ...failure, evidence: [...failure.evidence, ...further] }
}

/** The failure in one line, for places beside a full report. */
export const headline = (failure: Pick<Failure, "kind" | "message">): string =>
  cutMiddle(visible(named(failure.kind, failure.message).split("\n")[0] ?? ""))

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

const widest = 160

/** A line of a file, cut where it is longer than anybody reads. */
const cutLine = (line: string) => (line.length > widest ? `${line.slice(0, widest)}…` : line).trimEnd()

/** The place, and its line between its neighbours, with a mark below the column. */
const codeFrame = ({ after, before, column, file, line, text }: Place): string => {
  const where = `${file}:${line}:${column}\n`
  if (text === "") return where
  const width = String(line + after.length).length
  const row = (mark: string, number: number, code: string) =>
    `${mark} ${String(number).padStart(width)} | ${cutLine(code)}`.trimEnd()
  const pointer =
    column > widest ? [] : [`  ${" ".repeat(width)} | ${text.slice(0, column - 1).replace(/[^\t]/g, " ")}^`]
  const rows = [
    ...before.map((code, index) => row(" ", line - before.length + index, code)),
    row(">", line, text),
    ...pointer,
    ...after.map((code, index) => row(" ", line + 1 + index, code))
  ]
  return `${where}${rows.join("\n")}\n`
}

const caller = ({ column, file, line, text }: Place): string =>
  `called at ${file}:${line}:${column}${text.trim() === "" ? "" : `  ${cutLine(text.trim())}`}\n`

/** The message without what the evidence shows: it shows that whole, and once is enough. What a wait saw last may be the console. */
export const ownMessage = (failure: Pick<Failure, "message" | "evidence">): string => {
  const [head, ...parts] = sectionsOf(failure.message)
  return [head, ...parts.filter((part) => !failure.evidence.some(shows(part)))].join("\n")
}

const renderWith = (failure: Shown, cut: (text: string) => string): string => {
  const where = failure.place === undefined ? "" : codeFrame(failure.place) + failure.callers.map(caller).join("")
  const whole = (file: string | undefined) =>
    file === undefined ? "" : ` (the whole text is in ${OutputFolder.shown(file)})`
  const evidence = failure.evidence.map(
    ({ file, text, title }) => `\n${title}${whole(file)}:\n${cut(visible(text)).replace(/^/gm, "  ")}`
  )
  const message = cut(visible(named(failure.kind, ownMessage(failure))))
  return `${where}${message}${whole(failure.messageFile).replace(" ", "\n")}${evidence.join("")}`
}

/** The failure in one block of text: where, what, evidence. */
export const render = (failure: Shown): string => renderWith(failure, cutMiddle)
