/** Compiles texts as files of a project like this one. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { root } from "./pages.ts"

export interface Text {
  /** Its file's name, with `.ts`. */
  readonly name: string
  readonly text: string
  /** What messages call it: a page or a module, where it starts there (from 1), and how many lines of `text` come before it. */
  readonly shown: string
  readonly line: number
  readonly before: number
}

export interface Complaint {
  readonly name: string
  /** `docs/vitest.md:12` */
  readonly place: string
  readonly message: string
}

/** What tsc says of them. */
export const tsc = (texts: ReadonlyArray<Text>): ReadonlyArray<Complaint> => {
  const folder = mkdtempSync(join(tmpdir(), "vmtest-docs-"))
  for (const { name, text } of texts) writeFileSync(join(folder, name), text)
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }))
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"))
  const compilerOptions = {
    ...{ incremental: false, tsBuildInfoFile: null, noUnusedLocals: false },
    ...{ rewriteRelativeImportExtensions: false, verbatimModuleSyntax: false },
    typeRoots: [join(root, "node_modules/@types")]
  }
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({ extends: join(root, "tsconfig.json"), compilerOptions, include: ["*.ts"] })
  )
  const command = [join(root, "node_modules/.bin/tsc"), "--project", folder, "--pretty", "false"]
  const { stdout } = spawnSync(process.execPath, command, { encoding: "utf8" })
  rmSync(folder, { recursive: true })
  return stdout.split("\n").flatMap((said): ReadonlyArray<Complaint> => {
    if (said === "" || said.startsWith(" ")) return []
    const [, file = "", line = "0", message = said] = /^(.*\.ts)\((\d+),\d+\): (.*)$/.exec(said) ?? []
    const text = texts.find(({ name }) => file.endsWith(name))
    const place = text === undefined ? file : `${text.shown}:${Number(line) - text.before + text.line - 1}`
    return [{ name: text?.name ?? "", place, message }]
  })
}
