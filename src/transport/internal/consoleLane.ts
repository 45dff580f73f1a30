/**
 * A lane for a guest that has nothing but a console, which may drop whatever it likes.
 *
 * The worker's outputs are files in the guest, fetched in pieces with a checksum; its input is given in such pieces. Each
 * piece is asked for until it arrives whole, so nothing is lost, nothing torn, nothing doubled.
 */
import { createHash } from "node:crypto"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Semaphore from "effect/Semaphore"
import type { Connection } from "../Connection.ts"
import { TransportError } from "../ShellError.ts"
import type { Bootstrap, Lane, TransportService } from "../Transport.ts"

/** Blocks of 1024 bytes in one piece: as base64 it fits the buffer of a unix socket, so that QEMU has nothing to drop. */
const blocks = 112
/** Bytes of input in one piece; each is typed, and read by the guest's shell one by one. */
const pieceIn = 16 * 1024
/**
 * How long the guest may take to answer before it is asked again, and how often that is done. Each time it may take twice as
 * long: a guest that is only slow must not be given more to do.
 */
const firstTimeout = Duration.seconds(5)
const longestTimeout = Duration.minutes(1)
const tries = 8
const timeoutOf = (attempt: number) => Duration.min(Duration.times(firstTimeout, 2 ** attempt), longestTimeout)

/** MD5 finds what a console drops, and every guest has `md5sum`; not every busybox has `cksum`. */
const checksum = (bytes: Buffer): string => createHash("md5").update(bytes).digest("hex")

/** Opens lanes over the dialogue with the bootstrap shell. */
export const consoleLane = (machine: string, socket: string): TransportService["lane"] => {
  // The lanes take turns with the one shell: the time of a question is not spent on waiting for the answer to another.
  const turn = Semaphore.makeUnsafe(1)
  return Effect.fnUntraced(function* (number, nonce, bootstrap: Bootstrap) {
    const { tell } = bootstrap
    const ask = (text: string, attempt: number) =>
      Semaphore.withPermit(turn, bootstrap.ask(`${text} 2>/dev/null`, timeoutOf(attempt)))
    const broken = Deferred.makeUnsafe<string>()
    const failed = (reason: string) => new TransportError({ machine, socket, reason })
    const end = (name: string) => {
      const state = {
        name,
        offset: 0,
        paused: false,
        early: [] as Array<Buffer>,
        receive: undefined as ((chunk: Buffer) => void) | undefined
      }
      const connection: Connection = {
        socket,
        write: () => Effect.fail(failed("outputs cannot be written to")),
        onData: (receive) => {
          state.receive = receive
          for (const chunk of state.early.splice(0)) receive(chunk)
        },
        pause: () => {
          state.paused = true
        },
        resume: () => {
          state.paused = false
        },
        closed: Deferred.await(broken)
      }
      return { state, connection }
    }
    const outputs = { out: end("out"), err: end("err") }

    /** Fetches what a file has beyond the offset, up to one piece. */
    const fetch = Effect.fnUntraced(function* (state: ReturnType<typeof end>["state"]) {
      const skip = Math.floor(state.offset / 1024)
      for (let i = 0; i < tries; i++) {
        const answer = yield* ask(`_vt_fetch ${number} ${state.name} ${skip} ${blocks}`, i)
        const [sum, , text] = answer?.split(/ +/) ?? []
        const bytes = Buffer.from(text ?? "", "base64")
        if (sum !== checksum(bytes)) continue
        const fresh = bytes.subarray(state.offset - skip * 1024)
        state.offset += fresh.length
        if (state.receive === undefined) state.early.push(fresh)
        else state.receive(fresh)
        return
      }
      return yield* failed("a piece of output did not arrive whole")
    })

    let taken = ""
    let given = 0
    let active = 0
    const wake = Latch.makeUnsafe(false)
    const poll = Effect.gen(function* () {
      let silent = 0
      for (;;) {
        const answer = yield* ask(`_vt_sizes ${number}`, silent)
        silent = answer === undefined ? silent + 1 : 0
        const [, out, err, took] = /^(\d+) out (\d+) err \d+ total (\w+)$/.exec(answer ?? "") ?? []
        taken = took ?? taken
        let found = false
        for (const [{ state }, size] of [
          [outputs.out, out],
          [outputs.err, err]
        ] as const) {
          if (size === undefined || Number(size) <= state.offset || state.paused) continue
          found = true
          yield* fetch(state)
        }
        active = found ? 0 : active + 1
        // Quick after something happened, slower the longer nothing does.
        if (found) continue
        yield* Effect.raceFirst(Effect.sleep(Math.min(20 + active * 20, 1000)), wake.await)
        wake.closeUnsafe()
      }
    })

    const give = Effect.fnUntraced(function* (bytes: Buffer) {
      const id = `${nonce}${given++}`
      const sum = checksum(bytes)
      for (let i = 0; i < tries; i++) {
        active = 0
        wake.openUnsafe()
        const answer = yield* ask(`_vt_give ${number} ${id} ${sum} ${bytes.toString("base64")}`, i)
        if (answer !== sum) continue
        // The worker may not read for long; that is its command's business.
        yield* Effect.repeat(Effect.sleep("20 millis"), {
          until: () => taken === id || Deferred.isDoneUnsafe(broken)
        })
        return
      }
      return yield* failed("a piece of input did not arrive whole")
    })
    const one = yield* Semaphore.make(1)

    yield* tell(`_vt_file ${number} ${nonce} 2>/dev/null`)
    yield* poll.pipe(
      Effect.catch((error) => Deferred.succeed(broken, error.reason)),
      Effect.forkScoped
    )
    const lane: Lane = {
      output: outputs.out.connection,
      errors: outputs.err.connection,
      input: {
        ...outputs.out.connection,
        onData: () => {},
        write: (data) =>
          Effect.suspend(() => {
            const bytes = Buffer.from(data)
            const pieces = Array.from({ length: Math.ceil(bytes.length / pieceIn) }, (_, i) =>
              bytes.subarray(i * pieceIn, (i + 1) * pieceIn)
            )
            return Semaphore.withPermit(one, Effect.forEach(pieces, give, { discard: true }))
          })
      }
    }
    return lane
  })
}
