import { existsSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"

const root = fileURLToPath(new URL("../../src/", import.meta.url))
const imports = /^(?:import|export)\s+(?!type\b)(?:[^"';]*?\sfrom\s+)?["']([^"']+)["']/gm

/** What Node loads with a module, without what it imports later: the package's modules, and the first of them that imports each package. */
const loadedWith = (module: string) => {
  const packages = new Map<string, string>()
  const seen = new Set([join(root, module)])
  for (const file of seen) {
    const code = readFileSync(file, "utf8").replace(/\/\*[\s\S]*?\*\//g, "")
    for (const [, name = ""] of code.matchAll(imports)) {
      if (!name.startsWith(".")) packages.set(name, packages.get(name) ?? file.slice(root.length))
      else if (existsSync(join(dirname(file), name))) seen.add(join(dirname(file), name))
    }
  }
  return { packages, modules: new Set([...seen].map((file) => file.slice(root.length))) }
}

describe("the start of a run", () => {
  const { modules, packages } = loadedWith("cli/Run.ts")

  it("is looked at with everything that it loads", () => {
    assert.isTrue(modules.has("backends/Backends.ts"))
    assert.isTrue(packages.has("effect/Schema"))
  })

  for (const name of ["effect", "node:http", "node:repl", "pngjs", "tinyglobby", "pg", "@effect/sql-pg"])
    it(`does not load ${name} before it is needed`, () => {
      assert.isUndefined(packages.get(name))
    })

  for (const name of ["cli/Prompt.ts", "cli/Doctor.ts", "cli/Top.ts", "fleet/Fleet.ts", "fleet/Worker.ts"])
    it(`does not load ${name} before it is needed`, () => {
      assert.isTrue(existsSync(join(root, name)))
      assert.isFalse(modules.has(name))
    })
})
