/**
 * Loading a user's script: bundled by esbuild, then imported.
 *
 * The script can be in any folder, even a read-only one. Its imports of `vmtest`, `effect` and `@effect/platform-node`
 * resolve to the command's own copies, other packages from the script's folder, and stack traces show the script's own
 * lines. Importing a script runs its top level, and starts nothing else.
 *
 * **Example** (The names of a script's tests)
 *
 * ```ts
 * const names = Effect.map(ScriptLoader.load("web.ts"), (tests) => tests.map(({ name }) => name))
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import { pathToFileURL } from "node:url"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import type { Message } from "esbuild"
import * as TestCase from "../driver/TestCase.ts"
import * as Digest from "../host/Digest.ts"
import * as Disk from "../host/Disk.ts"
import { quote } from "../host/Quote.ts"
import * as RunDirectory from "../host/RunDirectory.ts"
import * as Ending from "./Ending.ts"
import * as Bundle from "./internal/bundle.ts"
import { describeThrown } from "./internal/frames.ts"
import * as MissingExports from "./internal/missingExports.ts"
import * as Program from "./internal/program.ts"
import * as ScriptError from "./ScriptError.ts"

/** How long a script's top level may run. */
const importTimeout = "60 seconds"

/**
 * An error of esbuild, at the place where the user sees it: with the script's name as it was given, lines without the
 * text that bundling puts before them, and the end of the script for errors after it.
 */
const placeOf = (script: string, text: string, isScript: (file: string) => boolean) => (message: Message) => {
  const { column, file, line, lineText } = message.location ?? { file: script, line: 1, column: 0, lineText: "" }
  const lines = text.trimEnd().split("\n")
  const last = lines.at(-1) ?? ""
  const own = isScript(file) ? lines[line - 1] : lineText
  const moved = own !== undefined && lineText.endsWith(own) ? lineText.length - own.length : 0
  // After the end, the message is about text that bundling added.
  const problem =
    own === undefined
      ? "Unexpected end of file"
      : message.text.replace(/^No matching export in ("[^"]*") for import ("[^"]*")$/, "$1 does not export $2")
  const place =
    own === undefined
      ? { file: script, line: lines.length, column: last.length, text: last }
      : { file: isScript(file) ? script : file, line, column: Math.max(0, column - moved), text: own }
  return { place, problem }
}

/** The first error of esbuild's; of imports that it cannot resolve, all. */
const toScriptError =
  (script: string, text: string, isScript: (file: string) => boolean) => (messages: Bundle.Messages) => {
    const [first, ...others] = messages
    const locate = placeOf(script, text, isScript)
    const isUnresolved = ({ problem }: { readonly problem: string }) =>
      /^Could not resolve|does not export/.test(problem)
    const { place, problem } = locate(first)
    return isUnresolved({ problem })
      ? new ScriptError.UnresolvedImport({ script, place, problem, others: others.map(locate).filter(isUnresolved) })
      : new ScriptError.ScriptSyntaxError({ script, place, problem })
  }

/** What runs a suite of vitest, which cannot even be imported elsewhere. Empty for other scripts. */
const suiteHint = (script: string, text: string): string =>
  /\bfrom\s*["'](vmtest\/vitest|vitest)["']/.test(text)
    ? `\n  it imports vitest; if it is a suite, run: npx vitest run ${quote(script)}`
    : ""

/** Modules that do nothing when they are imported: the package's own, and Effect's. */
const isShared = (url: string): boolean =>
  ["vmtest", "vmtest/actors", "vmtest/fleet"].some((name) => Bundle.ownUrl(name) === url) ||
  /\/node_modules\/(@effect|effect)\//.test(url)

/** Why the bundle of a script could not be imported. */
const importFailed = Effect.fnUntraced(function* (script: string, text: string, outfile: string, thrown: unknown) {
  const [first, ...others] = yield* MissingExports.find(
    thrown,
    { file: script, text },
    outfile,
    Bundle.ownUrl,
    isShared
  )
  return first === undefined
    ? new ScriptError.ScriptThrew({ script, thrown: `${describeThrown(thrown)}${suiteHint(script, text)}` })
    : new ScriptError.UnresolvedImport({ script, ...first, others })
})

/** A folder for the bundle of a script; it is that of a run, so that the next run removes the remains of a killed one. */
const workFolder = Effect.gen(function* () {
  const { path } = yield* RunDirectory.make()
  yield* Ending.removeOnExit(path)
  return path
}).pipe(Effect.mapError(({ path, reason }) => new ScriptError.TemporaryFolderUnwritable({ folder: path, reason })))

/** Loads what nearly every script imports. What keeps it from loading is reported when the script needs it. */
const preload: Effect.Effect<void> = Effect.ignore(Effect.tryPromise(() => import(Bundle.ownUrl("vmtest") ?? "vmtest")))

const importDefault = Effect.fnUntraced(function* (script: string, text: string, source: Bundle.Source) {
  const path = yield* Path.Path
  yield* Ending.enter("loading")
  const folder = yield* workFolder
  const outfile = path.join(folder, "script.mjs")
  const bundled = Bundle.bundle(source, outfile).pipe(
    Effect.mapError(toScriptError(script, text, (file) => path.resolve(file) === source.path))
  )
  // esbuild works in a process of its own, and Node would only wait for it.
  const [inputs] = yield* Effect.all([bundled, preload], { concurrency: 2 })
  // Node reads a module's source map as it loads the module, so this must come first and the file may go afterwards.
  yield* Effect.sync(() => process.setSourceMapsEnabled(true))
  const module: Record<string, unknown> = yield* Effect.tryPromise({
    try: () => import(/* @vite-ignore */ pathToFileURL(outfile).href),
    catch: (thrown) => ({ thrown })
  }).pipe(
    Effect.catch(({ thrown }) => Effect.flip(importFailed(script, text, outfile, thrown))),
    Effect.timeoutOrElse({
      duration: importTimeout,
      orElse: () =>
        Effect.fail(new ScriptError.ScriptThrew({ script, thrown: `  still running after ${importTimeout}` }))
    })
  )
  const { default: exported } = module
  // CommonJS has its default export as a property, as tsc writes it.
  const isProperty = Predicate.isObject(exported) && !Array.isArray(exported) && "default" in exported
  if (!("default" in module)) return yield* new ScriptError.NoDefaultExport({ script })
  return { exported: isProperty ? exported.default : exported, digest: yield* digestOf(outfile), inputs }
}, Effect.scoped)

/** The digest of the program, without its source map. Empty if the bundle cannot be read. */
const digestOf = Effect.fnUntraced(function* (bundle: string) {
  const fs = yield* FileSystem.FileSystem
  const text = yield* Effect.orElseSucceed(fs.readFileString(bundle), () => "")
  const end = text.lastIndexOf("\n//# sourceMappingURL=")
  return Digest.of(end === -1 ? text : text.slice(0, end))
})

const withDigest =
  (script: string, file?: string, inputs?: ReadonlyArray<string>) =>
  (test: TestCase.TestCase): TestCase.TestCase => ({ ...test, script, file, inputs })

/** Why a file could not be read that is called `what`. */
const unreadable = (what: string, error: PlatformError.PlatformError): string => {
  const tag: string = error.reason._tag
  if (tag === "NotFound") return what === "script" ? "no such script" : `the ${what} does not exist`
  return tag === "PermissionDenied" ? `could not read the ${what}: permission denied` : error.message
}

/** The text of a script, and its full path. `what` is what messages call it. */
export const readable = Effect.fnUntraced(
  function* (script: string, what = "script") {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const file = path.resolve(script)
    const info = yield* fs.stat(file)
    if (info.type === "Directory")
      return yield* new ScriptError.NoSuchScript({ script, reason: `is a folder, not a ${what}` })
    return { file, text: yield* fs.readFileString(file) }
  },
  (effect, script, what = "script") =>
    Effect.catchTag(effect, "PlatformError", (error) =>
      Effect.fail(new ScriptError.NoSuchScript({ script, reason: unreadable(what, error) }))
    )
)

/** A file whose name does not tell its language, such as one in the store of Nix, is TypeScript. */
const sourceOf = (file: string, text: string): Bundle.Source =>
  /\.[cm]?[jt]sx?$/.test(file)
    ? { _tag: "File", path: file }
    : { _tag: "Text", text: Bundle.withMeta(file, text), path: file, folder: NodePath.dirname(file), inject: [] }

/** Loads a script and gives its tests. A plain Effect becomes a test with the script's name. `read` makes more of an export. */
export const load = Effect.fnUntraced(function* (
  script: string,
  read = (_name: string, exported: unknown): unknown => exported
) {
  const path = yield* Path.Path
  const { file, text } = yield* readable(script)
  const { digest, exported, inputs } = yield* importDefault(script, text, sourceOf(file, text))
  const name = path.basename(script)
  const tests = TestCase.fromExport(name, read(name, exported)) ?? []
  if (tests.length > 0) return tests.map(withDigest(digest, script, inputs))
  const more = typeof exported === "function" ? ", which only vmtest run --machine-config FILE takes" : ""
  return yield* new ScriptError.NoTests({ script, found: `${describeExport(exported)}${more}` })
})

/** The default export of a module, whatever it is, with the digest of its program. `what` is what messages call it. */
export const loadModule = Effect.fnUntraced(function* (script: string, what?: string) {
  const { file, text } = yield* readable(script, what)
  return yield* importDefault(script, text, sourceOf(file, text))
})

/** The default export of a module, whatever it is. */
export const loadDefault = (script: string) => Effect.map(loadModule(script), ({ exported }) => exported)

/** A default export in a message. */
export const describeExport = (exported: unknown): string =>
  Array.isArray(exported)
    ? exported.length === 0
      ? "an empty array"
      : "an array with items that are not tests"
    : exported === null || exported === undefined
      ? String(exported)
      : typeof exported === "object"
        ? "an object"
        : `a ${typeof exported}`

/** The exports of internal/evalScope.ts. */
const scopeNames = "driver, Effect, Image, vmtestDriver, vmtestReturned, vmtestRun"

const loadProgram = Effect.fnUntraced(function* (script: string, text: string, file: string) {
  if (text.trim() === "") return yield* new ScriptError.NoTests({ script, found: "nothing" })
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* workFolder
  const scope = path.join(folder, "scope.mjs")
  yield* fs
    .writeFileString(scope, `export { ${scopeNames} } from "vmtest:eval-scope"\n`)
    .pipe(
      Effect.mapError(
        (error) => new ScriptError.TemporaryFolderUnwritable({ folder, reason: Disk.platformReason(error) })
      )
    )
  const { digest, exported } = yield* importDefault(script, text, {
    _tag: "Text",
    text: yield* Program.toModule(text, file),
    path: file,
    folder: path.dirname(file),
    inject: [scope]
  })
  const [test, ...others] = TestCase.fromExport(script, exported) ?? []
  if (test === undefined || others.length > 0) {
    return yield* new ScriptError.NoTests({ script, found: describeExport(exported) })
  }
  return withDigest(digest)(test)
}, Effect.scoped)

/** The file name of the text of `vmtest eval` in errors and stack traces. */
export const expressionName = "eval"

/** The program of `vmtest eval`; its imports are resolved from the working folder. */
export const loadExpression = Effect.fnUntraced(function* (expression: string) {
  const path = yield* Path.Path
  return yield* loadProgram(expressionName, expression, path.resolve(expressionName))
})

/** The program of `vmtest eval-file`. */
export const loadProgramFile = Effect.fnUntraced(function* (script: string) {
  const { file, text } = yield* readable(script)
  return yield* loadProgram(script, text, file)
})
