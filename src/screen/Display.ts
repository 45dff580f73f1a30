/** What a test sees and touches of a guest: a picture to look at, keys to press, a pointer to move. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { ControlError } from "../backends/BackendError.ts"
import type { CommandError } from "../guest/Guest.ts"
import type { HostFileError } from "../guest/HostFile.ts"
import type { Frame } from "./internal/frame.ts"

/**
 * There is no display to look at, or nothing to look at it with; `reason` says what is missing, and what would bring it. `passing` is a display
 * that may come by itself, as that of an X server that starts or restarts: waits go on.
 */
export class DisplayUnavailable extends Schema.TaggedError<DisplayUnavailable>()("DisplayUnavailable", {
  machine: Schema.String,
  reason: Schema.String,
  passing: Schema.optionalKey(Schema.Boolean)
}) {
  override get message() {
    return `${this.machine}: ${this.reason}`
  }
}

/** The guest did not take the keys that its keyboard sent, or not all; `typed` of `all` combinations were taken for certain. */
export class KeysLost extends Schema.TaggedError<KeysLost>()("KeysLost", {
  machine: Schema.String,
  typed: Schema.Number,
  all: Schema.Number,
  /** How long no more were taken. */
  waited: Schema.Duration,
  /** Why, where the host knows. */
  because: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const because = this.because === undefined ? "" : ` (${this.because})`
    return `${this.machine}: keys were lost: the guest took ${this.typed} of ${this.all}, and no more for ${Duration.format(this.waited)}${because}`
  }
}

/** What pressing keys can fail with. */
export type HandError = CommandError | ControlError | DisplayUnavailable

/** What looking at a display, or touching a place on it, can fail with; `HostFileError` of the picture. */
export type DisplayError = HandError | HostFileError

/** When a wait looks at a display again, by default. A look takes some 20 ms. */
export const lookSchedule = Schedule.spaced("100 millis")

/** The picture of a display, or why there is none yet. */
export const look = (display: Display): Effect.Effect<Frame | DisplayUnavailable, DisplayError> =>
  Effect.catchTag(display.capture, "DisplayUnavailable", (error) =>
    error.passing === true ? Effect.succeed(error) : Effect.fail(error)
  )

/** A place on the screen, in pixels from the top left. */
export const Point = Schema.Struct({ x: Schema.Finite, y: Schema.Finite }).annotate({ expected: "a point, { x, y }" })

/** A place on the screen, in pixels from the top left. */
export interface Point extends Schema.Schema.Type<typeof Point> {}

/** A button of the pointer. */
export const Button = Schema.Literals(["left", "middle", "right"])

/** A button of the pointer. */
export type Button = typeof Button.Type

/** One thing that a hand does with a pointer. */
export type Touch =
  | { readonly _tag: "Move"; readonly to: Point; readonly screen: { readonly width: number; readonly height: number } }
  | { readonly _tag: "Press" | "Release"; readonly button: Button }

/** Keys pressed together, by QEMU's names, in the order in which they go down. */
export type Combination = ReadonlyArray<string>

export interface Display {
  /** For messages: "the screen", "the X display :1". */
  readonly name: string
  readonly capture: Effect.Effect<Frame, DisplayError>
  /** Presses combinations one after the other, `delay` between two. */
  readonly press: (
    combinations: ReadonlyArray<Combination>,
    delay: Duration.Input | undefined
  ) => Effect.Effect<void, HandError | KeysLost>
  /** Moves, presses and releases; each is seen by the guest before the next. */
  readonly touch: (touches: ReadonlyArray<Touch>) => Effect.Effect<void, HandError>
}
