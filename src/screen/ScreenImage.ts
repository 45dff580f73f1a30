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
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Schedule from "effect/Schedule"
import { guard } from "../guest/Action.ts"
import type { HostFileError } from "../guest/Copy.ts"
import type { Guest, PollOptions } from "../guest/Guest.ts"
import { InvalidArgument, type WaitTimeout } from "../guest/MachineError.ts"
import { kinds, timeOf } from "../guest/Timeout.ts"
import { poll, wait } from "../guest/Wait.ts"
import { type Display, type DisplayError, DisplayUnavailable, look, lookSchedule } from "./Display.ts"
import * as Comparison from "./internal/comparison.ts"
import { type Box, hashOf, sizeOf } from "./internal/frame.ts"
import { locator } from "./internal/pictureDiff.ts"
import * as References from "./internal/references.ts"

export { ScreenDiffers } from "./internal/comparison.ts"
export { ReferenceMissing } from "./internal/references.ts"

/** Whether references are written instead of compared with. Default: what `VMTEST_UPDATE_REFERENCES` says. */
export const UpdateReferences = Context.Reference<boolean>("vmtest/machine/UpdateReferences", {
  defaultValue: () => (process.env.VMTEST_UPDATE_REFERENCES ?? "") !== ""
})

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
  /** When to look again. Default 100 ms after a look. A schedule that ends, ends the wait. */
  readonly schedule?: Schedule.Schedule<unknown>
}

type ImageError = DisplayError | HostFileError | InvalidArgument | References.ReferenceMissing

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
  ) => Effect.Effect<void, ImageError | Comparison.ScreenDiffers | WaitTimeout>
  /**
   * Waits until a reference picture, for example of a button, is somewhere on the screen, and gives its first place. `--update-references`
   * does not write such a picture: it is cut out of a screenshot.
   */
  readonly waitForImage: (
    reference: string,
    options?: PollOptions & CompareOptions
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

/** The picture methods of a guest. */
export const make = (guest: Guest, display: Display): ScreenImageMethods => {
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

  return {
    expectScreenshot: Effect.fnUntraced(function* (reference, options) {
      const { threshold, tolerance } = yield* checked(options)
      const masks = yield* checkedMasks(options?.masks)
      const allowedTime = options?.timeout ?? Duration.times(defaultTimeout, guest.backend.timeScale)
      const timeout = yield* timeOf(guest, kinds.looking, allowedTime)
      const wanted = { reference, masks, timeout, schedule: options?.schedule ?? lookSchedule }
      const path = Path.resolve(reference)
      const span = { name: "expectScreenshot", attributes: { path } }
      if (yield* UpdateReferences) {
        const doing = `writing the reference ${reference}`
        const frame = yield* guard(guest, { ...span, doing }, Comparison.stable(guest, display, wanted))
        return yield* References.write(guest, reference, frame)
      }
      const expected = yield* References.read(guest, reference, "vmtest run --update-references writes it")
      const doing = `comparing ${display.name} with ${reference}`
      const likeness = { threshold, allowed: Math.floor(expected.width * expected.height * tolerance) }
      yield* guard(guest, { ...span, doing }, Comparison.match(guest, display, expected, { ...wanted, ...likeness }))
    }),
    waitForImage: Effect.fnUntraced(function* (reference, options) {
      const { threshold, tolerance } = yield* checked(options)
      // Nobody but its author knows which part of a screen is meant.
      const advice = "cut it out of a screenshot(), --update-references does not write this one"
      const wanted = yield* References.read(guest, reference, advice)
      const locate = locator(wanted, threshold, Math.floor(wanted.width * wanted.height * tolerance))
      let seen = "nothing"
      let hash = ""
      const attempt = Effect.gen(function* () {
        const screen = yield* look(display)
        if (screen instanceof DisplayUnavailable) {
          seen = screen.reason
          hash = ""
          return undefined
        }
        const now = hashOf(screen)
        if (now === hash) return undefined
        hash = now
        seen = `a screen of ${sizeOf(screen)}, where the picture of ${sizeOf(wanted)} is nowhere`
        return yield* locate(screen)
      })
      return yield* wait(guest, {
        name: "waitForImage",
        attributes: { path: Path.resolve(reference) },
        awaited: `the picture ${reference} on ${display.name}`,
        options,
        until: poll(attempt, options?.schedule ?? lookSchedule),
        lastSeen: Effect.sync(() => seen)
      })
    })
  }
}
