/**
 * Comparing the guest's display with reference pictures.
 *
 * A reference is a PNG file of the project; a relative path is one from the working folder. `vmtest run --update-references` (or
 * `VMTEST_UPDATE_REFERENCES=1` in a suite) writes references instead of comparing with them, once the screen rests: when two looks in a row
 * see the same, masks apart. A screen that does not within the timeout is a `WaitTimeout`.
 *
 * @since 0.1.0
 */
import * as Path from "node:path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { guard } from "../guest/Action.ts"
import { HostFileError } from "../guest/Copy.ts"
import type { Guest, WaitOptions } from "../guest/Guest.ts"
import { InvalidArgument, WaitTimeout } from "../guest/MachineError.ts"
import { kinds, timeOf } from "../guest/Timeout.ts"
import { wait } from "../guest/Wait.ts"
import { type Display, type DisplayError, interval, nextFrame } from "./Display.ts"
import * as Evidence from "./internal/evidence.ts"
import { type Box, type Frame, fromPng, hashOf, toPng } from "./internal/frame.ts"
import { compare, locator, masked } from "./internal/pictureDiff.ts"

/** Whether references are written instead of compared with. Default: what `VMTEST_UPDATE_REFERENCES` says. */
export const UpdateReferences = Context.Reference<boolean>("vmtest/machine/UpdateReferences", {
  defaultValue: () => (process.env.VMTEST_UPDATE_REFERENCES ?? "") !== ""
})

/** There is no reference picture at that path. */
export class ReferenceMissing extends Schema.TaggedError<ReferenceMissing>()("ReferenceMissing", {
  machine: Schema.String,
  reference: Schema.String,
  /** How to get one. */
  advice: Schema.String
}) {
  override get message() {
    return `${this.machine}: there is no reference picture ${this.reference}; ${this.advice}`
  }
}

/**
 * The screen is not what the reference shows. `pixels` of all differ, and `allowed` might have; where the sizes differ it is `-1`.
 * `actual` and `diff` are pictures in the machine's folder of the output folder, `diff` empty where the sizes differ.
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
        ? `it has ${this.actualSize} pixels, and the reference ${this.expectedSize}`
        : `${this.pixels} of its ${this.actualSize} pixels differ, and ${this.allowed} may`
    const files = this.diff === "" ? this.actual : `${this.actual}, ${this.diff}`
    return `${this.machine}: the screen is not ${this.reference} after ${Duration.format(this.waited)}: ${what}\nsee ${files}`
  }
}

/** How exactly pictures have to agree. */
export interface CompareOptions {
  /** How much a pixel's colour may differ, from 0 (not at all) to 1 (black for white). Default 0.1. */
  readonly threshold?: number
  /** How much of the picture may differ, from 0 to 1 of its pixels. Default 0. */
  readonly tolerance?: number
}

/** Options of `expectScreenshot`. */
export interface ExpectScreenshotOptions extends CompareOptions {
  /** Parts of the screen that do not count: a clock, a cursor. */
  readonly masks?: ReadonlyArray<Box>
  /** How long the screen may take to look like that; 0 for one look. Default 10 seconds, three times that under emulation. */
  readonly timeout?: Duration.Input
}

type ImageError = DisplayError | HostFileError | InvalidArgument | ReferenceMissing

/** Comparing pictures, for a machine. */
export interface ScreenImageMethods {
  /**
   * Waits until the whole screen looks like a reference picture; an X server that is not up yet, or restarts, is waited for, too. If it does
   * not, the error names pictures in the output folder, below `<machine>/` and there where the reference is below the working folder: what the
   * screen showed, and that with the pixels that differ in red.
   */
  readonly expectScreenshot: (
    reference: string,
    options?: ExpectScreenshotOptions
  ) => Effect.Effect<void, ImageError | ScreenDiffers | WaitTimeout>
  /**
   * Waits until a reference picture, for example of a button, is somewhere on the screen, and gives its first place. `--update-references`
   * does not write such a picture: it is cut out of a screenshot.
   */
  readonly waitForImage: (
    reference: string,
    options?: WaitOptions & CompareOptions
  ) => Effect.Effect<Box, ImageError | WaitTimeout>
}

const defaultTimeout = Duration.seconds(10)

/** What a box has, with the least of each. */
const sides = [
  ["x", Number.MIN_SAFE_INTEGER],
  ["y", Number.MIN_SAFE_INTEGER],
  ["width", 0],
  ["height", 0]
] as const

const sizeOf = ({ height, width }: Frame) => `${width}x${height}`

/** The picture methods of a guest. */
export const make = (guest: Guest, display: Display): ScreenImageMethods => {
  const hostError = (path: string, reason: string) => new HostFileError({ machine: guest.name, path, reason })

  const checked = Effect.fnUntraced(function* (options: CompareOptions | undefined) {
    const { threshold = 0.1, tolerance = 0 } = options ?? {}
    for (const [argument, value] of Object.entries({ threshold, tolerance })) {
      yield* InvalidArgument.inRange(guest.name, argument, value, [0, 1], "is not a number from 0 to 1")
    }
    return { threshold, tolerance }
  })

  /** Parts of a mask may be outside the screen; none may be no number. */
  const checkedMasks = Effect.fnUntraced(function* (masks: ReadonlyArray<Box> = []) {
    if (!Array.isArray(masks)) return yield* invalidMasks(masks)
    for (const [index, mask] of masks.entries()) {
      for (const [side, least] of sides) {
        const argument = `masks[${index}].${side}`
        const value = Predicate.hasProperty(mask, side) ? (mask[side] as number) : Number.NaN
        const reason = least === 0 ? "is not a length in pixels" : "is not a place in pixels"
        yield* InvalidArgument.inRange(guest.name, argument, value, [least, Number.MAX_SAFE_INTEGER], reason)
      }
    }
    return masks
  })
  const invalidMasks = (masks: unknown) =>
    new InvalidArgument({
      machine: guest.name,
      argument: "masks",
      value: String(masks),
      reason: "is no array of { x, y, width, height }"
    })

  const load = Effect.fnUntraced(function* (reference: string, advice: string) {
    const path = Path.resolve(reference)
    const there = yield* Effect.mapError(guest.fs.exists(path), (error) => hostError(path, error.message))
    if (!there) return yield* new ReferenceMissing({ machine: guest.name, reference: path, advice })
    const bytes = yield* Effect.mapError(guest.fs.readFile(path), (error) =>
      hostError(path, `cannot be read: ${error.message}`)
    )
    return yield* Effect.try({ try: () => fromPng(bytes), catch: (cause) => hostError(path, `is no PNG: ${cause}`) })
  })

  const since = (started: number) => Effect.map(Clock.currentTimeMillis, (now) => Duration.millis(now - started))

  /** A look at the screen, which is waited for until it has been so long. */
  const seeing = (started: number, timeout: Duration.Duration) =>
    nextFrame(display, (error) =>
      Effect.flatMap(since(started), (waited) =>
        Duration.isGreaterThanOrEqualTo(waited, timeout) ? Effect.fail(error) : Effect.void
      )
    )

  /** What the screen shows once two looks in a row saw the same: half of a picture is no reference. */
  const stable = Effect.fnUntraced(function* (
    reference: string,
    masks: ReadonlyArray<Box>,
    timeout: Duration.Duration
  ) {
    const started = yield* Clock.currentTimeMillis
    const look = seeing(started, timeout)
    let last = yield* look
    while (true) {
      yield* Effect.sleep(interval)
      const frame = yield* look
      if (hashOf(masked(frame, masks)) === hashOf(masked(last, masks))) return frame
      const waited = yield* since(started)
      if (Duration.isGreaterThanOrEqualTo(waited, timeout)) {
        const sameSize = frame.width === last.width && frame.height === last.height
        const moved = sameSize
          ? `pixels that differ between the last two pictures: ${compare(masked(frame, masks), masked(last, masks), 0).pixels}; mask what moves`
          : "its size changes"
        return yield* new WaitTimeout({
          machine: guest.name,
          awaited: `${display.name} to rest, to be the reference ${reference}`,
          waited,
          lastSeen: moved,
          console: yield* guest.consoleTail
        })
      }
      last = frame
    }
  })

  const update = Effect.fnUntraced(function* (
    reference: string,
    masks: ReadonlyArray<Box>,
    timeout: Duration.Duration
  ) {
    const path = Path.resolve(reference)
    const frame = yield* guard(
      guest,
      { name: "expectScreenshot", doing: `writing the reference ${reference}`, attributes: { path } },
      stable(reference, masks, timeout)
    )
    yield* Effect.mapError(guest.fs.makeDirectory(Path.dirname(path), { recursive: true }), (error) =>
      hostError(path, `cannot be written: ${error.message}`)
    )
    yield* Effect.mapError(guest.fs.writeFile(path, toPng(frame)), (error) =>
      hostError(path, `cannot be written: ${error.message}`)
    )
  })

  return {
    expectScreenshot: Effect.fnUntraced(function* (reference, options) {
      const { threshold, tolerance } = yield* checked(options)
      const masks = yield* checkedMasks(options?.masks)
      const allowedTime = options?.timeout ?? Duration.times(defaultTimeout, guest.backend.timeScale)
      const timeout = yield* timeOf(guest, kinds.looking, allowedTime)
      if (yield* UpdateReferences) return yield* update(reference, masks, timeout)
      const expected = masked(yield* load(reference, "vmtest run --update-references writes it"), masks)
      const allowed = Math.floor(expected.width * expected.height * tolerance)
      const started = yield* Clock.currentTimeMillis
      const look = Effect.gen(function* () {
        let hash = ""
        while (true) {
          const actual = yield* seeing(started, timeout)
          const now = hashOf(actual)
          const waited = yield* since(started)
          const late = Duration.isGreaterThanOrEqualTo(waited, timeout)
          if (now !== hash || late) {
            hash = now
            const sameSize = actual.width === expected.width && actual.height === expected.height
            const difference = sameSize ? compare(masked(actual, masks), expected, threshold) : undefined
            if (difference !== undefined && difference.pixels <= allowed) return
            if (late) {
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
            }
          }
          yield* Effect.sleep(interval)
        }
      })
      yield* guard(
        guest,
        {
          name: "expectScreenshot",
          doing: `comparing ${display.name} with ${reference}`,
          attributes: { path: Path.resolve(reference) }
        },
        look
      )
    }),
    waitForImage: Effect.fnUntraced(function* (reference, options) {
      const { threshold, tolerance } = yield* checked(options)
      // Nobody but its author knows which part of a screen is meant.
      const wanted = yield* load(reference, "cut it out of a screenshot(), --update-references does not write this one")
      const allowed = Math.floor(wanted.width * wanted.height * tolerance)
      const locate = locator(wanted, threshold, allowed)
      let seen = "nothing"
      let hash = ""
      const look = nextFrame(display, ({ reason }) =>
        Effect.sync(() => {
          seen = reason
          hash = ""
        })
      )
      const until = Effect.gen(function* () {
        while (true) {
          const screen = yield* look
          const now = hashOf(screen)
          if (now !== hash) {
            hash = now
            seen = `a screen of ${sizeOf(screen)}, where the picture of ${sizeOf(wanted)} is nowhere`
            const place = yield* locate(screen)
            if (place !== undefined) return place
          }
          yield* Effect.sleep(interval)
        }
      })
      return yield* wait(guest, {
        name: "waitForImage",
        attributes: { path: Path.resolve(reference) },
        awaited: `the picture ${reference} on ${display.name}`,
        options,
        until,
        lastSeen: Effect.sync(() => seen)
      })
    })
  }
}
