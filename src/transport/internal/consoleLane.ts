/**
 * A lane for a guest that has nothing but a console, which may drop whatever it likes.
 *
 * The guest sends each output in numbered pieces, and sends the next piece when the host has confirmed the last. A small piece
 * is sent at once, twice in one line; a large one is announced, and sent with an MD5 sum when the host asks for it, one at a
 * time. The host asks again for what did not arrive whole, so nothing is lost, torn or doubled.
 */
import { createHash } from "node:crypto"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import { quote } from "../../host/Quote.ts"
import type { Connection } from "../Connection.ts"
import { TransportError } from "../ShellError.ts"
import type { Bootstrap, Lane, TransportService } from "../Transport.ts"
import { agentConsole } from "./agentConsole.ts"
import { nonce as makeNonce } from "./nonce.ts"
import { escape } from "./shellText.ts"

/** Bytes of input in one piece; each is typed, and read by the guest's shell one by one. */
const pieceIn = 16 * 1024
/** Input up to this costs the guest no process. */
const smallIn = 512
/** How long the guest may take for a piece, at first; each time twice as long. */
const patience = 5000
const longest = 60_000
const tries = 8

/** Milliseconds between two looks for what the console dropped: while something comes, and each time twice as long while nothing does. */
const watchPause = { least: 1000, most: 4000 }
const watchSchedule = (pause: () => number) =>
  Schedule.modifyDelay(Schedule.forever, () => Effect.sync(() => Duration.millis(pause())))

/** MD5 finds what a console drops, and every guest has `md5sum`; not every busybox has `cksum`. */
const checksum = (bytes: Buffer): string => createHash("md5").update(bytes).digest("hex")

/** One of the two outputs. */
const makeStream = (name: "out" | "err") => ({
  name,
  /** the last piece that was handed on, that was confirmed to the guest, and that the guest announced */
  received: 0,
  confirmed: 0,
  announced: 0,
  missing: 0,
  paused: false,
  early: [] as Array<Buffer>,
  receive: undefined as ((chunk: Buffer) => void) | undefined,
  work: Latch.makeUnsafe(false)
})
type Output = ReturnType<typeof makeStream>

const deliver = (stream: Output, bytes: Buffer) => {
  stream.received++
  if (stream.receive === undefined) stream.early.push(bytes)
  else stream.receive(bytes)
  stream.work.openUnsafe()
}

/** What the parts of one lane share. */
const makeExchange = (machine: string, socket: string, number: number, bootstrap: Bootstrap) => ({
  socket,
  number,
  bootstrap,
  failed: (reason: string) => new TransportError({ machine, socket, reason }),
  /** why the lane ended */
  broken: Deferred.makeUnsafe<string>(),
  streams: { out: makeStream("out"), err: makeStream("err") },
  /** the large pieces that were asked for; undefined is one that did not arrive whole */
  fetches: new Map<string, Deferred.Deferred<Buffer | undefined>>(),
  /** whether anything was heard or given since the last look */
  active: true,
  /** the last piece of input that was given, and the last that the worker took */
  given: 0,
  taken: 0,
  took: Latch.makeUnsafe(false)
})
type Exchange = ReturnType<typeof makeExchange>

/** Hears what the guest says of the lane. */
const hear = (exchange: Exchange) => (said: string, text: string) => {
  exchange.active = true
  const [what = "", id = "", first, second] = said.split(/ +/)
  if (what === "took") {
    exchange.taken = Math.max(exchange.taken, Number(id) || 0)
    exchange.took.openUnsafe()
  } else if (what === "end") {
    const fetch = exchange.fetches.get(id)
    const bytes = Buffer.from(text, "base64")
    if (fetch !== undefined) Deferred.doneUnsafe(fetch, Effect.succeed(first === checksum(bytes) ? bytes : undefined))
  } else if (what === "out" || what === "err") {
    const stream = exchange.streams[what]
    if (Number(id) !== stream.received + 1) return
    if (first === undefined) {
      stream.announced = Number(id)
      stream.work.openUnsafe()
    } else if (first === second && first.length % 4 === 0) deliver(stream, Buffer.from(first, "base64"))
  }
}

const answer = ({ bootstrap, number }: Exchange, stream: Output, text: string) =>
  bootstrap.tell(`echo ${text} 1<>$_vt_d/${number}/${stream.name}.go`)

/** Asks for the large piece that was announced, until it arrives whole. */
const fetch = Effect.fnUntraced(function* (exchange: Exchange, stream: Output) {
  const { failed, fetches } = exchange
  for (let i = 0; i < tries; i++) {
    const token = yield* makeNonce
    const got = Deferred.makeUnsafe<Buffer | undefined>()
    fetches.set(token, got)
    const bytes = yield* answer(exchange, stream, `${stream.announced} ${token}`).pipe(
      Effect.andThen(Effect.timeoutOption(Deferred.await(got), Math.min(patience * 2 ** i, longest))),
      Effect.ensuring(Effect.sync(() => fetches.delete(token)))
    )
    if (bytes._tag === "Some" && bytes.value !== undefined) return deliver(stream, bytes.value)
  }
  return yield* failed("a piece of output did not arrive whole")
})

/** Fetches the large pieces of an output, one at a time with all that have the same `turn`, and confirms what arrived. */
const serve = Effect.fnUntraced(function* (exchange: Exchange, stream: Output, turn: Semaphore.Semaphore) {
  for (;;) {
    yield* stream.work.await
    stream.work.closeUnsafe()
    if (stream.announced > stream.received) yield* Semaphore.withPermit(turn, fetch(exchange, stream))
    if (stream.paused || stream.confirmed === stream.received) continue
    stream.confirmed = stream.received
    yield* answer(exchange, stream, `${stream.confirmed} ok`)
  }
})

/** Finds what the console dropped, when nothing has been heard for a while. */
const watch = (exchange: Exchange) => {
  const { bootstrap, failed, number, streams, took } = exchange
  let pause = watchPause.least
  const look = Effect.gen(function* () {
    pause = exchange.active ? watchPause.least : Math.min(pause * 2, watchPause.most)
    if (exchange.active) {
      exchange.active = false
      return
    }
    const said = yield* bootstrap.ask(`_vt_at ${number} 2>/dev/null`, longest)
    const [out, err, input] = said?.split(":") ?? []
    if (out === "lost" || err === "lost") return yield* failed("the guest could not store or send its output")
    if (Number(input) > exchange.taken) {
      exchange.taken = Number(input)
      took.openUnsafe()
    }
    for (const [stream, at] of [
      [streams.out, Number(out)],
      [streams.err, Number(err)]
    ] as const) {
      if (!(at > stream.received) || stream.announced > stream.received) continue
      // What was said a moment ago may be under way.
      if (stream.missing === at) yield* answer(exchange, stream, `${at} again`)
      stream.missing = at
      pause = watchPause.least
    }
  })
  return Effect.schedule(
    look,
    watchSchedule(() => pause)
  )
}

/** Gives the worker a piece of input, and waits until it took that. */
const give = Effect.fnUntraced(function* (exchange: Exchange, bytes: Buffer) {
  const { bootstrap, broken, failed, number, took } = exchange
  const id = ++exchange.given
  exchange.active = true
  const text = bytes.length <= smallIn ? escape(bytes).replace(/^ | $/g, "\\0040") : ""
  const line =
    text === ""
      ? `_vt_give ${number} ${id} ${checksum(bytes)} ${bytes.toString("base64")}`
      : `_vt_put ${number} ${id} ${text.length} ${quote(text)}`
  let answered: string | undefined
  for (let i = 0; i < tries && answered !== String(id); i++) {
    answered = yield* bootstrap.ask(line, Math.min(patience * 2 ** i, longest))
  }
  if (answered !== String(id)) return yield* failed("a piece of input did not arrive whole")
  // The worker may not read for long; that is its command's business.
  while (exchange.taken < id && !Deferred.isDoneUnsafe(broken)) {
    took.closeUnsafe()
    yield* Effect.raceFirst(took.await, Deferred.await(broken))
  }
})

const outputOf = ({ broken, failed, socket }: Exchange, stream: Output): Connection => ({
  socket,
  write: () => Effect.fail(failed("outputs cannot be written to")),
  onData: (receive) => {
    stream.receive = receive
    for (const chunk of stream.early.splice(0)) receive(chunk)
  },
  pause: () => {
    stream.paused = true
  },
  resume: () => {
    stream.paused = false
    stream.work.openUnsafe()
  },
  closed: Deferred.await(broken)
})

const inputOf = (exchange: Exchange, output: Connection): Connection => {
  const one = Semaphore.makeUnsafe(1)
  return {
    ...output,
    onData: () => {},
    write: (data) =>
      Effect.suspend(() => {
        const bytes = Buffer.from(data)
        const pieces = Array.from({ length: Math.ceil(bytes.length / pieceIn) }, (_, i) =>
          bytes.subarray(i * pieceIn, (i + 1) * pieceIn)
        )
        return Semaphore.withPermit(
          one,
          Effect.forEach(pieces, (piece) => give(exchange, piece), { discard: true })
        )
      })
  }
}

/** Opens lanes over the dialogue with the bootstrap shell. */
export const consoleLane = (machine: string, socket: string): TransportService["lane"] => {
  // Large pieces come one at a time: two would not fit the buffer of the socket, and QEMU drops what does not fit.
  const turn = Semaphore.makeUnsafe(1)
  return Effect.fnUntraced(function* (number, nonce, bootstrap: Bootstrap) {
    const exchange = makeExchange(machine, socket, number, bootstrap)
    const { broken, streams } = exchange
    yield* bootstrap.listen(nonce, hear(exchange))
    yield* bootstrap.tell(
      `printf %s ${quote(agentConsole)} >$_vt_d/console
. $_vt_d/console
_vt_console ${number} ${nonce} 2>/dev/null`
    )
    yield* Effect.all([serve(exchange, streams.out, turn), serve(exchange, streams.err, turn), watch(exchange)], {
      concurrency: "unbounded",
      discard: true
    }).pipe(
      Effect.catch((error) => Deferred.succeed(broken, error.reason)),
      Effect.forkScoped
    )
    const output = outputOf(exchange, streams.out)
    const lane: Lane = { output, errors: outputOf(exchange, streams.err), input: inputOf(exchange, output) }
    return lane
  })
}
