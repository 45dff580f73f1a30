/** The files of reference pictures: PNG, in the user's project. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Guest } from "../../guest/Guest.ts"
import { HostFileError } from "../../guest/HostFile.ts"
import { type Frame, fromPng, toPng } from "./frame.ts"

/** There is no reference picture at that path. */
export class ReferenceMissing extends Schema.TaggedError<ReferenceMissing>()("ReferenceMissing", {
  machine: Schema.String,
  reference: Schema.String,
  /** How to get one. */
  advice: Schema.String
}) {
  override get message() {
    return `${this.machine}: there is no reference picture ${this.reference}; ${this.advice}`
  }
}

const hostError = (guest: Guest, path: string, reason: string) =>
  new HostFileError({ machine: guest.name, path, reason })

/** Reads a reference; `advice` says how to get one that is not there. */
export const read = Effect.fnUntraced(function* (guest: Guest, reference: string, advice: string) {
  const path = Path.resolve(reference)
  const there = yield* Effect.mapError(guest.fs.exists(path), (error) => hostError(guest, path, error.message))
  if (!there) return yield* new ReferenceMissing({ machine: guest.name, reference: path, advice })
  const bytes = yield* Effect.mapError(guest.fs.readFile(path), (error) =>
    hostError(guest, path, `cannot be read: ${error.message}`)
  )
  return yield* Effect.try({
    try: () => fromPng(bytes),
    catch: (cause) => hostError(guest, path, `is no PNG: ${cause}`)
  })
})

/** Writes a reference, and the folders above it. */
export const write = Effect.fnUntraced(function* (guest: Guest, reference: string, frame: Frame) {
  const path = Path.resolve(reference)
  yield* guest.fs.makeDirectory(Path.dirname(path), { recursive: true }).pipe(
    Effect.andThen(guest.fs.writeFile(path, toPng(frame))),
    Effect.mapError((error) => hostError(guest, path, `cannot be written: ${error.message}`))
  )
})
