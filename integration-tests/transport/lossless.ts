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
  /** SHA-256 at the host's end and at the guest's */
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

/** Eight commands at once say `amount.out` bytes, each its own; the host stops reading for 2 s in the middle of each. */
export const outward = Effect.fnUntraced(function* (
  shell: ShellService,
  amount: Amount,
  onBytes: (count: number) => void = () => {}
) {
  const each = Math.floor(amount.out / 8)
  const file = Math.min(each, 8 * MiB)
  // Their own bytes, so that a piece of one in another would show; the same file again and again, so that it fits the guest.
  for (let i = 0; i < 8; i++) yield* succeed(shell, `head -c ${file} /dev/urandom >/tmp/bytes.${i}`)
  const source = (i: number) => `while :; do cat /tmp/bytes.${i}; done 2>/dev/null | head -c ${each}`
  const ways = [
    ["as cat writes", (i: number) => `set +o pipefail; ${source(i)}`],
    ["writes of 1 MiB", (i: number) => `set +o pipefail; ${source(i)} | dd bs=1M iflag=fullblock 2>/dev/null`],
    [
      `${amount.single} writes of one byte first`,
      (i: number) => `set +o pipefail; ${source(i)} | { dd bs=1 count=${amount.single} 2>/dev/null; cat; }`
    ],
    ["on stderr", (i: number) => `set +o pipefail; ${source(i)} >&2`]
  ] as const
  return yield* Effect.forEach(
    [0, 1, 2, 3, 4, 5, 6, 7],
    Effect.fnUntraced(function* (i): Effect.fn.Return<Passage, unknown> {
      const [name, command] = ways[i % ways.length]!
      const stream = i % ways.length === 3 ? "Stderr" : "Stdout"
      const hash = createHash("sha256")
      let bytes = 0
      let paused = false
      yield* shell.executeStream(command(i), options).pipe(
        Stream.runForEach((event) => {
          if (event._tag !== stream) return Effect.void
          hash.update(event.bytes)
          bytes += event.bytes.length
          onBytes(event.bytes.length)
          if (paused || bytes < each / 2) return Effect.void
          paused = true
          return Effect.sleep("2 seconds")
        })
      )
      const said = yield* succeed(shell, `set +o pipefail; ${source(i)} | sha256sum`)
      const host = bytes === each ? hash.digest("hex") : `${bytes} bytes instead of ${each}`
      return { what: `out ${i}, ${name}`, bytes, host, guest: said.slice(0, 64) }
    }),
    { concurrency: "unbounded" }
  )
})

/** Four commands at once are given `amount.in` bytes, each its own; the guest stops reading for 2 s in the middle of each. */
export const inward = Effect.fnUntraced(function* (shell: ShellService, amount: Amount) {
  const each = Math.floor(amount.in / 4)
  return yield* Effect.forEach(
    [0, 1, 2, 3],
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
      const command = `{ head -c ${Math.floor(each / 2)}; sleep 2; cat; } | sha256sum`
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
