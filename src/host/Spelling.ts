/**
 * Words that were misspelt: which known ones are near, and which fields of an object nobody reads.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"

/** How many letters have to be put in, taken out or replaced to make one word of another (Levenshtein). */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replaced))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** What other people call things, and what they are called here. */
export type Aliases = Readonly<Record<string, string>>

/** Known words by how near they are to one, whatever its case: first what it is an alias of. */
export const nearest = (word: string, known: Iterable<string>, aliases: Aliases = {}): ReadonlyArray<string> => {
  const lower = word.toLowerCase()
  const far = new Map([...known].map((one) => [one, distance(lower, one.toLowerCase())]))
  const near = [...far.keys()].sort((a, b) => (far.get(a) ?? 0) - (far.get(b) ?? 0))
  const alias = Object.hasOwn(aliases, lower) ? aliases[lower] : undefined
  return [...new Set(alias === undefined ? near : [alias, ...near])]
}

/** Every field that a type has: the compiler says when one is missing or is none. */
export type FieldsOf<A> = Readonly<Record<keyof A & string, true>>

/** A field that nobody reads, and what is to be said of it. */
export interface UnknownField {
  readonly field: string
  readonly reason: string
}

/**
 * The first field of an object that is none of the known ones, which would be passed over in silence; undefined if there is none, or no object.
 * A `_tag` is ours. `within` is the field that the object is itself.
 */
export const unknownField = (
  given: unknown,
  known: Readonly<Record<string, true>>,
  { aliases, within }: { readonly aliases?: Aliases; readonly within?: string } = {}
): UnknownField | undefined => {
  if (!Predicate.isObject(given)) return undefined
  const field = Object.keys(given).find((name) => name !== "_tag" && !Object.hasOwn(known, name))
  if (field === undefined) return undefined
  const names = Object.keys(known)
  return {
    field: within === undefined ? field : `${within}.${field}`,
    reason: `is not known here; the nearest is ${nearest(field, names, aliases)[0]}, of ${names.join(", ")}`
  }
}
