import { execFileSync, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

/** An empty project of another folder, with the packed vmtest installed. */
let project = ""

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), "vmtest-project-"))
  execFileSync("npm", ["pack", "--pack-destination", project, "--loglevel=error"], { cwd: root })
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "project", private: true, type: "module" }))
  const tarball = execFileSync("sh", ["-c", "echo *.tgz"], { cwd: project, encoding: "utf8" }).trim()
  execFileSync("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", `./${tarball}`], {
    cwd: project
  })
})

afterAll(() => rmSync(project, { recursive: true, force: true }))

const npx = (...args: Array<string>) => spawnSync("npx", ["vmtest", ...args], { cwd: project, encoding: "utf8" })

describe("the packed tarball, installed in an empty project", () => {
  it("has a working command", () => {
    const { status, stderr, stdout } = npx("--version")
    assert.strictEqual(status, 0, stderr)
    assert.match(stdout, /^vmtest v\d+\.\d+\.\d+\n$/)
    assert.include(npx("run", "--help").stdout, "vmtest run")
  })

  it("runs a script on a guest", () => {
    writeFileSync(
      join(project, "tiny.ts"),
      `import { Effect } from "effect"
import { Image, test } from "vmtest"
export default test("tiny", { machines: { m: { image: Image.tiny() } } }, ({ m }) =>
  Effect.flatMap(m.succeed("hostname"), (name) => name === "m\\n" ? Effect.void : Effect.fail(name)))
`
    )
    const { status, stderr, stdout } = npx("run", "tiny.ts")
    assert.strictEqual(status, 0, stdout + stderr)
    assert.match(stdout, /1 passed, 0 failed/)
  })

  it("can be imported, with its types, by every name that it exports", () => {
    writeFileSync(
      join(project, "library.ts"),
      `import { Image, test } from "vmtest"
import * as Actors from "vmtest/actors"
export const image = Image.tiny()
export const names: ReadonlyArray<string> = Object.keys(Actors)
export default test("typed", { machines: { m: { image } } }, ({ m }) => m.succeed("true"))
`
    )
    writeFileSync(
      join(project, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          strict: true,
          noEmit: true,
          module: "nodenext",
          target: "es2023",
          skipLibCheck: true,
          types: [],
          typeRoots: []
        },
        files: ["library.ts"]
      })
    )
    const types = spawnSync(join(root, "node_modules", ".bin", "tsc"), ["-p", project], { encoding: "utf8" })
    assert.strictEqual(types.status, 0, types.stdout)
    const imports = `const a = await import("vmtest"), b = await import("vmtest/actors"); console.log(typeof a.test, Object.keys(b).length > 0)`
    const ran = spawnSync(process.execPath, ["--input-type=module", "-e", imports], { cwd: project, encoding: "utf8" })
    assert.strictEqual(ran.stdout, "function true\n", ran.stderr)
  })
})
