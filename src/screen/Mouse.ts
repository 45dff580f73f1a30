/**
 * The guest's pointer.
 *
 * It is put to places of the screen, in pixels from the top left, as a tablet's pen is; it need not be moved there.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { guard } from "../guest/Action.ts"
import type { Guest, PollOptions } from "../guest/Guest.ts"
import type { WaitTimeout } from "../guest/MachineError.ts"
import { InvalidArgument } from "../guest/MachineError.ts"
import type { Button, Display, DisplayError, Point, Touch } from "./Display.ts"
import type { Frame } from "./internal/frame.ts"
import { findIn } from "./internal/reader.ts"
import { waitForMatch } from "./internal/textWait.ts"
import type { FoundText, ReadError, Reader, ReadOptions } from "./Screen.ts"

export type { Button, Point } from "./Display.ts"

/** How to click. */
export interface ClickOptions {
  /** Default `left`. */
  readonly button?: Button
  /** 2 for a double click. Default 1. */
  readonly count?: number
}

/** The pointer of a machine; a point outside the screen, a button or a count that there is not, is an `InvalidArgument`. */
export interface MouseMethods {
  /** Puts the pointer to a point of the screen. */
  readonly mouseMove: (to: Point) => Effect.Effect<void, DisplayError | InvalidArgument>
  /** Clicks at a point of the screen. */
  readonly mouseClick: (at: Point, options?: ClickOptions) => Effect.Effect<void, DisplayError | InvalidArgument>
  /** Presses at one point, moves to another in ten steps, and releases there. */
  readonly mouseDrag: (
    from: Point,
    to: Point,
    options?: Pick<ClickOptions, "button">
  ) => Effect.Effect<void, DisplayError | InvalidArgument>
  /** Waits for a text on the screen, clicks on the middle of its first place, and gives that. */
  readonly clickText: (
    pattern: RegExp | string,
    options?: ClickOptions & PollOptions & ReadOptions
  ) => Effect.Effect<FoundText, ReadError | WaitTimeout | InvalidArgument>
}

const steps = 10

const buttons: ReadonlyArray<string> = ["left", "middle", "right"] satisfies ReadonlyArray<Button>

/** The pointer methods of a guest. */
export const make = (guest: Guest, display: Display, reader: Reader): MouseMethods => {
  const check = Effect.fnUntraced(function* (screen: Frame, points: ReadonlyArray<Point>) {
    for (const { x, y } of points) {
      for (const [argument, value] of Object.entries({ x, y }) as ReadonlyArray<[string, unknown]>) {
        if (typeof value !== "number") {
          return yield* InvalidArgument.number(guest.name, argument, value, "is not a place in pixels")
        }
      }
      if (!(x >= 0 && y >= 0 && x < screen.width && y < screen.height)) {
        const reason = `is outside ${display.name}, which has ${screen.width}x${screen.height} pixels`
        return yield* new InvalidArgument({ machine: guest.name, argument: "point", value: `${x}, ${y}`, reason })
      }
    }
  })
  /** A script that no compiler checked may have left a point out. */
  const checkPoints = Effect.fnUntraced(function* (points: Readonly<Record<string, unknown>>) {
    for (const [argument, point] of Object.entries(points)) {
      if (typeof point === "object" && point !== null) continue
      const reason = "is not a point { x, y }"
      return yield* new InvalidArgument({ machine: guest.name, argument, value: String(point), reason })
    }
  })
  /** Before anything is waited for or touched. */
  const checkClick = Effect.fnUntraced(function* ({ button = "left", count = 1 }: ClickOptions) {
    if (!buttons.includes(button)) {
      const reason = `is not one of ${buttons.join(", ")}`
      return yield* new InvalidArgument({ machine: guest.name, argument: "button", value: String(button), reason })
    }
    if (!Number.isInteger(count) || count < 1) {
      return yield* InvalidArgument.number(guest.name, "count", count, "is not a number of clicks")
    }
  })
  const clicks = (button: Button, count: number): ReadonlyArray<Touch> =>
    Array.from(
      { length: count },
      (): ReadonlyArray<Touch> => [
        { _tag: "Press", button },
        { _tag: "Release", button }
      ]
    ).flat()
  /** The size of the screen is asked each time: guests change it. */
  const hand = (
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
        yield* check(screen, points)
        yield* display.touch(touches((to) => ({ _tag: "Move", to, screen })))
      })
    )
  const place = ({ x, y }: Point) => `${Math.round(x)}, ${Math.round(y)}`

  const mouseClick: MouseMethods["mouseClick"] = Effect.fnUntraced(function* (at, { button = "left", count = 1 } = {}) {
    yield* checkClick({ button, count })
    yield* checkPoints({ at })
    yield* hand("mouseClick", `clicking at ${place(at)}`, [at], (move) => [move(at), ...clicks(button, count)])
  })

  return {
    mouseMove: Effect.fnUntraced(function* (to) {
      yield* checkPoints({ to })
      yield* hand("mouseMove", `moving the pointer to ${place(to)}`, [to], (move) => [move(to)])
    }),
    mouseClick,
    mouseDrag: Effect.fnUntraced(function* (from, to, { button = "left" } = {}) {
      yield* checkClick({ button })
      yield* checkPoints({ from, to })
      yield* hand("mouseDrag", `dragging from ${place(from)} to ${place(to)}`, [from, to], (move) => [
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
      yield* checkClick(options ?? {})
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
  }
}
