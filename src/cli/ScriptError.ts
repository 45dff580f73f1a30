/**
 * Why a script cannot be used. Each of these ends the command with exit code 2, before anything is started.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/** There is no readable file of that name. */
export class NoSuchScript extends Schema.TaggedError<NoSuchScript>()("NoSuchScript", {
  script: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.script}: ${this.reason}`
  }
}

/** A place in a file of the user's: line from 1, column from 0, and the text of the line. */
export const Place = Schema.Struct({
  file: Schema.String,
  line: Schema.Int,
  column: Schema.Int,
  text: Schema.String
})

const pointAt = (place: typeof Place.Type, what: string): string => {
  const gutter = `  ${place.line} │ `
  const indent = " ".repeat(gutter.length - 2)
  const before = place.text.slice(0, place.column).replace(/[^\t]/g, " ")
  return `${place.file}:${place.line}:${place.column + 1}: ${what}\n${gutter}${place.text}\n${indent}│ ${before}^`
}

/** The script, or a file it imports by a relative path, is not TypeScript. */
export class ScriptSyntaxError extends Schema.TaggedError<ScriptSyntaxError>()("ScriptSyntaxError", {
  script: Schema.String,
  place: Place,
  problem: Schema.String
}) {
  override get message() {
    return pointAt(this.place, `syntax error: ${this.problem}`)
  }
}

/** The script imports something that cannot be found from its folder. */
export class UnresolvedImport extends Schema.TaggedError<UnresolvedImport>()("UnresolvedImport", {
  script: Schema.String,
  place: Place,
  problem: Schema.String
}) {
  override get message() {
    return pointAt(this.place, this.problem)
  }
}

/** The module has no default export. */
export class NoDefaultExport extends Schema.TaggedError<NoDefaultExport>()("NoDefaultExport", {
  script: Schema.String
}) {
  override get message() {
    return `${this.script}: no default export; write: export default test("…", { machines: { … } }, (machines, driver) => …)`
  }
}

/** The module threw while it was imported, or did not finish. */
export class ScriptThrew extends Schema.TaggedError<ScriptThrew>()("ScriptThrew", {
  script: Schema.String,
  /** What was thrown, as text, with the frames that are the user's own. */
  thrown: Schema.String
}) {
  override get message() {
    return `${this.script}: threw while it was imported\n${this.thrown}`
  }
}

/** The default export holds no test. */
export class NoTests extends Schema.TaggedError<NoTests>()("NoTests", {
  script: Schema.String,
  found: Schema.String
}) {
  override get message() {
    return `${this.script}: declares no test: its default export is ${this.found}, not a test, an array of tests or an Effect`
  }
}

/** A bundled script cannot be written to the temporary folder. */
export class TemporaryFolderUnwritable extends Schema.TaggedError<TemporaryFolderUnwritable>()(
  "TemporaryFolderUnwritable",
  { folder: Schema.String, reason: Schema.String }
) {
  override get message() {
    return `cannot write to the temporary folder ${this.folder}: ${this.reason} (TMPDIR chooses another)`
  }
}

/** Any reason why a script cannot be used. */
export type ScriptError =
  | NoSuchScript
  | ScriptSyntaxError
  | UnresolvedImport
  | NoDefaultExport
  | ScriptThrew
  | NoTests
  | TemporaryFolderUnwritable
