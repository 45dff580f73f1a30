/** Looking for a pattern in a text that grows, without reading all of it again for each piece. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"

interface Found {
  readonly text: string
  /** It ends where the text does, in the middle of a line: the next bytes may make it longer. */
  readonly open: boolean
}

/** A text that grows. */
interface Growing {
  readonly add: (piece: string) => void
  readonly text: () => string
  /** The match in the text so far. */
  readonly look: () => Found | undefined
}

/** A serial line ends its lines with CR LF, which may come in two pieces; patterns are written for LF. */
const growing = () => {
  let text = ""
  let carried = ""
  return {
    add: (piece: string): string => {
      const whole = (carried + piece).replaceAll("\r\n", "\n")
      carried = whole.endsWith("\r") ? "\r" : ""
      const added = carried === "" ? whole : whole.slice(0, -1)
      text += added
      return added
    },
    carried: () => carried,
    text: () => text + carried
  }
}

/** Looks for a string in what is new, and in as much before that as a match can begin in. */
const forString = (wanted: string): Growing => {
  const { add, carried, text } = growing()
  let before = ""
  let found = wanted === ""
  return {
    add: (piece) => {
      const recent = before + add(piece)
      found ||= (recent + carried()).includes(wanted)
      before = wanted.length > 1 ? recent.slice(1 - wanted.length) : ""
    },
    text,
    look: () => (found ? { text: wanted, open: false } : undefined)
  }
}

/** A match of a regular expression may begin anywhere, so it is run on the whole text. */
const forPattern = (pattern: RegExp): Growing => {
  const { add, text } = growing()
  const once = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""))
  return {
    add,
    text,
    look: () => {
      const all = text()
      const match = once.exec(all)
      if (match === null) return undefined
      return { text: match[0], open: match.index + match[0].length === all.length && !all.endsWith("\n") }
    }
  }
}

/** How long a look took, which decides when to look again. */
interface Look {
  readonly found: string | undefined
  readonly millis: number
}

/**
 * When to look again at a text that grows. A look with a regular expression blocks everything else, and takes longer the longer the text is. So
 * the pause after it is nine times as long, but at least 2 ms and at most 500 ms.
 */
const lookSchedule = Schedule.forever.pipe(
  Schedule.setInputType<Look>(),
  Schedule.modifyDelay(({ input }) => Effect.succeed(Duration.millis(Math.min(Math.max(input.millis * 9, 2), 500))))
)

/** How long no text may come before a match at the very end counts: a line comes in pieces, milliseconds apart, and a prompt has no line end. */
const settleTime = "100 millis"

/**
 * The first match of a pattern in a stream of text. If the stream ends without a match, `ended` decides, given the whole text.
 *
 * A match that reaches the end of the text in the middle of a line counts if nothing follows for 100 ms.
 */
export const search = <E, R, E2, R2>(
  stream: Stream.Stream<string, E, R>,
  pattern: RegExp | string,
  ended: (text: string) => Effect.Effect<never, E2, R2>
): Effect.Effect<string, E | E2, R | R2> =>
  Effect.suspend(() => {
    const literal = typeof pattern === "string"
    const text = literal ? forString(pattern) : forPattern(pattern)
    const more = Latch.makeUnsafe()
    const reading = Stream.runForEach(stream, (piece) =>
      Effect.sync(() => {
        text.add(piece)
        // Looking for a string costs little, and is over once it is there.
        if (!literal || text.look() !== undefined) Latch.openUnsafe(more)
      })
    )
    const look = Effect.gen(function* () {
      const clock = yield* Clock.Clock
      yield* more.await
      yield* more.close
      const began = clock.currentTimeNanosUnsafe()
      const match = text.look()
      const millis = Number(clock.currentTimeNanosUnsafe() - began) / 1e6
      const isFinal =
        match !== undefined && (!match.open || Option.isNone(yield* Effect.timeoutOption(more.await, settleTime)))
      return { found: isFinal ? match.text : undefined, millis } satisfies Look
    })
    const looking = Effect.map(
      Effect.repeat(look, { schedule: lookSchedule, until: ({ found }) => found !== undefined }),
      ({ found = "" }) => found
    )
    const read = Effect.suspend((): Effect.Effect<string, E2, R2> => {
      const match = text.look()
      return match === undefined ? ended(text.text()) : Effect.succeed(match.text)
    })
    return Effect.raceFirst(looking, Effect.andThen(reading, read))
  })
