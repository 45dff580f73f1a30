/** The files of reference pictures: PNG, in the user's project. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Guest } from "../../guest/Guest.ts"
import { HostFileError } from "../../guest/HostFile.ts"
import { type Frame, fromPng, toPng } from "./frame.ts"

/** The reference picture does not exist. */
export class ReferenceMissing extends Schema.TaggedError<ReferenceMissing>()("ReferenceMissing", {
  machine: Schema.String,
  reference: Schema.String,
  /** How to get one. */
  advice: Schema.String
}) {
  override get message() {
    return `${this.machine}: the reference picture ${this.reference} does not exist; ${this.advice}`
  }
}

const hostError = (guest: Guest, path: string, reason: string) =>
  new HostFileError({ machine: guest.name, path, reason })

/** Reads a reference; `advice` says how to create it. */
export const read = Effect.fnUntraced(function* (guest: Guest, reference: string, advice: string) {
  const path = Path.resolve(reference)
  const there = yield* Effect.mapError(guest.fs.exists(path), (error) => hostError(guest, path, error.message))
  if (!there) return yield* new ReferenceMissing({ machine: guest.name, reference: path, advice })
  const bytes = yield* Effect.mapError(guest.fs.readFile(path), (error) =>
    hostError(guest, path, `could not be read: ${error.message}`)
  )
  return yield* Effect.try({
    try: () => fromPng(bytes),
    catch: (cause) => hostError(guest, path, `is not a PNG: ${cause}`)
  })
})

/** Writes a reference, and the folders above it. */
export const write = Effect.fnUntraced(function* (guest: Guest, reference: string, frame: Frame) {
  const path = Path.resolve(reference)
  yield* guest.fs.makeDirectory(Path.dirname(path), { recursive: true }).pipe(
    Effect.andThen(guest.fs.writeFile(path, toPng(frame))),
    Effect.mapError((error) => hostError(guest, path, `could not be written: ${error.message}`))
  )
})
