/** The pictures that show how a screen differs, in the machine's folder of the output folder. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Artefact from "../../guest/Artefact.ts"
import type { Guest } from "../../guest/Guest.ts"
import { type Frame, toPng } from "./frame.ts"

/** A reference's path from the working folder, without its ending, that does not lead out of it. */
const placeOf = (reference: string): string =>
  Path.relative("", Path.resolve(reference))
    .replace(/\.png$/, "")
    .split(Path.sep)
    .map((part) => (part === ".." ? "_" : part))
    .join(Path.sep)

/** How often each path was used: forks and other displays of a machine write to the same folder. */
const times = new Map<string, number>()

/** Writes the pictures, and gives their paths, which no other failure of this run uses; `diff` is empty without one. */
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
