/**
 * Files that a machine leaves in the output folder: pictures, videos, texts.
 *
 * **Example** (A text in the output folder)
 *
 * ```ts
 * const file = yield* Artefact.at(guest, "report", ".txt")
 * yield* file.write("all is well\n")
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Fields from "../host/Fields.ts"
import * as OutputFolder from "../host/OutputFolder.ts"
import type { Guest } from "./Guest.ts"
import { HostFileError } from "./HostFile.ts"

export interface Artefact {
  readonly path: string
  readonly write: (content: Uint8Array | string) => Effect.Effect<void, HostFileError>
  /** Writes the content of a file of the host. */
  readonly copy: (from: string) => Effect.Effect<void, HostFileError>
}

/** The machine that owns each file of this run, by path. */
const owners = new Map<string, string>()

/** The path for a file of a machine: with the machine's name if another machine owns that path, and then with a number. */
const freeFor = (machine: string, path: string, ending: string): string => {
  const isFree = (candidate: string) => (owners.get(candidate) ?? machine) === machine
  const bare = path.slice(0, -ending.length)
  let candidate = path
  for (let time = 1; !isFree(candidate); time++)
    candidate = `${bare}-${machine}${time === 1 ? "" : `-${time}`}${ending}`
  return candidate
}

/** The name of a file, perhaps in a folder, with or without one of these endings. */
export const fileName = (...endings: ReadonlyArray<string>) =>
  Fields.text("the name of a file", (name) => {
    const last = name.slice(name.lastIndexOf("/") + 1)
    const ending = endings.find((one) => last.endsWith(one)) ?? ""
    return !["", ".", ".."].includes(last.slice(0, last.length - ending.length))
  })

/**
 * A file of that name; its ending is added if it is missing. A name that leads out of the output folder is an error. A machine overwrites its
 * own files, and never another machine's.
 */
export const at = Effect.fnUntraced(function* (guest: Guest, name: string, ending: string) {
  const output = Path.resolve(guest.output)
  const path = freeFor(guest.name, Path.resolve(output, name.endsWith(ending) ? name : name + ending), ending)
  const explained = Effect.mapError(
    (reason: OutputFolder.Reason) => new HostFileError({ machine: guest.name, path, reason })
  )
  // First, so that nothing is made in vain.
  yield* explained(OutputFolder.makeParent(output, path))
  owners.set(path, guest.name)
  const written = ending === ".png" ? guest.emit({ _tag: "Picture", machine: guest.name, path }) : Effect.void
  const place = (write: (file: string) => void) =>
    Effect.andThen(explained(OutputFolder.place(output, path, write)), written)
  return {
    path,
    write: (content) => place((file) => Fs.writeFileSync(file, content)),
    copy: (from) => place((file) => Fs.copyFileSync(from, file))
  } satisfies Artefact as Artefact
})
