/**
 * SHA-256 digests of values and files: what caches are asked by, and what their content is checked with.
 *
 * **Example** (a key that does not depend on the order of fields)
 *
 * ```ts
 * const key = Digest.ofValue({ packages: ["nginx"], suite: "bookworm" })
 * key === Digest.ofValue({ suite: "bookworm", packages: ["nginx"] }) // true
 * ```
 *
 * @since 0.1.0
 */
import { createHash, type Hash } from "node:crypto"
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Disk from "./Disk.ts"

/** JSON with the keys of every object in order, so that equal data has equal text. */
export const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : inner
  )

/** The digest of a text or of bytes: 64 hex digits. */
export const of = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex")

/** The digest of plain data, by its {@link canonical} text: 64 hex digits. */
export const ofValue = (value: unknown): string => of(canonical(value))

/** The first 16 hex digits of a digest: enough for names, which nobody forges. */
export const short = (digest: string): string => digest.slice(0, 16)

const blockSize = 64 * 1024
const chunkSize = 64 * blockSize
const zeros = Buffer.alloc(blockSize)

/** Tells what is read of a file, `position` bytes from its start; the bytes are valid until it returns. */
type OnBytes = (bytes: Uint8Array, position: number) => void

/** Not to be interrupted: the buffer and the descriptor belong to the thread that reads until it has answered. */
const read = (file: number, buffer: Buffer, position: number): Effect.Effect<number, string> =>
  Effect.uninterruptible(
    Effect.callback((resume) =>
      Fs.read(file, buffer, 0, buffer.length, position, (error, count) =>
        resume(error === null ? Effect.succeed(count) : Effect.fail(error.message))
      )
    )
  )

/** As much as there is up to the buffer's end: a signal may cut a read short. */
const readFully = Effect.fnUntraced(function* (file: number, buffer: Buffer, position: number) {
  let length = 0
  let count: number
  do {
    count = yield* read(file, buffer.subarray(length), position + length)
    length += count
  } while (count > 0 && length < buffer.length)
  return length
})

const opened = (path: string) =>
  Effect.acquireRelease(
    Disk.attempt(() => Fs.openSync(path, "r"), identity),
    (file) => Effect.sync(() => Fs.closeSync(file))
  )

/** No more than the file has, for a tree may have many small ones. */
const bufferFor = (file: number) =>
  Disk.attempt(() => {
    const blocks = Math.ceil(Fs.fstatSync(file).size / blockSize)
    return Buffer.allocUnsafe(Math.min(Math.max(blocks * blockSize, blockSize), chunkSize))
  }, identity)

/** Reads a file from its start to its end, in chunks of whole blocks but for the last one, and gives its size. */
const readAll = Effect.fnUntraced(function* (path: string, onBytes: OnBytes) {
  const file = yield* opened(path)
  const buffer = yield* bufferFor(file)
  let position = 0
  let length: number
  do {
    length = yield* readFully(file, buffer, position)
    onBytes(buffer.subarray(0, length), position)
    position += length
  } while (length === buffer.length)
  return position
}, Effect.scoped)

const hashing = (feed: (hash: Hash) => Effect.Effect<unknown, string>): Effect.Effect<string, string> =>
  Effect.suspend(() => {
    const hash = createHash("sha256")
    return Effect.map(feed(hash), () => hash.digest("hex"))
  })

/** The digest of a file, as `sha256sum` gives it; about 2 s a GiB. Fails with what the system says. */
export const ofFile = (path: string): Effect.Effect<string, string> =>
  hashing((hash) => readAll(path, (bytes) => hash.update(bytes)))

/**
 * The digest of a file that may be mostly holes, as the memory of a machine is. Fails with what the system says.
 *
 * It is over the size, and over the place and the content of each block that is not zero, wherever the file system keeps zeros: equal contents
 * have equal digests, however they are laid out on disk. What costs time is the data: a guest of 1 GiB has about 150 MB of it.
 */
export const ofSparseFile = (path: string): Effect.Effect<string, string> =>
  hashing((hash) => {
    const place = Buffer.alloc(8)
    const tell = (position: number) => {
      place.writeBigUInt64LE(BigInt(position))
      return hash.update(place)
    }
    const update: OnBytes = (bytes, position) => {
      for (let start = 0; start < bytes.length; start += blockSize) {
        const block = bytes.subarray(start, start + blockSize)
        if (zeros.compare(block, 0, block.length, 0, block.length) !== 0) tell(position + start).update(block)
      }
    }
    return Effect.map(readAll(path, update), tell)
  })
