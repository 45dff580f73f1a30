import { execFileSync, spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

describe("the project in examples/vitest-project, with the packed vmtest", () => {
  let project = ""
  beforeAll(() => {
    project = mkdtempSync(join(tmpdir(), "vmtest-vitest-project-"))
    cpSync(join(root, "examples", "vitest-project"), project, { recursive: true })
    const [{ filename }] = JSON.parse(
      execFileSync("npm", ["pack", "--json", "--pack-destination", project, "--loglevel=error"], {
        cwd: root,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"]
      }).replace(/^[^[]*/, "")
    )
    const file = join(project, "package.json")
    const manifest = JSON.parse(readFileSync(file, "utf8"))
    manifest.devDependencies.vmtest = `file:${filename}`
    writeFileSync(file, JSON.stringify(manifest))
    execFileSync("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"], {
      cwd: project
    })
  })
  afterAll(() => rmSync(project, { recursive: true, force: true }))

  it("asks for the versions that this vmtest is made for", () => {
    const { devDependencies, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
    const own = JSON.parse(readFileSync(join(root, "examples", "vitest-project", "package.json"), "utf8"))
    const { vmtest, ...others } = own.devDependencies
    assert.strictEqual(vmtest, version)
    for (const [name, wanted] of Object.entries(others)) assert.strictEqual(wanted, devDependencies[name], name)
  })

  it("passes", () => {
    const vitest = join(project, "node_modules", "vitest", "vitest.mjs")
    const ran = spawnSync(process.execPath, [vitest, "run"], {
      cwd: project,
      env: { ...process.env, NO_COLOR: "1" },
      encoding: "utf8"
    })
    assert.strictEqual(ran.status, 0, ran.stdout + ran.stderr)
    assert.match(ran.stdout, /Tests +6 passed/)
  })
})
