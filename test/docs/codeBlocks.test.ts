/** Every block of code in the documentation: TypeScript compiles, JSON is read, and commands are those that vmtest has. */
import { dirname, join, normalize } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as CommandLine from "../../src/cli/CommandLine.ts"
import * as CodeBlocks from "./codeBlocks.ts"
import * as Examples from "./examples.ts"
import { type Block, blocks, pages, read, sources } from "./pages.ts"

/** The words of a line of shell, without quotes; variables and patterns stay as they are. */
const wordsOf = (line: string): Array<string> =>
  [...line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g)].map(([word]) => word.replace(/'([^']*)'|"([^"]*)"/g, "$1$2"))

/** The calls of vmtest in a block of shell or YAML: what follows `vmtest`. */
const callsOf = ({ code }: Block): Array<Array<string>> =>
  code
    .replaceAll("\\\n", " ")
    .split("\n")
    .flatMap((line) => {
      const call = /(?:^|[ /])vmtest (?=[a-z-])(.*?)(?: +#.*)?$/.exec(line.trim())
      return call?.[1] === undefined || /^#/.test(line.trim()) ? [] : [wordsOf(call[1])]
    })

/** As GitHub makes anchors of headings. */
const anchorsOf = (page: string): ReadonlyArray<string> =>
  [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-")
  )

describe("the code in the documentation", () => {
  it("compiles", { timeout: 240_000 }, () => {
    assert.isAbove(CodeBlocks.typescript.length, 15)
    assert.deepStrictEqual(CodeBlocks.complaints(), [])
  })

  it("is JSON where it is said to be", () => {
    for (const { code, language, line, page } of blocks) {
      if (language === "json") assert.doesNotThrow(() => JSON.parse(code), `${page}:${line}`)
    }
  })

  it("says for each block which language it is in", () => {
    const known = ["ts", "sh", "json", "yaml", "console", "py", "nix", "ini", ""]
    for (const { language, line, page } of blocks) assert.include(known, language, `${page}:${line}`)
  })

  it.effect("calls vmtest as it can be called", () =>
    Effect.gen(function* () {
      const shell = blocks.filter(({ language }) => language === "sh" || language === "yaml")
      const calls = shell.flatMap((block) => callsOf(block).map((words) => ({ ...block, words })))
      assert.isAbove(calls.length, 8)
      for (const { line, page, words } of calls) {
        const parsed = yield* CommandLine.parse(words)
        assert.isObject(parsed, `${page}:${line}: vmtest ${words.join(" ")}`)
      }
    }).pipe(Effect.provide(NodeServices.layer))
  )
})

describe("the examples in doc comments", () => {
  it("compile", { timeout: 240_000 }, () => {
    assert.isAbove(Examples.examples.length, 100)
    assert.deepStrictEqual(Examples.complaints(), [])
  })
})

describe("the links in the documentation", () => {
  it("lead to headings that there are", () => {
    const links = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\((?!\w+:)([^)#\s]*)#([^)\s]+)\)/g)].map(([, path = "", anchor = ""]) => ({
        page,
        target: path === "" ? page : normalize(join(dirname(page), path)),
        anchor
      }))
    )
    const broken = links.filter(({ anchor, target }) => !anchorsOf(target).includes(anchor))
    assert.deepStrictEqual(broken, [])
  })
})

describe("the environment variables in docs/running.md", () => {
  it("are those that the sources read", () => {
    const named = new Set(read("docs/running.md").match(/VMTEST_\w+/g))
    const known = new Set(sources().flatMap((text) => text.match(/VMTEST_[A-Z_]+/g) ?? []))
    // How vmtest tells what a script's interpreter started, and what a start script did.
    known.delete("VMTEST_SCRIPT")
    known.delete("VMTEST_MACHINE_FOLDER")
    assert.deepStrictEqual([...named].toSorted(), [...known].toSorted())
  })
})
