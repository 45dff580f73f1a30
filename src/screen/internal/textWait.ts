/** Waiting for a text on a display. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Guest } from "../../guest/Guest.ts"
import type { InvalidArgument, WaitTimeout } from "../../guest/MachineError.ts"
import * as Pattern from "../../guest/Pattern.ts"
import { poll, wait } from "../../guest/Wait.ts"
import { lastLines } from "../../host/Evidence.ts"
import { type Display, type DisplayError, DisplayUnavailable, look, lookSchedule } from "../Display.ts"
import type { ReadError, WaitForTextOptions } from "../Screen.ts"
import { hashOf } from "./frame.ts"
import { type Reader, readNow } from "./reader.ts"
import type * as TextMode from "./textMode.ts"

/** What a wait for a text on a display waits for. */
export interface TextWait<A> {
  /** The method of the machine. */
  readonly name: string
  readonly pattern: RegExp | string
  readonly options: WaitForTextOptions | undefined
  /** The wanted part of a reading, if it has it. */
  readonly pick: (reading: TextMode.Reading) => A | undefined
}

/** The last text that a wait read, and why there is no picture now. */
interface Seen {
  text?: string
  missing?: string | undefined
}

/** Reads a display in all ways that have not been tried, until `pick` finds something. */
const readUntil = <A>(
  display: Display,
  reader: Reader,
  { options, pick }: TextWait<A>,
  seen: Seen
): Effect.Effect<A | undefined, ReadError> => {
  const schedule = options?.schedule ?? lookSchedule
  const done = new Set<string>()
  // Whether a new picture interrupted the last reading. Then the next is not interrupted: a screen that always changes would never be read.
  let skipped = false

  const whileTrue = schedule.pipe(
    Schedule.setInputType<boolean>(),
    Schedule.passthrough,
    Schedule.while(({ input }) => Effect.succeed(input))
  )
  /** Ends when the display shows something else. */
  const changed = (hash: string): Effect.Effect<undefined, DisplayError> =>
    look(display).pipe(
      Effect.map((frame) => frame instanceof DisplayUnavailable || hashOf(frame) === hash),
      Effect.scheduleFrom<boolean, boolean, never, never>(true, whileTrue),
      Effect.flatMap((same) => (same ? Effect.never : Effect.undefined))
    )

  /** Reads in the most likely way that has not been tried. A new picture comes before another way of reading an old one. */
  const step = Effect.gen(function* () {
    const frame = yield* look(display)
    if (frame instanceof DisplayUnavailable) {
      seen.missing = frame.reason
      return "wait"
    }
    seen.missing = undefined
    const hash = hashOf(frame)
    const way = reader.ways(frame, options).find((name) => !done.has(`${hash} ${name}`))
    if (way === undefined) return "wait"
    const whole = way === "exact" || (way === "layout" && skipped)
    const reading = yield* whole ? reader.read(frame, way) : Effect.raceFirst(reader.read(frame, way), changed(hash))
    if (way === "layout") skipped = reading === undefined
    if (reading === undefined) return "again"
    done.add(`${hash} ${way}`)
    if (way === "exact" || way === "layout") seen.text = reading.text
    const picked = pick(reading)
    if (picked !== undefined) return { picked }
    return way === "exact" ? "wait" : "again"
  })

  return Effect.map(Effect.repeat(step, { until: (found) => found !== "again" }), (found) =>
    typeof found === "string" ? undefined : found.picked
  )
}

/** Waits until `pick` finds something on a display, and gives that. */
export const waitForMatch = <A>(
  guest: Guest,
  display: Display,
  reader: Reader,
  wanted: TextWait<A>
): Effect.Effect<A, ReadError | WaitTimeout | InvalidArgument> => {
  const { name, options, pattern } = wanted
  const seen: Seen = {}
  const read = readUntil(display, reader, wanted, seen)
  return wait(guest, {
    name,
    attributes: { display: display.name },
    awaited: `${Pattern.shown(pattern)} on ${display.name}`,
    options,
    until: poll(read, options?.schedule ?? lookSchedule),
    lastSeen: Effect.map(
      Effect.suspend(() => {
        const last = seen.missing ?? seen.text
        return last === undefined
          ? Effect.map(readNow(display, reader, options), ({ text }) => text)
          : Effect.succeed(last)
      }),
      (text) => (text === "" ? "no text" : lastLines(text, 25))
    )
  })
}
