/**
 * The names of machines in the text of a test's body, so that a misspelt one is found before anything starts. Types find it earlier, but scripts are run
 * without a check of their types.
 */
import { near } from "../../host/Spelling.ts"

/** The names in the text of a body. */
interface Asked {
  /** Those that it destructures from its first argument: it asks for each of them when it is called. */
  readonly taken: ReadonlyArray<string>
  /** Properties of its first argument. */
  readonly used: ReadonlyArray<string>
}

const nothing: Asked = { taken: [], used: [] }

const head = /^(?:async\b\s*)?(?:function\b\s*\*?\s*[\w$]*\s*)?\(?\s*/

/** `web`, `web: server`, `"db-1": db`, each with or without a plain default. */
const entry = /^(?:"([^"]*)"|'([^']*)'|([\w$]+))(?:\s*:\s*[\w$]+)?(?:\s*=\s*[\w$]+)?$/

/** The names of a pattern; none if it is more than a list of names. */
const takenBy = (pattern: string): ReadonlyArray<string> => {
  const entries = pattern
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "" && !/^\.\.\.[\w$]+$/.test(one))
  const names = entries.flatMap(
    (one) =>
      entry
        .exec(one)
        ?.slice(1)
        .find((name) => name !== undefined) ?? []
  )
  return names.length === entries.length ? names : []
}

/** Whether a variable of this name is declared in the text. Sometimes true without one, for example after `if (machines) {`. */
const isDeclared = (name: string, text: string): boolean => {
  const word = `(?<![\\w$.])${name}(?![\\w$.[])`
  return [
    `\\b(?:let|const|var)\\s+(?:[^=;]*,\\s*)?${word}`,
    `\\b(?:let|const|var)\\s*[{[][^=;]*${word}`,
    `\\b(?:function\\s*\\*?|class)\\s+${word}`,
    `${word}\\s*=>`,
    `\\([^()]*${word}[^()]*\\)\\s*(?:=>|\\{)`
  ].some((pattern) => new RegExp(pattern).test(text))
}

/** Whether the text asks which properties a variable has: `"db" in machines`, `Object.hasOwn(machines, "db")`. */
const isAskedAbout = (name: string, text: string): boolean =>
  new RegExp(`\\bin\\s+${name}(?![\\w$.[])|\\bhasOwn\\(\\s*${name}\\s*,`).test(text)

/** The properties of a variable; none if another variable in the text has its name, or if they are used where they exist only. */
const usedOf = (variable: string, text: string): ReadonlyArray<string> => {
  const name = variable.replaceAll("$", "\\$")
  if (isDeclared(name, text) || isAskedAbout(name, text)) return []
  const property = new RegExp(`(?<![\\w$.])${name}(?:\\.([\\w$]+)|\\[(?:"([^"]*)"|'([^']*)')\\])`, "g")
  return [...text.matchAll(property)].flatMap((match) => match.slice(1).find((one) => one !== undefined) ?? [])
}

const askedIn = (source: string): Asked => {
  const start = head.exec(source)?.[0].length ?? 0
  const text = source.slice(start)
  const pattern = /^\{([^{}]*)\}/.exec(text)?.[1]
  if (pattern !== undefined) return { taken: takenBy(pattern), used: [] }
  const variable = /^[A-Za-z_$][\w$]*/.exec(text)?.[0]
  if (variable === undefined) return nothing
  const rest = text.slice(variable.length)
  // Past the other parameters: they are not other variables of this name.
  const arrow = rest.search(/=>|\)\s*\{/)
  return arrow === -1 ? nothing : { taken: [], used: usedOf(variable, rest.slice(arrow + 2)) }
}

/** Completes an error about a machine that is not there. */
export const missing = (name: string, names: ReadonlyArray<string>): string => {
  const those = names.length === 0 ? "the test declares none" : `its machines are ${names.join(", ")}`
  const meant = near(name, names)
  return `${JSON.stringify(name)}; ${those}${meant === undefined ? "" : `; did you mean ${JSON.stringify(meant)}?`}`
}

/** A name that a body asks for and that no machine has: one that it certainly asks for, or one that is nearly a machine's. */
export const misspelt = (source: string, names: ReadonlyArray<string>): string | undefined => {
  const { taken, used } = askedIn(source)
  const isMissing = (name: string) => !names.includes(name) && !(name in {})
  return taken.find(isMissing) ?? used.find((name) => isMissing(name) && near(name, names) !== undefined)
}
