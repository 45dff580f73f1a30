/**
 * Bundling a script with esbuild, so that an `import()` of the result runs it with the command's own `vmtest` and `effect`.
 *
 * Files that a script imports by relative paths become a part of the bundle. A package becomes an import of its resolved file:
 * `vmtest`, `effect` and `@effect/platform-node` are resolved from here, all others from the file that imports them.
 */
import { readFile } from "node:fs/promises"
import { isBuiltin } from "node:module"
import * as NodePath from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import * as Effect from "effect/Effect"
import * as esbuild from "esbuild"
import * as OwnFiles from "../../host/OwnFiles.ts"
import { insert } from "./insert.ts"

const here = fileURLToPath(import.meta.url)

/** The URL of one of the package's own modules; undefined for another specifier. */
export const ownUrl = (specifier: string): string | undefined =>
  // A name that cannot be imported by accident; see ScriptLoader.loadProgram.
  specifier === "vmtest:eval-scope"
    ? pathToFileURL(OwnFiles.module("cli/internal/evalScope")).href
    : OwnFiles.exportedUrl(specifier)

const isShared = (specifier: string): boolean => /^(effect|@effect\/platform-node)(\/|$)/.test(specifier)

const packages = (onRequire: () => void): esbuild.Plugin => ({
  name: "vmtest-packages",
  setup: (build) => {
    const asked = Symbol("resolving")
    build.onResolve({ filter: /^[^./]/ }, ({ importer, kind, path, pluginData, resolveDir, with: attributes }) => {
      if (kind === "entry-point" || pluginData === asked) return undefined
      const required = kind === "require-call"
      if (required) onRequire()
      if (isBuiltin(path)) return undefined
      // Node's require takes no URLs.
      const external = (file: string): esbuild.OnResolveResult => ({
        path: required ? file : pathToFileURL(file).href,
        external: true
      })
      const mine = ownUrl(path)
      if (mine !== undefined) return external(fileURLToPath(mine))
      const shared = isShared(path)
      return build
        .resolve(path, {
          kind,
          importer: shared ? here : importer,
          resolveDir: shared ? NodePath.dirname(here) : resolveDir,
          pluginData: asked,
          with: attributes
        })
        .then((found) =>
          found.errors.length > 0
            ? { errors: found.errors }
            : // A package of a workspace is linked into node_modules and may be TypeScript, which Node would not run.
              found.external || !(shared || found.path.split(NodePath.sep).includes("node_modules"))
              ? found
              : external(found.path)
        )
    })
  }
})

const loaders: Record<string, esbuild.Loader> = {
  ".ts": "ts",
  ".mts": "ts",
  ".cts": "ts",
  ".tsx": "tsx",
  ".jsx": "jsx"
}

const metaNames = { url: "__vmtest_url", filename: "__vmtest_filename", dirname: "__vmtest_dirname" }

/** Declares a file's own `import.meta` values, if its text uses any, without adding a line. */
export const metaOf = (path: string, source: string): string => {
  if (!source.includes("import.meta")) return ""
  const values = { url: pathToFileURL(path).href, filename: path, dirname: NodePath.dirname(path) }
  const declarations = Object.entries(values).map(
    ([key, value]) => `${metaNames[key as keyof typeof values]}=${JSON.stringify(value)}`
  )
  return `const ${declarations.join(",")};`
}

/** A file with its own `import.meta` values, whose places stay those of the file. */
export const withMeta = (path: string, source: string): string => {
  const declarations = metaOf(path, source)
  if (declarations === "") return source
  // A file that was generated from another one already has a source map.
  if (source.includes("//# sourceMappingURL=")) return declarations + source
  return insert(source, 0, declarations, "", path)
}

/** `import.meta` of a bundled file is that of the bundle, but a script that reads a fixture beside it means its own file. */
const meta: esbuild.Plugin = {
  name: "vmtest-import-meta",
  setup: (build) => {
    build.onLoad({ filter: /\.[cm]?[jt]sx?$/ }, ({ path }) =>
      readFile(path, "utf8").then((source) => ({
        contents: withMeta(path, source.replace(/^#!/, "//#!")),
        loader: loaders[NodePath.extname(path)] ?? "js"
      }))
    )
  }
}

/** What to bundle: a file, or a text with the name of a file. */
export type Source =
  | { readonly _tag: "File"; readonly path: string }
  | {
      readonly _tag: "Text"
      readonly text: string
      /** The name of the text in stack traces and errors. */
      readonly path: string
      /** The folder from which its imports are resolved. */
      readonly folder: string
      /** Modules whose exports are in scope if the text does not declare the same name itself. */
      readonly inject: ReadonlyArray<string>
    }

const entry = (source: Source): esbuild.BuildOptions =>
  source._tag === "File"
    ? { entryPoints: [source.path] }
    : {
        inject: [...source.inject],
        stdin: {
          contents: source.text,
          sourcefile: source.path,
          resolveDir: source.folder,
          loader: loaders[NodePath.extname(source.path)] ?? "ts"
        }
      }

const isFailure = (error: unknown): error is esbuild.BuildFailure =>
  error instanceof Error && "errors" in error && Array.isArray(error.errors)

/** At least one error that esbuild reports. */
export type Messages = readonly [esbuild.Message, ...ReadonlyArray<esbuild.Message>]

/** The errors that esbuild reports. If it fails in another way, that is a defect. */
const messagesOf = (error: unknown): Effect.Effect<never, Messages> => {
  const [first, ...others] = isFailure(error) ? error.errors : []
  return first === undefined ? Effect.die(error) : Effect.fail([first, ...others])
}

/** CommonJS code calls `require`, which a module has not by itself. Nobody's own `require` is in the way where nothing calls it. */
const requireBanner =
  'import { createRequire as __vmtest_createRequire } from "node:module"; var require = __vmtest_createRequire(import.meta.url);'

/** Writes the bundle of a script to `outfile`, with its source map inside. Gives the files that are in it, with full paths. */
export const bundle = (source: Source, outfile: string): Effect.Effect<ReadonlyArray<string>, Messages> => {
  let requires = false
  const build = (banner: string) =>
    Effect.tryPromise(() =>
      esbuild.build({
        ...entry(source),
        outfile,
        bundle: true,
        metafile: true,
        format: "esm",
        platform: "node",
        target: "node22",
        sourcemap: "inline",
        define: Object.fromEntries(Object.entries(metaNames).map(([key, name]) => [`import.meta.${key}`, name])),
        // The default adds "module", a condition of bundlers that Node does not know.
        conditions: [],
        banner: { js: banner },
        plugins: [
          packages(() => {
            requires = true
          }),
          meta
        ],
        logLevel: "silent"
      })
    )
  return build("").pipe(
    Effect.flatMap((built) => (requires ? build(requireBanner) : Effect.succeed(built))),
    Effect.map(({ metafile }) => Object.keys(metafile.inputs).map((file) => NodePath.resolve(file))),
    Effect.catch(({ cause }) => messagesOf(cause))
  )
}

/** Whether a text is valid TypeScript by itself. */
export const parses = (text: string): Effect.Effect<boolean> =>
  Effect.promise(() =>
    esbuild.transform(text, { loader: "ts", logLevel: "silent" }).then(
      () => true,
      () => false
    )
  )
