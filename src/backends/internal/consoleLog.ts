/**
 * A guest's serial console: read as it comes, kept in a file, and given to any number of readers.
 *
 * The file is the one source for all: a reader that is slow reads old bytes from it, so nothing is dropped, nothing is
 * seen twice, and memory stays flat however much a guest prints.
 */
import * as Fs from "node:fs"
import type { Readable } from "node:stream"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Disk from "../../host/Disk.ts"

/** How much of the end is kept in memory, for errors. */
const tailBytes = 64 * 1024
/** How much a reader takes from the file at once. */
const blockBytes = 64 * 1024

export interface ConsoleLog {
  readonly log: Effect.Effect<string>
  readonly tail: (lines: number) => Effect.Effect<string>
  readonly stream: Stream.Stream<string>
  /** Resolves when the guest's side is closed and all of it is in the file. */
  readonly ended: Effect.Effect<void>
}

/**
 * Keeps what comes from `source` at the end of `file` until the scope closes.
 *
 * Fails with a reason if the file cannot be written. A disk that fills up later loses the file's rest, never the tail.
 * `before` is what the guest printed before this console was there.
 */
export const make: (
  source: Readable,
  file: string,
  before?: Buffer | undefined
) => Effect.Effect<ConsoleLog, string, Scope.Scope> = Effect.fnUntraced(function* (
  source: Readable,
  file: string,
  before?: Buffer
) {
  const fd = yield* Effect.acquireRelease(
    Effect.try({
      try: () => Fs.openSync(file, "a+", 0o600),
      catch: Disk.reasonOf
    }),
    (fd) => Effect.sync(() => Fs.closeSync(fd))
  )
  const state = new State(fd, file, Fs.fstatSync(fd).size)
  if (before !== undefined && before.length > 0) state.append(before)
  const onData = (bytes: Buffer) => state.append(bytes)
  const onEnd = () => state.end()
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      source.on("data", onData)
      source.once("close", onEnd)
      if (source.closed) onEnd()
    }),
    () =>
      Effect.sync(() => {
        source.off("data", onData)
        source.off("close", onEnd)
        state.close()
      })
  )
  return {
    log: Effect.sync(() => state.all().toString("utf8")),
    tail: (lines) => Effect.sync(() => lastLines(state.tail().toString("utf8"), lines)),
    stream: streamOf(state),
    ended: Deferred.await(state.ended)
  }
})

/** Those who wait until a console has more, or ends. */
export class Readers {
  private waiting: Array<() => void> = []

  /** Resumes with what `look` answers, which is asked now and at each wake until it answers. */
  more(look: () => boolean | undefined): Effect.Effect<boolean> {
    return Effect.callback<boolean>((resume) => {
      const ask = () => {
        const answer = look()
        if (answer === undefined) this.waiting.push(ask)
        else resume(Effect.succeed(answer))
      }
      ask()
      return Effect.sync(() => {
        this.waiting = this.waiting.filter((waiter) => waiter !== ask)
      })
    })
  }

  wake(): void {
    for (const ask of this.waiting.splice(0)) ask()
  }
}

class State {
  /** Where in the file this console's bytes begin: an earlier boot may have left its own. */
  readonly start: number
  readonly ended = Deferred.makeUnsafe<void>()
  written: number
  private readonly fd: number
  private readonly file: string
  private open = true
  private closed = false
  private full = false
  private recent: Array<Buffer> = []
  private recentBytes = 0
  private readonly readers = new Readers()

  constructor(fd: number, file: string, start: number) {
    this.fd = fd
    this.file = file
    this.start = start
    this.written = start
  }

  append(bytes: Buffer): void {
    this.recent.push(bytes)
    this.recentBytes += bytes.length
    while (this.recentBytes - (this.recent[0]?.length ?? 0) >= tailBytes) {
      this.recentBytes -= this.recent.shift()?.length ?? 0
    }
    if (!this.full) {
      const wrote = Result.try(() => writeAll(this.fd, bytes))
      if (Result.isSuccess(wrote)) this.written += bytes.length
      else this.full = true
    }
    this.readers.wake()
  }

  end(): void {
    if (!this.open) return
    this.open = false
    Deferred.doneUnsafe(this.ended, Effect.void)
    this.readers.wake()
  }

  close(): void {
    this.closed = true
    this.end()
  }

  tail(): Buffer {
    return Buffer.concat(this.recent)
  }

  /** By its path, for the descriptor does not outlive the scope; where the file is gone too, the tail is left. */
  all(): Buffer {
    const got = Result.try(() => Fs.readFileSync(this.file).subarray(this.start, this.written))
    return Result.isSuccess(got) ? got.success : this.tail()
  }

  /** Once the scope has closed, from what is left: the file, or the tail where that is gone too. */
  read(position: number): Buffer {
    if (this.closed) return this.all().subarray(position - this.start)
    const block = Buffer.allocUnsafe(Math.min(blockBytes, this.written - position))
    return block.subarray(0, Fs.readSync(this.fd, block, 0, block.length, position))
  }

  /** Resumes when there is more than `position`, with false when there never will be. */
  more(position: number): Effect.Effect<boolean> {
    return this.readers.more(() => (this.written > position ? true : this.open ? undefined : false))
  }
}

const writeAll = (fd: number, bytes: Buffer): void => {
  for (let offset = 0; offset < bytes.length; ) offset += Fs.writeSync(fd, bytes, offset)
}

const streamOf = (state: State): Stream.Stream<string> =>
  Stream.unwrap(
    Effect.sync(() => {
      // A character may be split between two blocks; the decoder keeps its first half.
      const decoder = new TextDecoder()
      return Stream.unfold(state.start, (position) =>
        Effect.map(state.more(position), (more) => {
          if (!more) return undefined
          const block = state.read(position)
          if (block.length === 0) return undefined
          return [decoder.decode(block, { stream: true }), position + block.length] as const
        })
      )
    })
  )

/** The last `count` lines of a console, carriage returns and trailing blank lines left out. */
export const lastLines = (text: string, count: number): string =>
  text.replaceAll("\r", "").trimEnd().split("\n").slice(-count).join("\n")
