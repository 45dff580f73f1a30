/** Looking for a pattern in a text that grows, without reading all of it for every piece that comes. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"

interface Found {
  readonly text: string
  /** It reaches to the very end, in the middle of a line: the next bytes may make it longer. */
  readonly open: boolean
}

/** A text in the making. */
interface Growing {
  readonly add: (piece: string) => void
  readonly text: () => string
  /** Whether the pattern is in what there is. */
  readonly look: () => Found | undefined
}

/** A serial line ends its lines with CR LF, of which a piece may have the first half; patterns are written for LF. */
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

/** A string is looked for in what is new, and in as much before that as it may have begun in. */
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

/** A regular expression may match from any place on, so it is given all of the text. */
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

/**
 * A look with a regular expression blocks everything else, and costs more the longer the text is: after one comes a pause of
 * this many times as long, within these milliseconds.
 */
const pause = { times: 9, least: 2, most: 500 }

/** A line comes in pieces of any size, a few milliseconds apart; a prompt never gets its line's end. */
const settled = "100 millis"

/**
 * What a pattern matches in a stream of text; when that ends without a match, `ended` says what then, told the whole text.
 *
 * A match that reaches the end of the text in the middle of a line counts once nothing came for 100 ms.
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
        // A string costs little to look for, and is not looked for again once it is there.
        if (!literal || text.look() !== undefined) Latch.openUnsafe(more)
      })
    )
    const looking = Effect.gen(function* () {
      const clock = yield* Clock.Clock
      while (true) {
        yield* more.await
        yield* more.close
        const began = clock.currentTimeNanosUnsafe()
        const found = text.look()
        const took = Number(clock.currentTimeNanosUnsafe() - began) / 1e6
        if (found !== undefined) {
          if (!found.open) return found.text
          const changed = yield* Effect.timeoutOption(more.await, settled)
          if (changed._tag === "None") return found.text
        }
        yield* Effect.sleep(Math.min(Math.max(took * pause.times, pause.least), pause.most))
      }
    })
    const read = Effect.suspend((): Effect.Effect<string, E2, R2> => {
      const found = text.look()
      return found === undefined ? ended(text.text()) : Effect.succeed(found.text)
    })
    return Effect.raceFirst(looking, Effect.andThen(reading, read))
  })
