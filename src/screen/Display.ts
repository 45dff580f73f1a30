/**
 * A display of a guest, with its keyboard and pointer.
 *
 * **Example** (The picture of a display, if there is one)
 *
 * ```ts
 * const frame = yield* look(display)
 * if (frame instanceof DisplayUnavailable) yield* Effect.log(frame.reason)
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { ControlError } from "../backends/BackendError.ts"
import type { CommandError } from "../guest/Guest.ts"
import type { HostFileError } from "../guest/HostFile.ts"
import type { Frame } from "./internal/frame.ts"

/**
 * There is no display, or no program to look at it with; `reason` says what is missing, and how to get it. With `passing` the display may
 * appear by itself, such as that of an X server that starts or restarts, and waits continue.
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

/** The guest did not take all keys that its keyboard sent; it certainly took `typed` of `all` combinations. */
export class KeysLost extends Schema.TaggedError<KeysLost>()("KeysLost", {
  machine: Schema.String,
  typed: Schema.Number,
  all: Schema.Number,
  /** How long the guest has taken no more. */
  waited: Schema.Duration,
  /** The reason, if the host knows it. */
  because: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const because = this.because === undefined ? "" : ` (${this.because})`
    return `${this.machine}: keys were lost: the guest took ${this.typed} of ${this.all}, then no more for ${Duration.format(this.waited)}${because}`
  }
}

/** What pressing keys can fail with. */
export type InputError = CommandError | ControlError | DisplayUnavailable

/** What looking at a display, or touching a place on it, can fail with; `HostFileError` of the picture. */
export type DisplayError = InputError | HostFileError

/** When a wait looks at a display again, by default. A look takes about 20 ms. */
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

/** One action of a pointer. */
export type Touch =
  | { readonly _tag: "Move"; readonly to: Point; readonly screen: { readonly width: number; readonly height: number } }
  | { readonly _tag: "Press" | "Release"; readonly button: Button }

/** Keys that are pressed together, by QEMU's names, in the order in which they are pressed. */
export type Combination = ReadonlyArray<string>

/** A display, its keyboard and its pointer. */
export interface Display {
  /** For messages: "the screen", "the X display :1". */
  readonly name: string
  readonly capture: Effect.Effect<Frame, DisplayError>
  /** Presses combinations one after the other, with `delay` between them. */
  readonly press: (
    combinations: ReadonlyArray<Combination>,
    delay: Duration.Input | undefined
  ) => Effect.Effect<void, InputError | KeysLost>
  /**
   * Whether it takes keys by what they type on an American keyboard, and so no other characters: X displays do. By default keys are meant by their
   * place, and the guest's layout decides what they type.
   */
  readonly american?: boolean
  /** Moves, presses and releases; the guest sees each before the next. */
  readonly touch: (touches: ReadonlyArray<Touch>) => Effect.Effect<void, InputError>
}
