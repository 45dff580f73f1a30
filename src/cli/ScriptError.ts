/**
 * Why a script cannot be used. Each of these ends the command with exit code 2, before anything is started.
 *
 * **Example** (Say what is wrong with a script)
 *
 * ```ts
 * const checked = ScriptLoader.load("web.ts").pipe(
 *   Effect.catchTag("NoDefaultExport", (error) => Effect.as(Subcommand.complain(error.message), []))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Failure from "../driver/Failure.ts"
import * as Location from "../host/Location.ts"

/** The script could not be read. */
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

/** The line of a place, with a mark below its column. */
export const markedLine = ({ column, line, text }: Omit<typeof Place.Type, "file">): string => {
  const gutter = `  ${line} │ `
  const indent = " ".repeat(gutter.length - 2)
  return `${gutter}${text}\n${indent}│ ${text.slice(0, column).replace(/[^\t]/g, " ")}^`
}

/** A message and the line of a script that it is about. */
export const withLine = (location: Location.Location, message: string): string => {
  const { column, line, text } = Failure.withText(location)
  return text === "" ? message : `${message}\n${markedLine({ line, column: column - 1, text })}`
}

/** The same, after the place of that line. */
export const pointAtLocation = (location: Location.Location, what: string): string =>
  withLine(location, Location.before(location, what))

const pointAt = (place: typeof Place.Type, what: string): string =>
  `${place.file}:${place.line}:${place.column + 1}: ${what}\n${markedLine(place)}`

/** The script, or a file that it imports by a relative path, has a syntax error. */
export class ScriptSyntaxError extends Schema.TaggedError<ScriptSyntaxError>()("ScriptSyntaxError", {
  script: Schema.String,
  place: Place,
  problem: Schema.String
}) {
  override get message() {
    return pointAt(this.place, `syntax error: ${this.problem}`)
  }
}

/** The script imports a module that cannot be found from its folder, or a name that a module does not export. */
export class UnresolvedImport extends Schema.TaggedError<UnresolvedImport>()("UnresolvedImport", {
  script: Schema.String,
  place: Place,
  problem: Schema.String,
  /** Further imports of that kind. */
  others: Schema.Array(Schema.Struct({ place: Place, problem: Schema.String }))
}) {
  override get message(): string {
    return [this, ...this.others].map(({ place, problem }) => pointAt(place, problem)).join("\n")
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

/** The module threw while it was imported, or did not finish loading. */
export class ScriptThrew extends Schema.TaggedError<ScriptThrew>()("ScriptThrew", {
  script: Schema.String,
  /** What was thrown, as text, with the frames in the user's own files. */
  thrown: Schema.String
}) {
  override get message() {
    return `${this.script}: threw while it was imported\n${this.thrown}`
  }
}

/** The default export is not a test, an array of tests, or an Effect; or the program is empty. */
export class NoTests extends Schema.TaggedError<NoTests>()("NoTests", {
  script: Schema.String,
  found: Schema.String
}) {
  override get message() {
    if (this.found === "nothing") return `${this.script}: the program is empty`
    return `${this.script}: the default export must be a test, an array of tests or an Effect, got ${this.found}`
  }
}

/** A bundled script could not be written to the temporary folder. */
export class TemporaryFolderUnwritable extends Schema.TaggedError<TemporaryFolderUnwritable>()(
  "TemporaryFolderUnwritable",
  { folder: Schema.String, reason: Schema.String }
) {
  override get message() {
    return `could not write to the temporary folder ${this.folder}: ${this.reason}; set TMPDIR to use another`
  }
}

/** A script declares a machine that the file of `--machine-config`, or the configuration of a NixOS test, has, too. */
export class MachineGivenTwice extends Schema.TaggedError<MachineGivenTwice>()("MachineGivenTwice", {
  script: Schema.String,
  machine: Schema.String
}) {
  override get message() {
    return `${this.script}: declares the machine ${JSON.stringify(this.machine)}, which is given already, by --machine-config or by the configuration of a NixOS test; remove one of them, or choose another name`
  }
}

/** A Python script was given without anything that declares its machines; `builds` is whether only their images are wanted. */
export class MachinesMissing extends Schema.TaggedError<MachinesMissing>()("MachinesMissing", {
  script: Schema.String,
  builds: Schema.Boolean
}) {
  override get message() {
    if (this.builds)
      return `${this.script}: a Python script does not declare machines; give the module of its machines instead, the one for --machines: vmtest image build machines.ts`
    return `${this.script}: a Python script needs --machines FILE, a module that declares its machines; write: export default { machine: { image: Image.debian() } }; or --machine-config FILE, with machines in JSON`
  }
}

/** The module of `--machines` does not declare machines. `found` is what it exports instead; empty if it has no default export. */
export class NoMachines extends Schema.TaggedError<NoMachines>()("NoMachines", {
  script: Schema.String,
  found: Schema.String
}) {
  override get message() {
    return this.found === ""
      ? `${this.script}: no default export; write: export default { machine: { image: Image.debian() } }`
      : `${this.script}: the default export must be an object of names and declarations, such as { machine: { image: Image.debian() } }, got ${this.found}`
  }
}

/** The module of `--machines`, or the config file, has a wrong declaration; `place` is that of the machine's name, if it was found. */
export class WrongMachine extends Schema.TaggedError<WrongMachine>()("WrongMachine", {
  script: Schema.String,
  place: Schema.optional(Place),
  problem: Schema.String
}) {
  override get message() {
    return this.place === undefined ? `${this.script}: ${this.problem}` : pointAt(this.place, this.problem)
  }
}

/** A Python script could not be checked: there is no Python, or one that is too old. */
export class PythonUnusable extends Schema.TaggedError<PythonUnusable>()("PythonUnusable", {
  script: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.script}: ${this.reason}`
  }
}

/** Why a script cannot be used. */
export type ScriptError =
  | NoSuchScript
  | ScriptSyntaxError
  | UnresolvedImport
  | NoDefaultExport
  | ScriptThrew
  | NoTests
  | TemporaryFolderUnwritable
  | MachineGivenTwice
  | MachinesMissing
  | NoMachines
  | WrongMachine
  | PythonUnusable
