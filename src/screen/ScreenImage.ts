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
import * as Schema from "effect/Schema"
import { guard } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import type { Guest } from "../guest/Guest.ts"
import type { HostFileError } from "../guest/HostFile.ts"
import type { InvalidArgument, WaitTimeout } from "../guest/MachineError.ts"
import { LookTimeout, PollOptions } from "../guest/Timeout.ts"
import { poll, wait } from "../guest/Wait.ts"
import * as Fields from "../host/Fields.ts"
import { type Display, type DisplayError, DisplayUnavailable, look, lookSchedule } from "./Display.ts"
import * as Comparison from "./internal/comparison.ts"
import { Box, hashOf, sizeOf } from "./internal/frame.ts"
import { locator } from "./internal/pictureDiff.ts"
import * as References from "./internal/references.ts"

export { ScreenDiffers } from "./internal/comparison.ts"
export { ReferenceMissing } from "./internal/references.ts"

/** Whether references are written instead of compared with. Default: what `VMTEST_UPDATE_REFERENCES` says. */
export const UpdateReferences = Context.Reference<boolean>("vmtest/machine/UpdateReferences", {
  defaultValue: () => (process.env.VMTEST_UPDATE_REFERENCES ?? "") !== ""
})

/** How exactly pictures have to agree. */
export const CompareOptions = Fields.options(
  {
    /** How much a pixel's colour may differ, from 0 (not at all) to 1 (black for white). Default 0.1. */
    threshold: Schema.optional(Fields.between(0, 1)),
    /** How much of the picture may differ, from 0 to 1 of its pixels. Default 0. */
    tolerance: Schema.optional(Fields.between(0, 1))
  },
  "{ tolerance: 0.01 }"
)

/** How exactly pictures have to agree. */
export interface CompareOptions extends Schema.Schema.Type<typeof CompareOptions> {}

/** Options of `expectScreenshot`. */
export const ExpectScreenshotOptions = Fields.options(
  {
    ...CompareOptions.fields,
    /** Parts of the screen that do not count: a clock, a cursor. */
    masks: Schema.optional(Schema.Array(Box)),
    /** How long the screen may take to look like that; 0 for one look. Default 10 seconds, three times that under emulation. */
    timeout: Schema.optional(LookTimeout),
    /** When to look again. Default 100 ms after a look. A schedule that ends, ends the wait. */
    schedule: PollOptions.fields.schedule
  },
  '{ timeout: "5 seconds" }'
)

/** Options of `expectScreenshot`. */
export interface ExpectScreenshotOptions extends Schema.Schema.Type<typeof ExpectScreenshotOptions> {}

/** Options of `waitForImage`. */
export const WaitForImageOptions = Fields.options(
  { ...PollOptions.fields, ...CompareOptions.fields },
  '{ timeout: "5 seconds" }'
)

/** Options of `waitForImage`. */
export interface WaitForImageOptions extends Schema.Schema.Type<typeof WaitForImageOptions> {}

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
    options?: WaitForImageOptions
  ) => Effect.Effect<Box, ImageError | WaitTimeout>
}

const defaultTimeout = Duration.seconds(10)

const Reference = Fields.filled("the path of a picture on the host, a string that is not empty")

/** What its methods take. */
export const parameters = Arguments.of<ScreenImageMethods>({
  expectScreenshot: Arguments.takes({ reference: Reference, options: Schema.optional(ExpectScreenshotOptions) }),
  waitForImage: Arguments.takes({ reference: Reference, options: Schema.optional(WaitForImageOptions) })
})

/** The picture methods of a guest. */
export const make = (guest: Guest, display: Display): ScreenImageMethods => {
  return Arguments.checked<ScreenImageMethods>(guest.name, parameters, {
    expectScreenshot: Effect.fnUntraced(function* (reference, options) {
      const { masks = [], threshold = 0.1, tolerance = 0 } = options ?? {}
      const timeout = Duration.fromInputUnsafe(
        options?.timeout ?? Duration.times(defaultTimeout, guest.backend.timeScale)
      )
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
      const { threshold = 0.1, tolerance = 0 } = options ?? {}
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
  })
}
