/** Bytes through the channel, both ways, as hard as it gets, with SHA-256 taken at both ends. */
import { createHash, randomBytes } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { ExecuteOptions, ShellService } from "../../src/transport/Shell.ts"

const MiB = 1024 * 1024

/** How much goes through; both are of all commands together. */
export interface Amount {
  readonly out: number
  readonly in: number
  /** the bytes that go in writes of one byte each, in every such command */
  readonly single: number
}

/** What went through one command. */
export interface Passage {
  readonly what: string
  readonly bytes: number
  /** SHA-256 at the host's end and at the guest's; more than one where they differ from turn to turn */
  readonly host: string
  readonly guest: string
}

const options: ExecuteOptions = { timeout: "30 minutes" }

/** Runs a command that must not fail. */
const succeed = Effect.fnUntraced(function* (shell: ShellService, command: string) {
  const { exitCode, stderr, stdout } = yield* shell.execute(command, options)
  if (exitCode !== 0) throw new Error(`${command} ended with ${exitCode}: ${stderr}`)
  return stdout
})

/**
 * Eight commands at once say `amount.out` bytes, each its own file again and again, so that a piece of one in another shows;
 * the host stops reading for 2 s in the middle of each. SHA-256 is compared for every turn of the file.
 */
export const outward = Effect.fnUntraced(function* (
  shell: ShellService,
  amount: Amount,
  onBytes: (count: number) => void = () => {}
) {
  const file = Math.min(Math.floor(amount.out / 8), 8 * MiB)
  const turns = Math.floor(amount.out / 8 / file)
  const wanted = yield* Effect.forEach([0, 1, 2, 3, 4, 5, 6, 7], (i) =>
    succeed(shell, `head -c ${file} /dev/urandom >/tmp/bytes.${i}; sha256sum </tmp/bytes.${i}`)
  )
  const source = (i: number) => `cat${` /tmp/bytes.${i}`.repeat(turns)}`
  const ways = [
    ["as cat writes", source],
    ["writes of 1 MiB", (i: number) => `${source(i)} | dd bs=1M iflag=fullblock 2>/dev/null`],
    [
      `${amount.single} writes of one byte first`,
      (i: number) => `${source(i)} | { dd bs=1 count=${amount.single} 2>/dev/null; cat; }`
    ],
    ["on stderr", (i: number) => `${source(i)} >&2`]
  ] as const
  return yield* Effect.forEach(
    wanted,
    Effect.fnUntraced(function* (sum, i): Effect.fn.Return<Passage, unknown> {
      const [name, command] = ways[i % ways.length]!
      const stream = i % ways.length === 3 ? "Stderr" : "Stdout"
      const seen = new Set<string>()
      let hash = createHash("sha256")
      let bytes = 0
      let paused = false
      yield* shell.executeStream(command(i), options).pipe(
        Stream.runForEach((event) => {
          if (event._tag !== stream) return Effect.void
          for (let at = 0; at < event.bytes.length; ) {
            const piece = event.bytes.subarray(at, at + file - (bytes % file))
            hash.update(piece)
            at += piece.length
            bytes += piece.length
            if (bytes % file !== 0) continue
            seen.add(hash.digest("hex"))
            hash = createHash("sha256")
          }
          onBytes(event.bytes.length)
          if (paused || bytes < (file * turns) / 2) return Effect.void
          paused = true
          return Effect.sleep("2 seconds")
        })
      )
      const host = bytes === file * turns ? [...seen].join(" and ") : `${bytes} bytes instead of ${file * turns}`
      return { what: `out ${i}, ${name}`, bytes, host, guest: sum.slice(0, 64) }
    }),
    { concurrency: "unbounded" }
  )
})

/** Eight commands at once are given `amount.in` bytes, each its own; the guest stops reading for 2 s in the middle of each. */
export const inward = Effect.fnUntraced(function* (shell: ShellService, amount: Amount) {
  const each = Math.floor(amount.in / 8)
  return yield* Effect.forEach(
    [0, 1, 2, 3, 4, 5, 6, 7],
    Effect.fnUntraced(function* (i): Effect.fn.Return<Passage, unknown> {
      const bytes = randomBytes(each)
      const host = createHash("sha256").update(bytes).digest("hex")
      // Each write is a frame of its own, for which the guest starts a program.
      const first = i % 2 === 0 ? 0 : Math.min(amount.single, 100)
      const writes = [
        ...Array.from({ length: first }, (_, at) => bytes.subarray(at, at + 1)),
        ...Array.from({ length: Math.ceil((each - first) / MiB) }, (_, at) =>
          bytes.subarray(first + at * MiB, first + (at + 1) * MiB)
        )
      ]
      // Not head, which in busybox reads more than it passes on.
      const command = `{ dd bs=${Math.floor(each / 2)} count=1 iflag=fullblock 2>/dev/null; sleep 2; cat; } | sha256sum`
      const { stdout } = yield* shell.execute(command, {
        ...options,
        stdin: Stream.rechunk(Stream.fromIterable(writes), 1)
      })
      const name = first === 0 ? "writes of 1 MiB" : `${first} writes of one byte first`
      return { what: `in ${i}, ${name}`, bytes: each, host, guest: stdout.slice(0, 64) }
    }),
    { concurrency: "unbounded" }
  )
})
