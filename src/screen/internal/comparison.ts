/** Looking at a display until it matches a reference, or until it stops changing. */
import * as Path from "node:path"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Guest } from "../../guest/Guest.ts"
import { WaitTimeout } from "../../guest/MachineError.ts"
import { type Display, DisplayUnavailable, look } from "../Display.ts"
import * as Evidence from "./evidence.ts"
import { type Box, type Frame, hashOf, sizeOf } from "./frame.ts"
import { compare, type Difference, masked } from "./pictureDiff.ts"

/**
 * The screen does not match the reference: `pixels` differ, and at most `allowed` may; `pixels` is `-1` if the sizes differ. `actual` and `diff`
 * are pictures in the machine's folder of the output folder; `diff` is empty if the sizes differ.
 */
export class ScreenDiffers extends Schema.TaggedError<ScreenDiffers>()("ScreenDiffers", {
  machine: Schema.String,
  reference: Schema.String,
  expectedSize: Schema.String,
  actualSize: Schema.String,
  pixels: Schema.Number,
  allowed: Schema.Number,
  waited: Schema.Duration,
  actual: Schema.String,
  diff: Schema.String
}) {
  override get message() {
    const what =
      this.pixels < 0
        ? `it has ${this.actualSize} pixels, the reference has ${this.expectedSize}`
        : `${this.pixels} of its ${this.actualSize} pixels differ, at most ${this.allowed} may`
    const files = this.diff === "" ? this.actual : `${this.actual}, ${this.diff}`
    return `${this.machine}: the screen does not match ${this.reference} after ${Duration.format(this.waited)}: ${what}\nsee ${files}`
  }
}

/** What to look for, how long and how often. */
interface Wanted {
  readonly reference: string
  readonly masks: ReadonlyArray<Box>
  readonly timeout: Duration.Duration
  readonly schedule: Schedule.Schedule<unknown>
}

/** How much a picture may differ. */
interface Likeness {
  /** How much a colour may differ, from 0 to 1. */
  readonly threshold: number
  /** How many pixels may differ. */
  readonly allowed: number
}

/**
 * Looks by the schedule, at least once, until `judge` accepts a picture or the schedule ends; gives how long that took. A display that does not
 * exist yet is waited for until the timeout.
 */
const lookUntil = Effect.fnUntraced(function* (
  display: Display,
  { schedule, timeout }: Wanted,
  judge: (frame: Frame, late: boolean) => boolean
) {
  const started = yield* Clock.currentTimeMillis
  const since = Effect.map(Clock.currentTimeMillis, (now) => Duration.millis(now - started))
  let missing: DisplayUnavailable | undefined
  const attempt = Effect.gen(function* () {
    const frame = yield* look(display)
    const late = Duration.isGreaterThanOrEqualTo(yield* since, timeout)
    missing = frame instanceof DisplayUnavailable ? frame : undefined
    return frame instanceof DisplayUnavailable ? late : judge(frame, late)
  })
  yield* Effect.repeat(attempt, { schedule, until: (done) => done })
  if (missing !== undefined) return yield* Effect.fail(missing)
  return yield* since
})

const isSameSize = (one: Frame, other: Frame) => one.width === other.width && one.height === other.height

/** Waits until a display shows what is expected. */
export const match = Effect.fnUntraced(function* (
  guest: Guest,
  display: Display,
  expected: Frame,
  wanted: Wanted & Likeness
) {
  const { allowed, masks, reference, threshold } = wanted
  const hidden = masked(expected, masks)
  let actual = expected
  let difference: Difference | undefined
  let hash = ""
  const waited = yield* lookUntil(display, wanted, (frame, late) => {
    const now = hashOf(frame)
    if (now !== hash) {
      hash = now
      actual = frame
      difference = isSameSize(frame, expected) ? compare(masked(frame, masks), hidden, threshold) : undefined
    }
    return late || (difference !== undefined && difference.pixels <= allowed)
  })
  if (difference !== undefined && difference.pixels <= allowed) return
  return yield* new ScreenDiffers({
    machine: guest.name,
    reference: Path.resolve(reference),
    expectedSize: sizeOf(expected),
    actualSize: sizeOf(actual),
    pixels: difference?.pixels ?? -1,
    allowed,
    waited,
    ...(yield* Evidence.keep(guest, reference, actual, difference?.picture))
  })
})

const motion = (masks: ReadonlyArray<Box>, frame: Frame, before: Frame | undefined): string => {
  if (before === undefined) return "one picture only, so nothing shows whether it changes"
  if (!isSameSize(frame, before)) return "its size changes"
  const { pixels } = compare(masked(frame, masks), masked(before, masks), 0)
  return `${pixels} ${pixels === 1 ? "pixel differs" : "pixels differ"} between the last two pictures; mask what moves`
}

/** Waits until two looks in a row see the same, and gives that: a half-drawn picture is not a reference. */
export const stable = Effect.fnUntraced(function* (guest: Guest, display: Display, wanted: Wanted) {
  const { masks, reference } = wanted
  let before: Frame | undefined
  let last: Frame | undefined
  const isStable = () =>
    before !== undefined && last !== undefined && hashOf(masked(before, masks)) === hashOf(masked(last, masks))
  const waited = yield* lookUntil(display, wanted, (frame, late) => {
    before = last
    last = frame
    return isStable() || (late && before !== undefined)
  })
  if (last !== undefined && isStable()) return last
  return yield* new WaitTimeout({
    machine: guest.name,
    awaited: `${display.name} to stop changing, to write the reference ${reference}`,
    waited,
    lastSeen: last === undefined ? "nothing" : motion(masks, last, before),
    console: yield* guest.consoleTail
  })
})
