/** What a failure is too long to show, in files of the test's folder. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { cutMiddle } from "../../host/Evidence.ts"
import * as OutputFolder from "../../host/OutputFolder.ts"
import type { Failure } from "../Failure.ts"

/** Writes what would be cut to `<folder>/failure-<title>.txt`, and notes where it is. A file that cannot be written is left out. */
export const make = (folder: string) => {
  const names = new Set<string>()
  const nameFor = (title: string): string => {
    const base = `failure-${title.replaceAll(/\W+/g, "-")}`
    for (let count = 1; ; count++) {
      const name = count === 1 ? `${base}.txt` : `${base}-${count}.txt`
      if (names.has(name)) continue
      names.add(name)
      return name
    }
  }
  return (failure: Failure): Effect.Effect<Failure> =>
    Effect.map(
      Effect.forEach(failure.evidence, (one) => {
        if (one.file !== undefined || cutMiddle(one.text) === one.text) return Effect.succeed(one)
        const file = Path.join(folder, nameFor(one.title))
        return OutputFolder.place(folder, file, (there) => Fs.writeFileSync(there, `${one.text}\n`)).pipe(
          Effect.match({ onSuccess: () => ({ ...one, file }), onFailure: () => one })
        )
      }),
      (evidence) => ({ ...failure, evidence })
    )
}
