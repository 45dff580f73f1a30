import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"

const src = fileURLToPath(new URL("../src", import.meta.url))

/** What each room may import, besides itself. ARCHITECTURE.md draws the same picture. */
const allowed: Record<string, ReadonlyArray<string>> = {
  host: [],
  actors: [],
  transport: ["host", "actors"],
  images: ["host", "actors", "transport"],
  network: ["host", "actors", "transport"],
  backends: ["host", "actors", "transport", "images", "network"],
  machine: ["host", "actors", "transport", "images", "network", "backends"],
  driver: ["host", "actors", "transport", "images", "network", "backends", "machine"],
  report: ["host", "actors", "transport", "images", "network", "backends", "machine", "driver"],
  cli: ["host", "actors", "transport", "images", "network", "backends", "machine", "driver", "report"]
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

  it("keeps a room's internal folder to that room", () => {
    const wrong = all.flatMap(({ file, specifier }) => {
      const target = relative(src, resolve(src, dirname(file), specifier))
      return specifier.startsWith(".") && target.includes("/internal/") && roomOf(target) !== roomOf(file)
        ? [`${file} -> ${target}`]
        : []
    })
    assert.deepStrictEqual(wrong, [])
  })

  it("never imports the platform barrel, which costs half a second", () => {
    const wrong = all.filter(({ specifier }) => specifier === "@effect/platform-node")
    assert.deepStrictEqual(wrong, [])
  })
})
