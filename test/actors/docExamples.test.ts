/**
 * The examples in the doc comments of `src/actors`: every public module has one, all of them compile, and each gives what it says.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as Report from "../../src/actors/Report.ts"

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
const root = path("../..")
const sources = path("../../src/actors")
const modules = readdirSync(sources).filter((file) => /^[A-Z].*\.ts$/.test(file))

interface Example {
  readonly module: string
  readonly title: string
  readonly code: string
}

/** The examples of a file: a title, and code in a comment, up to the line that says what it gives. */
const examplesOf = (module: string): ReadonlyArray<Example> => {
  const text = readFileSync(join(sources, module), "utf8")
  return [...text.matchAll(/ \* \*\*Example\*\* \((.*)\)\n \*\n \* ```ts\n((?: \*.*\n)*?) \* ```\n/g)].map(
    ([, title = "", lines = ""]) => ({ module, title, code: lines.replace(/^ \* ?/gm, "") })
  )
}

const examples = modules.flatMap(examplesOf)
const folder = mkdtempSync(join(tmpdir(), "vmtest-examples-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A project with a file for each example, which exports what it gives. */
const files = examples.map(({ code }, i) => {
  const gives = /^\/\/ gives (.*)$/m.exec(code)?.[1]
  const file = join(folder, `example${i}.ts`)
  writeFileSync(file, `${code}\nexport const expected: unknown = ${gives}\n`)
  return file
})
writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }))
symlinkSync(join(root, "node_modules"), join(folder, "node_modules"))
writeFileSync(
  join(folder, "tsconfig.json"),
  JSON.stringify({
    extends: join(root, "tsconfig.json"),
    compilerOptions: { incremental: false, typeRoots: [join(root, "node_modules/@types")] },
    include: ["*.ts"]
  })
)

describe("the examples in doc comments", () => {
  it.each(modules)("%s has one", (module) => {
    assert.isTrue(examples.some((example) => example.module === module))
  })

  it("compile", { timeout: 120_000 }, () => {
    const tsc = join(root, "node_modules/.bin/tsc")
    const { status, stdout } = spawnSync(process.execPath, [tsc, "--project", folder], { encoding: "utf8" })
    assert.strictEqual(stdout, "")
    assert.strictEqual(status, 0)
  })

  examples.forEach(({ module, title }, i) => {
    it.live(`${module}, ${title}: gives what it says`, () =>
      Effect.gen(function* () {
        const { expected, program } = (yield* Effect.promise(() => import(/* @vite-ignore */ files[i] as string))) as {
          readonly program: Effect.Effect<unknown, unknown>
          readonly expected: unknown
        }
        const quietly = Effect.provideService(program, Report.Reports, "quiet")
        assert.deepStrictEqual(yield* ActorSystem.scoped(quietly), expected)
      })
    )
  })
})
