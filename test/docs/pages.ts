/** The pages of documentation, and the code in them. */
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../..", import.meta.url))

export const read = (page: string): string => readFileSync(`${root}${page}`, "utf8")

/** By their paths in the repository. */
export const pages: ReadonlyArray<string> = [
  ...["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"],
  ...readdirSync(`${root}docs`)
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`)
]

export interface Block {
  readonly page: string
  /** Where its code starts, from 1. */
  readonly line: number
  readonly language: string
  readonly code: string
}

const blocksOf = (page: string): ReadonlyArray<Block> => {
  const text = read(page)
  return [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(({ 1: language = "", 2: code = "", index }) => ({
    page,
    line: text.slice(0, index).split("\n").length + 1,
    language,
    code
  }))
}

export const blocks: ReadonlyArray<Block> = pages.flatMap(blocksOf)

/** The texts of the modules in `src`. */
export const sources = (): ReadonlyArray<string> =>
  (readdirSync(`${root}src`, { recursive: true }) as Array<string>)
    .filter((file) => file.endsWith(".ts"))
    .map((file) => read(`src/${file}`))
