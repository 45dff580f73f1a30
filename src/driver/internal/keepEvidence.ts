/** What a failure is too long to show, in files of the test's folder. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { cutMiddle } from "../../host/Evidence.ts"
import * as OutputFolder from "../../host/OutputFolder.ts"
import * as Failure from "../Failure.ts"

/**
 * Writes what would be cut to `<folder>/failure-<title>.txt`, the message to `failure-message.txt`, and notes where it is. A file that cannot be
 * written is left out.
 */
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
  /** The file of a text that would be cut. */
  const keep = (title: string, text: string): Effect.Effect<string | undefined> => {
    if (cutMiddle(text) === text) return Effect.succeed(undefined)
    const file = Path.join(folder, nameFor(title))
    return OutputFolder.place(folder, file, (there) => Fs.writeFileSync(there, `${text}\n`)).pipe(
      Effect.match({ onSuccess: () => file, onFailure: () => undefined })
    )
  }
  return Effect.fnUntraced(function* (failure: Failure.Failure): Effect.fn.Return<Failure.Failure> {
    const messageFile = failure.messageFile ?? (yield* keep("message", Failure.ownMessage(failure)))
    const evidence = yield* Effect.forEach(failure.evidence, (one) =>
      one.file === undefined
        ? Effect.map(keep(one.title, one.text), (file) => (file === undefined ? one : { ...one, file }))
        : Effect.succeed(one)
    )
    return messageFile === undefined ? { ...failure, evidence } : { ...failure, messageFile, evidence }
  })
}
