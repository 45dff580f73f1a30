/** Names that a script imports from modules that do not export them. */
import { readFileSync } from "node:fs"
import { isBuiltin } from "node:module"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Place } from "../ScriptError.ts"

/** An import of the bundle: a name, `default` for that of the whole module, and the module's URL or builtin name. */
interface Import {
  readonly name: string
  readonly from: string
}

export interface Missing {
  readonly place: typeof Place.Type
  readonly problem: string
}

/** A text of a script, or of a file that it imports by a relative path; `file` is shown. */
export interface SourceText {
  readonly file: string
  readonly text: string
}

const statement = /^[ \t]*(?:import|export)\b([^;"']*?)\bfrom\s*["']([^"']+)["']/gm

/** The names that the clause of an import asks of its module: `Def, { a, b as c }` asks for default, a and b. */
const namesOf = (clause: string): ReadonlyArray<string> => {
  const [, braces = ""] = /\{([^}]*)\}/.exec(clause) ?? []
  const named = braces.split(",").map((item) => item.trim().split(/\s+as\s+/)[0] ?? "")
  const isDefault = /^\s*[\w$]+\s*(,|$)/.test(clause)
  return [...(isDefault ? ["default"] : []), ...named.filter((name) => name !== "")]
}

const importsOf = (bundle: string): ReadonlyArray<Import> =>
  [...bundle.matchAll(statement)].flatMap(([, clause = "", from = ""]) =>
    namesOf(clause).map((name) => ({ name, from }))
  )

/** Whether an import of a script and one of its bundle are of the same module: `vmtest` became the URL of a file. */
const isSame = (written: string, bundled: string, resolve: (specifier: string) => string | undefined): boolean =>
  written === bundled ||
  (isBuiltin(written) && isBuiltin(bundled) && written.replace("node:", "") === bundled.replace("node:", "")) ||
  resolve(written) === bundled ||
  (resolve(written) === undefined && bundled.includes(`/node_modules/${written}/`))

/** The place of a name in an import of a text: for `default`, of the name before the braces. */
const placeIn = (
  { file, text }: SourceText,
  { from, name }: Import,
  resolve: (specifier: string) => string | undefined
): Missing | undefined => {
  for (const match of text.matchAll(statement)) {
    const [whole, names = "", written = ""] = match
    if (/^\s*type\b/.test(names) || !isSame(written, from, resolve)) continue
    const pattern =
      name === "default" ? "^\\s*(?!type\\b)" : `(?<![\\w$])(?<!\\bas\\s+)${name.replaceAll("$", "\\$")}(?![\\w$])`
    const at = namesOf(names).includes(name) ? new RegExp(pattern).exec(names) : null
    if (at === null) continue
    const end = match.index + whole.indexOf(names) + at.index + (name === "default" ? at[0].length : 0)
    const before = text.slice(0, end).split("\n")
    const line = before.length
    const place = { file, line, column: before.at(-1)?.length ?? 0, text: text.split("\n")[line - 1] ?? "" }
    const known = written === "vmtest" && /^(expect|assert|describe|it|vi)$/.test(name)
    const hint = known ? "; assertions come from node:assert, for example" : ""
    const what = name === "default" ? "has no default export" : `does not export "${name}"${hint}`
    return { place, problem: `"${written}" ${what}` }
  }
  return undefined
}

/** The files of a bundle, by its source map, with their texts as they are on the disk. */
const sourcesOf = (bundle: string, outfile: string): ReadonlyArray<SourceText> => {
  const [, encoded = ""] = /\/\/# sourceMappingURL=data:application\/json;base64,(\S+)\s*$/.exec(bundle) ?? []
  const sources = Result.try((): ReadonlyArray<string> => JSON.parse(Buffer.from(encoded, "base64").toString()).sources)
  return (Result.isSuccess(sources) ? sources.success : []).flatMap((source) => {
    const file = source.startsWith("file:")
      ? fileURLToPath(source)
      : NodePath.resolve(NodePath.dirname(outfile), source)
    const text = Result.try(() => readFileSync(file, "utf8"))
    return Result.isSuccess(text) ? [{ file, text: text.success }] : []
  })
}

/** Whether a module of the bundle exports a name. Modules that do nothing when they are imported are asked; others are taken at their word. */
const lacks = ({ from, name }: Import, isHarmless: (from: string) => boolean): Effect.Effect<boolean> =>
  isHarmless(from)
    ? Effect.tryPromise((): Promise<object> => import(/* @vite-ignore */ from)).pipe(
        Effect.match({ onSuccess: (module) => !(name in module), onFailure: () => false })
      )
    : Effect.succeed(false)

/**
 * All names that the bundle's files import in vain, if `thrown` is Node's error about one of them; that one first where nothing else is known of its
 * module.
 */
export const find = Effect.fnUntraced(function* (
  thrown: unknown,
  script: SourceText,
  outfile: string,
  resolve: (specifier: string) => string | undefined,
  isShared: (from: string) => boolean
) {
  const said =
    thrown instanceof SyntaxError
      ? /requested module '(.*)' does not provide an export named '([^']+)'/.exec(thrown.message)
      : null
  if (said === null) return []
  const bundle = Result.getOrElse(
    Result.try(() => readFileSync(outfile, "utf8")),
    () => ""
  )
  const [, from = "", name = ""] = said
  const imports = importsOf(bundle)
  const missing = yield* Effect.filter(
    imports.filter((one) => one.from !== from || one.name !== name),
    (one) => lacks(one, (module) => isBuiltin(module) || isShared(module))
  )
  const sources = [script, ...sourcesOf(bundle, outfile).filter(({ text }) => text !== script.text)]
  return [{ from, name }, ...missing].flatMap((one) => {
    for (const source of sources) {
      const found = placeIn(source, one, resolve)
      if (found !== undefined) return [found]
    }
    return []
  })
})
