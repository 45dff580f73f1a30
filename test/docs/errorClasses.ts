/** The error classes of the sources, with what their doc comments say. */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Predicate from "effect/Predicate"
import { root } from "./pages.ts"

export interface ErrorClass {
  readonly name: string
  /** Below `src`. */
  readonly file: string
  /** The first paragraph of its comment. */
  readonly summary: string
  readonly fields: ReadonlyArray<string>
}

const source = join(root, "src")
const files = (readdirSync(source, { recursive: true }) as Array<string>).filter((file) => file.endsWith(".ts")).sort()

/** A comment, and the class below it, up to its tag. */
const declared =
  /\/\*\*((?:(?!\*\/)[\s\S])*?)\*\/\nexport class (\w+) extends (Schema|Data)\.TaggedError[^(]*(?:\(\))?\(\s*"(\w+)"/g

const summaryOf = (comment: string): string =>
  (
    comment
      .replace(/^ *\* ?/gm, "")
      .trim()
      .split(/\n\s*\n/)[0] ?? ""
  )
    .replaceAll(/\s+/g, " ")
    .trim()

/** Fields of a class without a schema, from what follows its tag: `)<{ readonly server: string }> {`. */
const typedFields = (rest: string): ReadonlyArray<string> => {
  const type = /^\)<\{([\s\S]*?)\}>/.exec(rest)?.[1] ?? ""
  return [...type.matchAll(/readonly (\w+)\??:/g)].map(([, field = ""]) => field)
}

const schemaFields = async (file: string, name: string): Promise<ReadonlyArray<string>> => {
  const module: Readonly<Record<string, unknown>> = await import(/* @vite-ignore */ join(source, file))
  const made = module[name]
  const fields = Predicate.hasProperty(made, "fields") ? Object.keys(made.fields as object) : []
  return fields.filter((field) => field !== "_tag")
}

const classesOf = (file: string): ReadonlyArray<Promise<ErrorClass>> => {
  const text = readFileSync(join(source, file), "utf8")
  return [...text.matchAll(declared)].map(
    async ({ 0: { length }, 1: comment = "", 2: name = "", 3: kind, 4: tag, index }) => {
      if (tag !== name) throw new Error(`${file}: ${name} has the tag ${tag}`)
      const fields = kind === "Schema" ? await schemaFields(file, name) : typedFields(text.slice(index + length))
      return { name, file, summary: summaryOf(comment), fields }
    }
  )
}

/** All that are exported by their module. */
export const errorClasses: Promise<ReadonlyArray<ErrorClass>> = Promise.all(files.flatMap(classesOf))

/** How many there are, counted in another way. */
export const count: number = files
  .map((file) =>
    readFileSync(join(source, file), "utf8").match(/^export class \w+ extends (Schema|Data)\.TaggedError/gm)
  )
  .reduce((sum, found) => sum + (found?.length ?? 0), 0)
