/**
 * Comparing the guest's display with reference pictures.
 *
 * A reference is a PNG file in the project; a relative path starts at the working folder. `vmtest run --update-references` (or
 * `VMTEST_UPDATE_REFERENCES=1` in a suite) writes references instead of comparing with them, once the screen stops changing: two looks in a row
 * see the same, apart from masks. If it still changes at the timeout, that is a `WaitTimeout`.
 *
 * **Example** (A reference, and a button anywhere on the screen)
 *
 * ```ts
 * yield* box.expectScreenshot("references/login.png", { masks: [{ x: 700, y: 0, width: 100, height: 20 }] })
 * const { x, y } = yield* box.waitForImage("references/button.png")
 * ```
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

/** Whether references are written instead of compared with. Default: whether `VMTEST_UPDATE_REFERENCES` is set. */
export const UpdateReferences = Context.Reference<boolean>("vmtest/machine/UpdateReferences", {
  defaultValue: () => (process.env.VMTEST_UPDATE_REFERENCES ?? "") !== ""
})

/** How exactly pictures must match. */
export const CompareOptions = Fields.options(
  {
    /** How much a pixel's colour may differ, from 0 (not at all) to 1 (black for white). Default 0.1. */
    threshold: Schema.optional(Fields.between(0, 1)),
    /** The share of pixels that may differ, from 0 to 1. Default 0. */
    tolerance: Schema.optional(Fields.between(0, 1))
  },
  "{ tolerance: 0.01 }"
)

/** How exactly pictures must match. */
export interface CompareOptions extends Schema.Schema.Type<typeof CompareOptions> {}

/** Options of `expectScreenshot`. */
export const ExpectScreenshotOptions = Fields.options(
  {
    ...CompareOptions.fields,
    /** Parts of the screen to ignore, such as a clock or a cursor. */
    masks: Schema.optional(Schema.Array(Box)),
    /** How long to wait; 0 for a single look. Default 10 seconds, three times that under emulation. */
    timeout: Schema.optional(LookTimeout),
    /** When to look again. Default: 100 ms after a look. A schedule that ends, ends the wait. */
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
   * Waits until the whole screen matches a reference picture. An X server that has not started yet, or restarts, is waited for. The error names
   * two pictures in the output folder, below `<machine>/` and the reference's own folder: the screen, and the screen with the pixels that
   * differ in red.
   */
  readonly expectScreenshot: (
    reference: string,
    options?: ExpectScreenshotOptions
  ) => Effect.Effect<void, ImageError | Comparison.ScreenDiffers | WaitTimeout>
  /**
   * Waits until a reference picture, for example of a button, appears anywhere on the screen, and returns where it is first.
   * `--update-references` does not write such a picture: cut it out of a screenshot.
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
      // Only its author knows which part of a screen is meant.
      const advice = "cut it out of a screenshot(); --update-references does not write it"
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
        seen = `a screen of ${sizeOf(screen)} without the picture of ${sizeOf(wanted)}`
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
