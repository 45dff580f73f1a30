/**
 * Loading a user's script: bundled by esbuild, then imported.
 *
 * The script may live in any folder, also one that cannot be written to. Its imports of `vmtest`, `effect` and
 * `@effect/platform-node` are the command's own copies, its other packages are found from its own folder, and stack
 * traces name the script's own lines. Importing a script runs its top level; nothing else is started.
 *
 * @since 0.1.0
 */
import { pathToFileURL } from "node:url"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import type { Message } from "esbuild"
import * as Bundle from "./internal/bundle.ts"
import { describeThrown } from "./internal/frames.ts"
import * as ScriptError from "./ScriptError.ts"

/** How long a script's top level may take. */
const importTimeout = "60 seconds"

const toScriptError = (script: string, same: (file: string) => boolean) => (message: Message) => {
  const { column, file, line, lineText } = message.location ?? { file: script, line: 1, column: 0, lineText: "" }
  const place = { file: same(file) ? script : file, line, column, text: lineText }
  return message.text.startsWith("Could not resolve")
    ? new ScriptError.UnresolvedImport({ script, place, problem: message.text })
    : new ScriptError.ScriptSyntaxError({ script, place, problem: message.text })
}

const importDefault = Effect.fnUntraced(function* (script: string, source: Bundle.Source) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* fs.makeTempDirectoryScoped({ prefix: "vmtest-script-" })
  const outfile = path.join(folder, "script.mjs")
  yield* Bundle.bundle(source, outfile).pipe(
    Effect.mapError(toScriptError(script, (file) => path.resolve(file) === path.resolve(script)))
  )
  // Node reads a module's source map as it loads the module, so this must come first and the file may go afterwards.
  yield* Effect.sync(() => process.setSourceMapsEnabled(true))
  const module: Record<string, unknown> = yield* Effect.tryPromise({
    try: () => import(/* @vite-ignore */ pathToFileURL(outfile).href),
    catch: (thrown) => new ScriptError.ScriptThrew({ script, thrown: describeThrown(thrown) })
  }).pipe(
    Effect.timeoutOrElse({
      duration: importTimeout,
      orElse: () =>
        Effect.fail(new ScriptError.ScriptThrew({ script, thrown: `  still running after ${importTimeout}` }))
    })
  )
  if (!("default" in module)) return yield* new ScriptError.NoDefaultExport({ script })
  return module.default
}, Effect.scoped)

const reasons: Partial<Record<PlatformError.SystemErrorTag, string>> = {
  NotFound: "no such script",
  PermissionDenied: "the script cannot be read: permission denied"
}

const readable = Effect.fnUntraced(
  function* (script: string) {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const file = path.resolve(script)
    const info = yield* fs.stat(file)
    if (info.type === "Directory")
      return yield* new ScriptError.NoSuchScript({ script, reason: "is a folder, not a script" })
    return { file, text: yield* fs.readFileString(file) }
  },
  (effect, script) =>
    Effect.catchTag(effect, "PlatformError", (error) =>
      Effect.fail(
        new ScriptError.NoSuchScript({
          script,
          reason: reasons[error.reason._tag as PlatformError.SystemErrorTag] ?? error.message
        })
      )
    )
)

/** Loads a script and gives its default export, whatever that is. */
export const load = Effect.fnUntraced(function* (script: string) {
  const { file } = yield* readable(script)
  return yield* importDefault(script, { _tag: "File", path: file })
})
