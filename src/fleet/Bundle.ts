/**
 * A test file as one text that runs on any host: its own modules and packages are in it, and `vmtest`, `effect` and `@effect/platform-node` are those of
 * the host that runs it.
 *
 * Paths in it, of `import.meta` and of source maps, are relative to a root: the folder in which the client runs. Who unpacks it chooses the root again.
 *
 * **Example** (Is this what the worker has already?)
 *
 * ```ts
 * const digest = Effect.map(Bundle.make("tests/web.ts", process.cwd()), ({ digest }) => digest)
 * ```
 *
 * @since 0.1.0
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { isBuiltin, registerHooks } from "node:module"
import * as NodePath from "node:path"
import { pathToFileURL } from "node:url"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as esbuild from "esbuild"
import * as SharedMachines from "../driver/SharedMachines.ts"
import * as TestCase from "../driver/TestCase.ts"
import * as Digest from "../host/Digest.ts"
import * as OwnFiles from "../host/OwnFiles.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import { FileNotPortable } from "./FleetError.ts"

/** Stands for the root in a bundle, and in what workers tell. */
export const rootMark = "/__vmtest_root__"

/** A test file, bundled. */
export interface Bundle {
  /** As it was given. */
  readonly file: string
  /** From the root, with `/`. */
  readonly path: string
  readonly text: string
  /** Of the text without its source map. */
  readonly digest: string
  /** The folder that its paths are relative to. */
  readonly root: string
  /** Files that must be where the bundle is unpacked, with their full paths: a script in Python. */
  readonly along: ReadonlyArray<string>
}

const isShared = (specifier: string): boolean =>
  OwnFiles.exportedUrl(specifier) !== undefined || /^(effect|@effect\/platform-node)(\/|$)/.test(specifier)

const loaders: Readonly<Record<string, esbuild.Loader>> = {
  ".ts": "ts",
  ".mts": "ts",
  ".cts": "ts",
  ".tsx": "tsx",
  ".jsx": "jsx"
}

const isInPackage = (path: string): boolean => path.split(NodePath.sep).includes("node_modules")

/** Has shared packages found on the host that runs the bundle, and a file's own `import.meta` mean that file. */
const portable = (root: string): esbuild.Plugin => ({
  name: "vmtest-portable",
  setup: (build) => {
    build.onResolve({ filter: /^[^./]/ }, ({ kind, path }) =>
      kind !== "entry-point" && (isBuiltin(path) || isShared(path)) ? { path, external: true } : undefined
    )
    build.onLoad({ filter: /\.[cm]?[jt]sx?$/ }, ({ path }) =>
      readFile(path, "utf8").then((source) => {
        const file = `${rootMark}/${NodePath.relative(root, path)}`
        const values = { url: pathToFileURL(file).href, filename: file, dirname: NodePath.dirname(file) }
        const declared = source.includes("import.meta")
          ? `const ${Object.entries(values)
              .map(([name, value]) => `__vmtest_${name}=${JSON.stringify(value)}`)
              .join(",")};`
          : ""
        return {
          contents: declared + source.replace(/^#!/, "//#!"),
          loader: loaders[NodePath.extname(path)] ?? "js"
        }
      })
    )
  }
})

/** CommonJS code calls `require`, which a module has not by itself. */
const requireBanner =
  'import { createRequire as __vmtest_createRequire } from "node:module"; var require = __vmtest_createRequire(import.meta.url);'

/** What the entry is called that brings a file and the machines of a config file together. */
const entryName = "vmtest-entry.ts"

/** A file as a text names it that is in the root. */
const fromRoot = (root: string, file: string): string => {
  const path = NodePath.relative(root, file)
  return JSON.stringify(path.startsWith("..") ? path : `./${path}`)
}

/** The module that is bundled where that is not the file itself: undefined for the file. */
const entryOf = (file: string, root: string, { config, machines }: With): string | undefined => {
  if (isPython(file)) {
    const path = JSON.stringify(`${rootMark}/${NodePath.relative(root, file)}`)
    return `import { python } from "vmtest"
import machines from ${fromRoot(root, machines ?? file)}
export default python(${JSON.stringify(NodePath.basename(file))}, { machines }, { file: ${path} })
`
  }
  return config === undefined
    ? undefined
    : `export { default } from ${fromRoot(root, file)}
import config from ${fromRoot(root, config)}
export const __vmtest_machines = config.machines ?? {}
`
}

const entryOptions = (file: string, root: string, given: With): esbuild.BuildOptions => {
  const contents = entryOf(file, root, given)
  return contents === undefined
    ? { entryPoints: [file] }
    : { stdin: { contents, sourcefile: entryName, resolveDir: root, loader: "ts" } }
}

const build = (file: string, root: string, banner: string, given: With) =>
  esbuild.build({
    ...entryOptions(file, root, given),
    outfile: NodePath.join(root, "bundle.mjs"),
    absWorkingDir: root,
    write: false,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node22",
    sourcemap: "inline",
    metafile: true,
    define: {
      "import.meta.url": "__vmtest_url",
      "import.meta.filename": "__vmtest_filename",
      "import.meta.dirname": "__vmtest_dirname"
    },
    conditions: [],
    banner: { js: banner },
    plugins: [portable(root)],
    logLevel: "silent"
  })

/** What esbuild complains about, the first of it with its place. */
const problemOf = (error: unknown): string => {
  const [first] = Predicate.hasProperty(error, "errors") && Array.isArray(error.errors) ? error.errors : []
  if (!Predicate.hasProperty(first, "text")) return `it could not be bundled: ${String(error)}`
  const { location, text } = first as esbuild.Message
  const where = location === null ? "" : ` (${location.file}:${location.line}:${location.column + 1})`
  return `it could not be bundled: ${text}${where}`
}

/** The folder that has all of these folders in it. */
const common = (folders: ReadonlyArray<string>): string =>
  folders.reduce((a, b) => {
    const [left, right] = [a.split(NodePath.sep), b.split(NodePath.sep)]
    const differs = left.findIndex((part, index) => part !== right[index])
    return differs === -1 ? a : left.slice(0, differs).join(NodePath.sep) || NodePath.sep
  })

const mapMark = "\n//# sourceMappingURL=data:application/json;base64,"

const withoutMap = (text: string): string => {
  const end = text.lastIndexOf(mapMark)
  return end === -1 ? text : text.slice(0, end)
}

/** What goes into a bundle with its file. */
export interface With {
  /** A config file, whose machines the tests may name. */
  readonly config?: string | undefined
  /** The module that declares the machines of a script in Python. */
  readonly machines?: string | undefined
}

const isPython = (file: string): boolean => file.endsWith(".py")

/** Bundles a file. Its paths are relative to `folder`, or, if it uses files outside of that, to the folder that has both in it. */
export const make: (file: string, folder: string, given?: With) => Effect.Effect<Bundle, FileNotPortable> =
  Effect.fnUntraced(function* (file, folder, given = {}) {
    const refuse = (reason: string) => new FileNotPortable({ file, reason })
    const full = NodePath.resolve(folder, file)
    if (!existsSync(full)) return yield* refuse("no such file")
    if (isPython(full) && given.machines === undefined)
      return yield* refuse("a script in Python needs machines; add --machines FILE")
    if (!isPython(full) && !/\.[cm]?[jt]sx?$/.test(full))
      return yield* refuse("only files in TypeScript, JavaScript and Python can be sent to workers")
    const from = (path: string | undefined) => (path === undefined ? undefined : NodePath.resolve(folder, path))
    const whole: With = { config: from(given.config), machines: from(given.machines) }
    const attempt = (root: string, banner = "") =>
      Effect.tryPromise({ try: () => build(full, root, banner, whole), catch: (error) => refuse(problemOf(error)) })
    const first = yield* attempt(NodePath.resolve(folder))
    const inputs = Object.keys(first.metafile.inputs)
      .filter((input) => input !== entryName)
      .map((input) => NodePath.resolve(folder, input))
      .filter((input) => !isInPackage(input))
      .concat(isPython(full) ? [full] : [])
    const root = common([NodePath.resolve(folder), ...inputs.map((input) => NodePath.dirname(input))])
    const requires = first.outputFiles[0]?.text.includes("__require(") === true
    const same = root === NodePath.resolve(folder) && !requires
    const made = same ? first : yield* attempt(root, requires ? requireBanner : "")
    const text = made.outputFiles[0]?.text ?? ""
    const along = isPython(full) ? [full] : []
    return { file, path: NodePath.relative(root, full), text, digest: Digest.of(withoutMap(text)), root, along }
  })

interface SourceMap {
  readonly sources: ReadonlyArray<string>
  readonly sourcesContent?: ReadonlyArray<string | null>
}

/** The sources of a bundle, by their path from the root, so that failures can show the lines that they are about. */
const sourcesOf = (text: string): ReadonlyArray<readonly [string, string]> => {
  const at = text.lastIndexOf(mapMark)
  if (at === -1) return []
  const map: SourceMap = JSON.parse(Buffer.from(text.slice(at + mapMark.length).trim(), "base64").toString("utf8"))
  return map.sources.flatMap((source, index) => {
    const content = map.sourcesContent?.[index]
    const path = NodePath.normalize(source)
    const isOutside = path.startsWith("..") || NodePath.isAbsolute(path)
    return content == null || isOutside || path === entryName || isInPackage(path) ? [] : [[path, content] as const]
  })
}

/**
 * Writes a bundle and its sources to a folder, and gives the path of the module to import. Files that it finds by `import.meta` are in that folder, or in
 * `files` if they are there already.
 */
export const unpack = (text: string, root: string, files = root): Effect.Effect<string> =>
  Effect.sync(() => {
    for (const [path, source] of sourcesOf(text)) {
      const target = NodePath.join(root, path)
      if (existsSync(target)) continue
      mkdirSync(NodePath.dirname(target), { recursive: true })
      writeFileSync(target, source)
    }
    const module = NodePath.join(root, `bundle-${Digest.short(Digest.of(text))}.mjs`)
    writeFileSync(
      module,
      text.replaceAll(rootMark, () => files)
    )
    return module
  })

const roots = new Set<string>()
let hooked = false

/** Has modules below a root find the shared packages of this host. */
const share = (root: string): void => {
  roots.add(pathToFileURL(`${root}/`).href)
  if (hooked) return
  hooked = true
  registerHooks({
    resolve: (specifier, context, next) => {
      const { parentURL } = context
      const isOurs = parentURL !== undefined && [...roots].some((one) => parentURL.startsWith(one))
      if (!isOurs || !isShared(specifier)) return next(specifier, context)
      const mine = OwnFiles.exportedUrl(specifier)
      return mine === undefined
        ? next(specifier, { ...context, parentURL: import.meta.url })
        : { url: mine, shortCircuit: true }
    }
  })
}

/** Loads what nearly every test imports, so that the first one need not wait for it. */
export const preload: Effect.Effect<void> = Effect.ignore(
  Effect.tryPromise(() => Promise.all([import(OwnFiles.exportedUrl("vmtest") ?? "vmtest"), import("effect")]))
)

/** How long a file's top level may run. */
const importTimeout = "60 seconds"

/** The tests of an unpacked bundle. Importing it runs its top level, and starts nothing else. */
export const load: (options: {
  readonly file: string
  readonly module: string
  /** Where it was unpacked. */
  readonly root: string
  /** Where its files are. Default: the same. */
  readonly files?: string | undefined
}) => Effect.Effect<ReadonlyArray<TestCase.TestCase>, FileNotPortable> = Effect.fnUntraced(function* ({
  file,
  files,
  module,
  root
}) {
  const refuse = (reason: string) => new FileNotPortable({ file, reason })
  yield* Effect.sync(() => {
    process.setSourceMapsEnabled(true)
    share(root)
  })
  const { default: exported, __vmtest_machines: machines }: Record<string, unknown> = yield* Effect.tryPromise({
    try: (): Promise<Record<string, unknown>> => import(/* @vite-ignore */ pathToFileURL(module).href),
    catch: (error) =>
      refuse(`it failed while it was imported: ${error instanceof Error ? error.message : String(error)}`)
  }).pipe(
    Effect.timeoutOrElse({
      duration: importTimeout,
      orElse: () => Effect.fail(refuse(`its top level was still running after ${importTimeout}`))
    })
  )
  const isNested =
    Predicate.isObject(exported) &&
    !Array.isArray(exported) &&
    !TestCase.isTestCase(exported) &&
    !Effect.isEffect(exported) &&
    "default" in exported
  const tests = TestCase.fromExport(NodePath.basename(file), isNested ? exported.default : exported) ?? []
  if (tests.length === 0) return yield* refuse("its default export must be a test, an array of tests or an Effect")
  const text = Result.getOrElse(
    Result.try(() => readFileSync(module, "utf8")),
    () => ""
  )
  // Stored warm-ups are found by it, so it must not tell the folder in which this host has unpacked the file.
  const script = Digest.of(withoutMap(text).replaceAll(files ?? root, () => rootMark))
  const own = tests.map((test) => ({ ...test, script, file }))
  // What a machine of the config file is made of is in the digest of the bundle already.
  return Predicate.isObject(machines)
    ? SharedMachines.resolve(own, machines as Readonly<Record<string, MachineOptions>>, {
        from: "vmtest.config.ts",
        digest: ""
      })
    : own
})
