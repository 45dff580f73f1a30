import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"

const src = fileURLToPath(new URL("../src", import.meta.url))

/** What each room may import, besides itself. ARCHITECTURE.md draws the same picture. */
const below = {
  transport: ["host", "actors"],
  images: ["host", "actors", "transport"],
  backends: ["host", "actors", "transport", "images", "network"]
}
const guest = [...below.backends, "backends"]
const screen = [...guest, "guest"]
const machine = [...screen, "screen"]
const driver = [...machine, "machine"]

const allowed: Record<string, ReadonlyArray<string>> = {
  host: [],
  actors: [],
  ...below,
  network: below.images,
  guest,
  screen,
  machine,
  driver,
  python: [...driver, "driver"],
  report: [...driver, "driver"],
  fleet: [...driver, "driver"],
  cli: [...driver, "driver", "python", "report", "fleet"],
  nixos: [...driver, "driver", "python", "report", "fleet", "cli"]
}

interface Import {
  readonly file: string
  readonly specifier: string
}

const files = (readdirSync(src, { recursive: true }) as Array<string>).filter((file) => file.endsWith(".ts"))

const importsOf = (file: string): Array<Import> =>
  [...readFileSync(join(src, file), "utf8").matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => ({
    file,
    specifier: match[1] as string
  }))

/** What a module imports that is there when it runs: not types, nor what it imports only once it is called. */
const valueImportsOf = (file: string): Array<string> =>
  [...readFileSync(join(src, file), "utf8").matchAll(/^(?:import|export)\s+(?!type\b)([^"';]*?)from\s+"([^"]+)"/gm)]
    .filter(([, names = ""]) => {
      const braced = /^\{([^}]*)\}\s*$/.exec(names.trim())
      return (
        braced === null || braced[1]!.split(",").some((name) => name.trim() !== "" && !name.trim().startsWith("type "))
      )
    })
    .map((match) => match[2] as string)

const roomOf = (file: string): string | undefined => (file.includes("/") ? file.slice(0, file.indexOf("/")) : undefined)

const all = files.flatMap(importsOf)

describe("the house", () => {
  it("has only the rooms that ARCHITECTURE.md names", () => {
    const rooms = new Set(files.map(roomOf).filter((room) => room !== undefined))
    assert.deepStrictEqual(
      [...rooms].filter((room) => !(room in allowed)),
      []
    )
  })

  it("imports point one way", () => {
    const wrong = all.flatMap(({ file, specifier }) => {
      const from = roomOf(file)
      if (from === undefined || !specifier.startsWith(".")) return []
      const target = relative(src, resolve(src, dirname(file), specifier))
      const to = roomOf(target) ?? `(${target})`
      return to === from || (allowed[from] ?? []).includes(to) ? [] : [`${file} -> ${target}`]
    })
    assert.deepStrictEqual(wrong, [])
  })

  it("keeps the insides of a room, in internal or in lower case, to that room", () => {
    const isInside = (path: string) => path.includes("/internal/") || /(^|\/)[a-z][^/]*\.ts$/.test(path)
    const wrong = all.flatMap(({ file, specifier }) => {
      const target = relative(src, resolve(src, dirname(file), specifier))
      return specifier.startsWith(".") &&
        isInside(target) &&
        roomOf(target) !== roomOf(file) &&
        roomOf(file) !== undefined
        ? [`${file} -> ${target}`]
        : []
    })
    assert.deepStrictEqual(wrong, [])
  })

  it("has no circle of imports that run", () => {
    const edges = new Map(
      files.map((file) => [
        file,
        valueImportsOf(file)
          .filter((specifier) => specifier.startsWith("."))
          .map((specifier) => relative(src, resolve(src, dirname(file), specifier)))
      ])
    )
    const done = new Set<string>()
    const circles: Array<string> = []
    const visit = (file: string, path: ReadonlyArray<string>): void => {
      if (path.includes(file)) {
        circles.push([...path.slice(path.indexOf(file)), file].join(" -> "))
        return
      }
      if (done.has(file)) return
      for (const next of edges.get(file) ?? []) visit(next, [...path, file])
      done.add(file)
    }
    for (const file of files) visit(file, [])
    assert.deepStrictEqual(circles, [])
  })

  it("never imports the platform barrel, which costs half a second", () => {
    const wrong = all.filter(({ specifier }) => specifier === "@effect/platform-node")
    assert.deepStrictEqual(wrong, [])
  })

  it("has one module that knows Effect's queues and SQL, which are unstable", () => {
    const engines = /^(effect\/(persistence|sql|cluster|workflow)\/|@effect\/sql-pg)/
    const wrong = all.filter(({ file, specifier }) => engines.test(specifier) && file !== "fleet/internal/engine.ts")
    assert.deepStrictEqual(wrong, [])
  })
})
