/**
 * The guest's pointer.
 *
 * Like a pen on a tablet, it is put at a point of the screen, in pixels from the top left, without moving there.
 *
 * **Example** (A button in a dialog)
 *
 * ```ts
 * yield* box.clickText("Install now")
 * yield* box.mouseClick({ x: 400, y: 300 }, { count: 2 })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { guard } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import type { Guest } from "../guest/Guest.ts"
import type { WaitTimeout } from "../guest/MachineError.ts"
import { InvalidArgument } from "../guest/MachineError.ts"
import * as Pattern from "../guest/Pattern.ts"
import { PollOptions } from "../guest/Timeout.ts"
import * as Fields from "../host/Fields.ts"
import { Button, type Display, type DisplayError, Point, type Touch } from "./Display.ts"
import type { Frame } from "./internal/frame.ts"
import { findIn } from "./internal/reader.ts"
import { waitForMatch } from "./internal/textWait.ts"
import { type FoundText, type ReadError, type Reader, ReadOptions } from "./Screen.ts"

export { Button, Point } from "./Display.ts"

/** How to click. */
export const ClickOptions = Fields.options(
  {
    /** Default `left`. */
    button: Schema.optional(Button),
    /** 2 for a double click. Default 1. */
    count: Schema.optional(Fields.Count)
  },
  "{ count: 2 }"
)

/** How to click. */
export interface ClickOptions extends Schema.Schema.Type<typeof ClickOptions> {}

/** How to drag. */
export const DragOptions = Fields.options({ button: ClickOptions.fields.button }, '{ button: "right" }')

/** How to drag. */
export interface DragOptions extends Schema.Schema.Type<typeof DragOptions> {}

/** How to wait for a text and click on it. */
export const ClickTextOptions = Fields.options(
  { ...ClickOptions.fields, ...PollOptions.fields, ...ReadOptions.fields },
  '{ timeout: "5 seconds" }'
)

/** How to wait for a text and click on it. */
export interface ClickTextOptions extends Schema.Schema.Type<typeof ClickTextOptions> {}

/** The pointer of a machine. A point outside the screen is an `InvalidArgument`. */
export interface MouseMethods {
  /** Puts the pointer at a point of the screen. */
  readonly mouseMove: (to: Point) => Effect.Effect<void, DisplayError | InvalidArgument>
  /** Clicks at a point of the screen. */
  readonly mouseClick: (at: Point, options?: ClickOptions) => Effect.Effect<void, DisplayError | InvalidArgument>
  /** Presses at one point, moves to another in ten steps, and releases there. */
  readonly mouseDrag: (
    from: Point,
    to: Point,
    options?: DragOptions
  ) => Effect.Effect<void, DisplayError | InvalidArgument>
  /** Waits for a text on the screen, clicks in the middle of the first one, and returns it. */
  readonly clickText: (
    pattern: RegExp | string,
    options?: ClickTextOptions
  ) => Effect.Effect<FoundText, ReadError | WaitTimeout | InvalidArgument>
}

const steps = 10

/** What its methods take. */
export const parameters = Arguments.of<MouseMethods>({
  mouseMove: Arguments.takes({ to: Point }),
  mouseClick: Arguments.takes({ at: Point, options: Schema.optional(ClickOptions) }),
  mouseDrag: Arguments.takes({ from: Point, to: Point, options: Schema.optional(DragOptions) }),
  clickText: Arguments.takes({ pattern: Pattern.Pattern, options: Schema.optional(ClickTextOptions) })
})

/** The pointer methods of a guest. */
export const make = (guest: Guest, display: Display, reader: Reader): MouseMethods => {
  /** Only the screen knows its size. */
  const check = (method: string, screen: Frame, points: ReadonlyArray<Point>): Effect.Effect<void, InvalidArgument> => {
    const outside = points.find(({ x, y }) => !(x >= 0 && y >= 0 && x < screen.width && y < screen.height))
    if (outside === undefined) return Effect.void
    const value = `${outside.x}, ${outside.y}`
    const reason = `point must be on ${display.name}, which has ${screen.width}x${screen.height} pixels, got ${value}`
    return Effect.fail(new InvalidArgument({ machine: guest.name, method, argument: "point", value, reason }))
  }
  const clicks = (button: Button, count: number): ReadonlyArray<Touch> =>
    Array.from(
      { length: count },
      (): ReadonlyArray<Touch> => [
        { _tag: "Press", button },
        { _tag: "Release", button }
      ]
    ).flat()
  /** Asks for the size of the screen each time, because guests change it. */
  const touch = (
    name: string,
    doing: string,
    points: ReadonlyArray<Point>,
    touches: (move: (to: Point) => Touch) => ReadonlyArray<Touch>
  ) =>
    guard(
      guest,
      { name, doing },
      Effect.gen(function* () {
        const screen = yield* display.capture
        yield* check(name, screen, points)
        yield* display.touch(touches((to) => ({ _tag: "Move", to, screen })))
      })
    )
  const place = ({ x, y }: Point) => `${Math.round(x)}, ${Math.round(y)}`

  const mouseClick: MouseMethods["mouseClick"] = Effect.fnUntraced(function* (at, { button = "left", count = 1 } = {}) {
    yield* touch("mouseClick", `clicking at ${place(at)}`, [at], (move) => [move(at), ...clicks(button, count)])
  })

  return Arguments.checked<MouseMethods>(guest.name, parameters, {
    mouseMove: Effect.fnUntraced(function* (to) {
      yield* touch("mouseMove", `moving the pointer to ${place(to)}`, [to], (move) => [move(to)])
    }),
    mouseClick,
    mouseDrag: Effect.fnUntraced(function* (from, to, { button = "left" } = {}) {
      yield* touch("mouseDrag", `dragging from ${place(from)} to ${place(to)}`, [from, to], (move) => [
        move(from),
        { _tag: "Press", button },
        ...Array.from({ length: steps }, (_, index) => {
          const part = (index + 1) / steps
          return move({ x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part })
        }),
        { _tag: "Release", button }
      ])
    }),
    clickText: Effect.fnUntraced(function* (pattern, options) {
      const found = yield* waitForMatch(guest, display, reader, {
        name: "clickText",
        pattern,
        options,
        pick: (reading) => findIn(pattern, reading)[0]
      })
      const { height, width, x, y } = found.box
      yield* mouseClick({ x: x + width / 2, y: y + height / 2 }, options)
      return found
    })
  })
}
