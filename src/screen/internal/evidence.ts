/** The pictures that show how a screen differed, in the machine's folder of the output folder. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Artefact from "../../guest/Artefact.ts"
import type { Guest } from "../../guest/Guest.ts"
import { type Frame, toPng } from "./frame.ts"

/** A reference's path without its ending, from the working folder, that leads nowhere else. */
const placeOf = (reference: string): string =>
  Path.relative("", Path.resolve(reference))
    .replace(/\.png$/, "")
    .split(Path.sep)
    .map((part) => (part === ".." ? "_" : part))
    .join(Path.sep)

/** How often each place has had evidence: a fork, or another display, of a machine writes to the same folder. */
const times = new Map<string, number>()

/** Gives the paths of the pictures, which no other failure of this run has; `diff` is empty without one. */
export const keep = Effect.fnUntraced(function* (
  guest: Guest,
  reference: string,
  actual: Frame,
  diff: Frame | undefined
) {
  const place = Path.join(guest.name, placeOf(reference))
  const key = Path.resolve(guest.output, place)
  const time = (times.get(key) ?? 0) + 1
  times.set(key, time)
  const write = Effect.fnUntraced(function* (kind: "actual" | "diff", picture: Frame) {
    const file = yield* Artefact.at(guest, `${place}-${kind}${time === 1 ? "" : `-${time}`}`, ".png")
    yield* file.write(toPng(picture))
    return file.path
  })
  return { actual: yield* write("actual", actual), diff: diff === undefined ? "" : yield* write("diff", diff) }
})
