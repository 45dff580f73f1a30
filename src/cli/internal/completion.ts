/**
 * What the Tab key completes at the prompt, besides what Node's REPL knows: commands and their machines, and the methods of machines and of the
 * driver, which are behind proxies that Node leaves alone.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"

/** The texts that can be there, and the part of the line that they replace. */
export type Completions = readonly [hits: ReadonlyArray<string>, part: string]

/** A command of the prompt, without its dot. */
export interface Completable {
  readonly name: string
  /** What its first word can be. */
  readonly words?: (() => ReadonlyArray<string>) | undefined
}

const isIdentifier = (key: string): boolean => /^[A-Za-z_$][\w$]*$/.test(key)

const read = (object: unknown, key: string): unknown =>
  Predicate.isObjectOrArray(object) || typeof object === "function"
    ? Result.getOrElse(
        Result.try((): unknown => Reflect.get(object, key)),
        () => undefined
      )
    : undefined

/** The names of an object's properties, those of its prototypes included; none of what every object has. */
const keysOf = (object: unknown): ReadonlyArray<string> => {
  const keys = new Set<string>()
  let at: unknown = object
  while (
    (Predicate.isObjectOrArray(at) || typeof at === "function") &&
    at !== Object.prototype &&
    at !== Function.prototype
  ) {
    const own = Result.getOrElse(
      Result.try(() => Object.keys(Object.getOwnPropertyDescriptors(at))),
      (): Array<string> => []
    )
    for (const key of own) keys.add(key)
    at = Object.getPrototypeOf(at)
  }
  return [...keys].filter((key) => key !== "constructor" && !key.startsWith("~"))
}

/** `web`, `driver.machines`, `machines["web-2"]` */
const chain = /([A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*|\["[^"\]]+"\])*)\.([\w$]*)$/

const property = (line: string, named: (name: string) => unknown): Completions | undefined => {
  const [part = "", path = "", started = ""] = chain.exec(line) ?? []
  if (part === "") return undefined
  const [first = "", ...others] = path.split(/\.|\["|"\]\.?/).filter((name) => name !== "")
  const object = others.reduce<unknown>(read, named(first))
  const hits = keysOf(object).filter((key) => isIdentifier(key) && key.startsWith(started))
  return hits.length === 0 ? undefined : [hits.toSorted().map((key) => `${path}.${key}`), part]
}

const command = (line: string, commands: ReadonlyArray<Completable>): Completions | undefined => {
  const [, name, word] = /^\s*\.(\w*)(?:\s+(\S*))?$/.exec(line) ?? []
  if (name === undefined) return undefined
  if (word === undefined) {
    const hits = commands.map((one) => one.name).filter((one) => one.startsWith(name))
    return [hits.map((hit) => `.${hit}`), `.${name}`]
  }
  const words = commands.find((one) => one.name === name)?.words?.() ?? []
  return [words.filter((one) => one.startsWith(word)), word]
}

/** What can be completed at the end of a line; undefined where Node's REPL may know. Names are looked for in the first object that has them. */
export const complete = (
  line: string,
  names: ReadonlyArray<object>,
  commands: ReadonlyArray<Completable>
): Completions | undefined =>
  command(line, commands) ??
  property(line, (name) =>
    read(
      names.find((one) => name in one),
      name
    )
  )
