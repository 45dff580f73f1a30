/** What `vmtest run --list` prints. */
import type { Wanted } from "./select.ts"

const placeOf = ({ test }: Wanted) => {
  const at = test.declaredAt()
  return { file: test.file, line: at?.line }
}

/** A line for each test: its place, its name, its tags, and whether it is run. */
export const lines = (wanted: ReadonlyArray<Wanted>): ReadonlyArray<string> =>
  wanted.map((one) => {
    const { file, line } = placeOf(one)
    const place = file === undefined ? "" : `${file}${line === undefined ? "" : `:${line}`}  `
    const tags = (one.test.tags ?? []).map((tag) => ` @${tag}`).join("")
    const mark = one.test.mark === undefined || one.test.mark === "only" ? "" : ` (${one.test.mark})`
    return `${place}${one.test.name}${tags}${mark}`
  })

/** The same as JSON: an array of objects. */
export const json = (wanted: ReadonlyArray<Wanted>): string =>
  JSON.stringify(
    wanted.map((one) => ({
      name: one.test.name,
      ...placeOf(one),
      id: one.key,
      tags: one.test.tags ?? [],
      machines: Object.keys(one.test.machines),
      runs: one.test.mark !== "skip" && one.test.mark !== "fixme"
    })),
    undefined,
    2
  )
