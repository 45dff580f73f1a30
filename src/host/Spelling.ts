/**
 * Words that were misspelt, and which known ones are near.
 *
 * **Example** (What was meant)
 *
 * ```ts
 * Spelling.near("timeuot", ["timeout", "user"]) // "timeout"
 * Spelling.near("colour", ["timeout", "user"]) // undefined
 * ```
 *
 * @since 0.1.0
 */
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

const letters = (word: string) => [...word].sort().join("")

/** The known word that was likely meant, if there is one: an alias, one that differs in a third of the letters at most, or in their order. */
export const near = (word: string, known: Iterable<string>, aliases: Aliases = {}): string | undefined => {
  const lower = word.toLowerCase()
  const [first] = nearest(word, known, aliases)
  if (first === undefined || (Object.hasOwn(aliases, lower) && aliases[lower] === first)) return first
  const other = first.toLowerCase()
  return distance(lower, other) <= Math.ceil(word.length / 3) || letters(lower) === letters(other) ? first : undefined
}
