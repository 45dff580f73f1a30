/** The examples in the doc comments of the sources, but for those of the actors, which have a test of their own that also runs them. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { root } from "./pages.ts"
import { type Complaint, tsc } from "./tsc.ts"

interface Example {
  /** Below `src`. */
  readonly module: string
  /** Where its code starts, from 1. */
  readonly line: number
  readonly code: string
}

const source = join(root, "src")
const modules = (readdirSync(source, { recursive: true }) as Array<string>)
  .filter((file) => file.endsWith(".ts") && !file.startsWith("actors/"))
  .sort()

const examplesOf = (module: string): ReadonlyArray<Example> => {
  const text = readFileSync(join(source, module), "utf8")
  return [...text.matchAll(/^ *\* ```ts\n((?: *\*.*\n)*?) *\* ```\n/gm)].map(({ 1: lines = "", index }) => ({
    module,
    line: text.slice(0, index).split("\n").length + 1,
    code: lines.replace(/^ *\* ?/gm, "")
  }))
}

export const examples: ReadonlyArray<Example> = modules.flatMap(examplesOf)

const isModule = ({ code }: Example) => /^(import|export) /m.test(code)

const fileOf = ({ line, module }: Example) => `${module.replaceAll("/", "-").replace(".ts", "")}-${line}.ts`

/** Values and types that are exported under their own names. */
const exportsOf = (module: string): ReadonlyArray<string> =>
  [
    ...readFileSync(join(source, module), "utf8").matchAll(
      /^export (?:declare )?(?:const|class|type|interface|function) (\w+)/gm
    )
  ].map(([, name = ""]) => name)

/** What `vmtest` exports. */
const exported = [
  ...readFileSync(join(source, "index.ts"), "utf8").matchAll(/^export (?:\* as (\w+)|(?:type )?\{([^}]*)\})/gm)
].flatMap(([, whole, some = ""]) =>
  whole === undefined ? some.split(",").map((name) => name.replace(/^\s*type |.* as /, "").trim()) : [whole]
)

const handles: Readonly<Record<string, string>> = {
  ...Object.fromEntries(["machine", "web", "db", "client", "box"].map((name) => [name, "Machine"])),
  driver: 'DriverService<"web" | "db" | "client">',
  guest: `import("${join(source, "guest/Guest.ts")}").Guest`,
  shell: `import("${join(source, "transport/Shell.ts")}").ShellService`
}

/** Not as a property; `...name` is no property. */
const isNamed = (code: string, name: string) => new RegExp(`(?<!\\w|(?<!\\.)\\.)${name}\\b`).test(code)

/** Names that the code itself has: declared, or imported. */
const ownNames = (code: string): Set<string> =>
  new Set([
    ...[...code.matchAll(/\b(?:const|class|function|as) (\w+)/g)].map(([, name = ""]) => name),
    ...[...code.matchAll(/^import (?:type )?\{([^}]*)\}/gm)].flatMap(([, names = ""]) => names.match(/\w+/g) ?? [])
  ])

/** Whether the code uses something that a module exports by its name: `Store.make`. */
const uses = (name: string, module: string, code: string): boolean =>
  exportsOf(module).some((member) => isNamed(code, `${name}\\.${member}`))

/** A module under its name, if the code uses what it exports so; else what it exports of that name. */
const moduleAs = (name: string, module: string, code: string): string => {
  const path = join(source, module)
  return exportsOf(module).includes(name) && !uses(name, module, code)
    ? `import { ${name} } from "${path}"`
    : `import * as ${name} from "${path}"`
}

/** What an example names, from where it can be had. What nobody has is of any type. */
const introduced = ({ code, module }: Example, unknown: ReadonlySet<string>): string => {
  const seen = ownNames(code)
  const lines = ['import type { DriverService as DriverService_, Machine as Machine_ } from "vmtest"']
  const take = (name: string, line: string) => {
    if (seen.has(name) || !isNamed(code, name)) return
    seen.add(name)
    lines.push(line)
  }
  const itself = basename(module, ".ts")
  if (/^[A-Z]/.test(itself)) take(itself, moduleAs(itself, module, code))
  for (const name of exportsOf(module)) take(name, `import { ${name} } from "${join(source, module)}"`)
  for (const name of exported) take(name, `import { ${name} } from "vmtest"`)
  for (const [name, type] of Object.entries(handles)) {
    take(name, `declare const ${name}: ${type.replace(/^(Machine|DriverService)\b/, "$1_")}`)
  }
  for (const [, name = ""] of code.matchAll(/(?<![\w.])([A-Z]\w*)\b/g)) {
    const called = modules.filter((one) => basename(one, ".ts") === name)
    const ours = called.find((one) => dirname(one) === dirname(module)) ?? called[0]
    const isEffects = existsSync(join(root, `node_modules/effect/dist/${name}.d.ts`))
    if (ours !== undefined && (!isEffects || uses(name, ours, code))) take(name, moduleAs(name, ours, code))
    else if (isEffects && !/^(Array|Number)$/.test(name)) take(name, `import * as ${name} from "effect/${name}"`)
  }
  for (const name of unknown) take(name, `declare const ${name}: any; type ${name} = any`)
  return `${lines.join("\n")}\n`
}

const moduleOf = (example: Example, unknown: ReadonlySet<string>) => {
  const wrapped = isModule(example) ? "" : "export const example = function* () {\n"
  const head = `${introduced(example, unknown)}${wrapped}`
  return { text: `${head}${example.code}${wrapped === "" ? "" : "}\n"}`, before: head.split("\n").length - 1 }
}

const compileWith = (unknown: ReadonlyMap<string, ReadonlySet<string>>) =>
  tsc(
    examples.map((example) => {
      const name = fileOf(example)
      return {
        name,
        shown: `src/${example.module}`,
        line: example.line,
        ...moduleOf(example, unknown.get(name) ?? new Set())
      }
    })
  )

/** What tsc says of all examples. Names that only the text around an example could know are first found out, then taken for granted. */
export const complaints = (): ReadonlyArray<Complaint> => {
  const unknown = new Map<string, Set<string>>()
  for (const { message, name } of compileWith(unknown)) {
    const [, missing] = /(?:Cannot find name|for the shorthand property) '(\w+)'/.exec(message) ?? []
    if (missing !== undefined) unknown.set(name, (unknown.get(name) ?? new Set()).add(missing))
  }
  return compileWith(unknown)
}
