/** A file that a machine leaves in the output folder: a picture, a video, a text. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Fields from "../host/Fields.ts"
import * as OutputFolder from "../host/OutputFolder.ts"
import { HostFileError } from "./Copy.ts"
import type { Guest } from "./Guest.ts"

export interface Artefact {
  readonly path: string
  readonly write: (content: Uint8Array | string) => Effect.Effect<void, HostFileError>
  /** Writes what is in a file of the host. */
  readonly copy: (from: string) => Effect.Effect<void, HostFileError>
}

/** Which machine has a file of this run, by its path. */
const owners = new Map<string, string>()

/** The path in the output folder for a file of a machine: with its name where another one has a file of that name, and then a number. */
const freeFor = (machine: string, path: string, ending: string): string => {
  const isFree = (candidate: string) => (owners.get(candidate) ?? machine) === machine
  const bare = path.slice(0, -ending.length)
  let candidate = path
  for (let time = 1; !isFree(candidate); time++)
    candidate = `${bare}-${machine}${time === 1 ? "" : `-${time}`}${ending}`
  return candidate
}

/** The name of a file, in a folder perhaps, with one of these endings or without. */
export const fileName = (...endings: ReadonlyArray<string>) =>
  Fields.text("the name of a file", (name) => {
    const last = name.slice(name.lastIndexOf("/") + 1)
    const ending = endings.find((one) => last.endsWith(one)) ?? ""
    return !["", ".", ".."].includes(last.slice(0, last.length - ending.length))
  })

/**
 * Where a file of that name goes, its ending added unless it is there; a name that leads out of the output folder is refused. A
 * machine's file takes the place of its own of that name, and of no other machine's.
 */
export const at = Effect.fnUntraced(function* (guest: Guest, name: string, ending: string) {
  const output = Path.resolve(guest.output)
  const path = freeFor(guest.name, Path.resolve(output, name.endsWith(ending) ? name : name + ending), ending)
  const explained = Effect.mapError(
    (reason: OutputFolder.Reason) => new HostFileError({ machine: guest.name, path, reason })
  )
  // Before anything is made that would be for nothing.
  yield* explained(OutputFolder.makeParent(output, path))
  owners.set(path, guest.name)
  const place = (write: (file: string) => void) => explained(OutputFolder.place(output, path, write))
  return {
    path,
    write: (content) => place((file) => Fs.writeFileSync(file, content)),
    copy: (from) => place((file) => Fs.copyFileSync(from, file))
  } satisfies Artefact as Artefact
})
