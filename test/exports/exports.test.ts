import { execFileSync, spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, describe, it } from "@effect/vitest"

const root = fileURLToPath(new URL("../..", import.meta.url))
const tsc = join(root, "node_modules/.bin/tsc")

/** A project that has the package installed, as npm would: its package.json, and what `npm run build` makes of the types. */
const project = mkdtempSync(join(tmpdir(), "vmtest-exports-"))
afterAll(() => rmSync(project, { recursive: true, force: true }))

const compilerOptions = {
  target: "ES2023",
  lib: ["ES2023"],
  module: "nodenext",
  moduleResolution: "nodenext",
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: true,
  types: ["node"],
  declaration: true,
  emitDeclarationOnly: true,
  outDir: "types"
}

const setUp = () => {
  const installed = join(project, "node_modules/vmtest")
  mkdirSync(installed, { recursive: true })
  for (const name of readdirSync(join(root, "node_modules"))) {
    if (!name.startsWith(".")) symlinkSync(join(root, "node_modules", name), join(project, "node_modules", name))
  }
  cpSync(join(root, "package.json"), join(installed, "package.json"))
  const built = ["--project", "tsconfig.build.json", "--emitDeclarationOnly", "--declarationMap", "false"]
  execFileSync(
    tsc,
    [...built, "--outDir", join(installed, "dist"), "--incremental", "false", "--tsBuildInfoFile", "null"],
    {
      cwd: root
    }
  )
  for (const name of ["consumer.ts", "sparse.ts", "sparseLayer.ts", "suite.ts"]) {
    cpSync(join(root, "test/exports", name), join(project, name))
  }
  writeFileSync(join(project, "package.json"), '{ "type": "module" }')
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }))
}

describe("what a project exports of vmtest, with its types inferred", () => {
  it("is named by what the package exports", { timeout: 240_000 }, () => {
    setUp()
    const { status, stdout } = spawnSync(tsc, ["--project", project], { cwd: project, encoding: "utf8" })
    assert.strictEqual(stdout, "")
    assert.strictEqual(status, 0)
    const types = readFileSync(join(project, "types/consumer.d.ts"), "utf8")
    assert.include(types, "UnitFailed")
    // Not by files that the package does not export.
    assert.notInclude(types, "dist/")
  })
})
