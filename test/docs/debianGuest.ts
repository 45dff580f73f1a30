/** What `docs/debian-guest.md` says of a guest, as words between backquotes. */
import { read } from "./pages.ts"

const page = read("docs/debian-guest.md")

const words = (text: string): ReadonlyArray<string> => [...text.matchAll(/`([^`]+)`/g)].map(([, word = ""]) => word)

/** Of the row of a table. */
export const row = (label: string): ReadonlyArray<string> => {
  const line = page.split("\n").find((one) => one.startsWith(`| ${label} |`))
  if (line === undefined) throw new Error(`docs/debian-guest.md has no row ${label}`)
  return words(line.slice(label.length + 4))
}

/** Of what follows a sentence, up to the end of its paragraph. */
export const paragraph = (sentence: string): ReadonlyArray<string> => {
  const text = page.replaceAll(/(?<!\n)\n(?!\n)/g, " ")
  const start = text.indexOf(sentence)
  if (start < 0) throw new Error(`docs/debian-guest.md does not say: ${sentence}`)
  return words(text.slice(start + sentence.length).split("\n\n")[0] ?? "")
}
