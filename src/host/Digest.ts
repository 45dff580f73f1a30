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
import * as HostProcess from "./HostProcess.ts"

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

/** Bytes of a file: from the first one to the one after the last. */
interface Range {
  readonly start: number
  readonly end: number
}

const everything: Range = { start: 0, end: Number.POSITIVE_INFINITY }

/** Reads ranges of a file that begin and end with a block, in chunks of whole blocks but for the last one of the file. Gives where the last range ended. */
const readAll = Effect.fnUntraced(function* (
  path: string,
  onBytes: OnBytes,
  ranges: Effect.Effect<ReadonlyArray<Range>> = Effect.succeed([everything])
) {
  const file = yield* opened(path)
  const buffer = yield* bufferFor(file)
  let position = 0
  for (const { end, start } of yield* ranges) {
    position = start
    let wanted: number
    let length: number
    do {
      wanted = Math.min(buffer.length, end - position)
      length = yield* readFully(file, buffer.subarray(0, wanted), position)
      onBytes(buffer.subarray(0, length), position)
      position += length
    } while (wanted > 0 && length === wanted)
  }
  return position
}, Effect.scoped)

/** From this size on it is worth a process to ask where a file has holes; the memory of a machine has hundreds of megabytes of them. */
const manyBytes = 64 * 1024 * 1024

/** Prints where data begins and ends, a line for each piece, as `lseek` with SEEK_DATA (3) and SEEK_HOLE (4) tells. Node cannot ask for that. */
const listData = `open F, "<", $ARGV[0] or die $!; my ($at, $end) = (0, -s F);
while ($at < $end) {
  my $data = sysseek F, $at, 3;
  unless (defined $data) { die $! unless $!{ENXIO}; last }
  defined($at = sysseek F, $data, 4) or die $!;
  print $data + 0, " ", $at + 0, "\n"
}`

/** The blocks with data of a file that is mostly holes, and the end of the file; all of it where that cannot be known. */
const dataOf = (path: string): Effect.Effect<ReadonlyArray<Range>> =>
  Effect.gen(function* () {
    const { blocks, size } = yield* Disk.attempt(() => Fs.statSync(path), identity)
    if (size < manyBytes || blocks * 512 > size / 2) return [everything]
    const { stdout } = yield* HostProcess.check({ command: "perl", args: ["-e", listData, path] })
    const ranges: Array<{ start: number; end: number }> = []
    for (const line of stdout.split("\n").slice(0, -1)) {
      const [from = 0, to = 0] = line.split(" ").map(Number)
      const start = from - (from % blockSize)
      const end = Math.ceil(to / blockSize) * blockSize
      const last = ranges.at(-1)
      if (last !== undefined && start <= last.end) last.end = end
      else ranges.push({ start, end })
    }
    return [...ranges, { start: size, end: size }]
  }).pipe(Effect.orElseSucceed(() => [everything]))

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
    return Effect.map(readAll(path, update, dataOf(path)), tell)
  })
