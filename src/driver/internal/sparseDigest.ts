/**
 * The digest of a file that may be mostly holes, as the memory of a machine is.
 *
 * A block of nothing but zeros does not count, wherever the file system keeps it, so what costs time is the data: a guest of 1 GiB has
 * about 150 MB of it. Equal contents have equal digests, however they are laid out on disk.
 */
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"

const blockSize = 64 * 1024
const chunkSize = 64 * blockSize
const zeros = Buffer.alloc(blockSize)

const errorOf = (error: unknown) => (error instanceof Error ? error : new Error(String(error)))

/** Not to be interrupted: the buffer and the descriptor belong to the thread that reads until it has answered. */
const read = (file: number, buffer: Buffer, position: number): Effect.Effect<number, Error> =>
  Effect.uninterruptible(
    Effect.callback((resume) =>
      Fs.read(file, buffer, 0, buffer.length, position, (error, count) =>
        resume(error === null ? Effect.succeed(count) : Effect.fail(error))
      )
    )
  )

/** As much as there is up to the buffer's end: a signal may cut a read short. */
const readFully = Effect.fnUntraced(function* (file: number, buffer: Buffer, position: number) {
  let length = 0
  while (length < buffer.length) {
    const count = yield* read(file, buffer.subarray(length), position + length)
    if (count === 0) break
    length += count
  }
  return length
})

const opened = (path: string) =>
  Effect.acquireRelease(Effect.try({ try: () => Fs.openSync(path, "r"), catch: errorOf }), (file) =>
    Effect.sync(() => Fs.closeSync(file))
  )

/** No more than the file has, for a tree may have many small ones. */
const bufferFor = (file: number) =>
  Effect.try({
    try: () => {
      const blocks = Math.ceil(Fs.fstatSync(file).size / blockSize)
      return Buffer.allocUnsafe(Math.min(Math.max(blocks * blockSize, blockSize), chunkSize))
    },
    catch: errorOf
  })

/** SHA-256 in hex over the size, and over the place and the content of each block that is not zero. Fails with what the system says. */
export const sparseDigest: (path: string) => Effect.Effect<string, Error> = Effect.fnUntraced(function* (path: string) {
  const file = yield* opened(path)
  const hash = createHash("sha256")
  const buffer = yield* bufferFor(file)
  const place = Buffer.alloc(8)
  let position = 0
  while (true) {
    const length = yield* readFully(file, buffer, position)
    for (let start = 0; start < length; start += blockSize) {
      const block = buffer.subarray(start, Math.min(start + blockSize, length))
      if (block.equals(block.length === blockSize ? zeros : zeros.subarray(0, block.length))) continue
      place.writeBigUInt64LE(BigInt(position + start))
      hash.update(place).update(block)
    }
    position += length
    if (length < buffer.length) break
  }
  place.writeBigUInt64LE(BigInt(position))
  return hash.update(place).digest("hex")
}, Effect.scoped)

/** Has the system write a file, or the names in a folder, to the disk. */
export const sync: (path: string) => Effect.Effect<void, Error> = Effect.fnUntraced(function* (path: string) {
  const file = yield* opened(path)
  yield* Effect.uninterruptible(
    Effect.callback<void, Error>((resume) =>
      Fs.fsync(file, (error) => resume(error === null ? Effect.void : Effect.fail(error)))
    )
  )
}, Effect.scoped)
