/** The hypervisor's display, keyboard and pointer, used through QMP. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { isTagged } from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import { unsupported } from "../../backends/BackendError.ts"
import type { Guest } from "../../guest/Guest.ts"
import { HostFileError } from "../../guest/HostFile.ts"
import type { QmpService } from "../../transport/qmp/Qmp.ts"
import { type Button, type Display, DisplayUnavailable, type InputError, type Touch } from "../Display.ts"
import { fromPpm } from "./frame.ts"
import { type } from "./ps2.ts"

/** QEMU's axes go from 0 to this, whatever the display's size (INPUT_EVENT_ABS_MAX). */
const axisEnd = 0x7fff

const axis = (name: "x" | "y", pixel: number, size: number) => ({
  type: "abs",
  data: { axis: name, value: Math.round((pixel / Math.max(1, size - 1)) * axisEnd) }
})

const eventsOf = (touch: Touch): ReadonlyArray<unknown> =>
  touch._tag === "Move"
    ? [axis("x", touch.to.x, touch.screen.width), axis("y", touch.to.y, touch.screen.height)]
    : [{ type: "btn", data: { down: touch._tag === "Press", button: touch.button } }]

/** The time between two actions of the pointer, so that a guest that polls misses none. */
const touchDelay = "20 millis"

/** How a look whose connection broke is repeated: after 20 ms, for at most 10 seconds. */
export const captureSchedule = Schedule.spaced("20 millis").pipe(Schedule.upTo({ duration: "10 seconds" }))

export const make = (guest: Guest): Display => {
  let captures = 0
  const onControl = <A, E>(
    use: (control: QmpService, directory: string) => Effect.Effect<A, E>
  ): Effect.Effect<A, E | InputError> =>
    Effect.flatMap(
      Effect.zip(guest.control, guest.hypervisor),
      ([{ qmp }, { directory }]): Effect.Effect<A, E | InputError> =>
        qmp === undefined ? Effect.fail(unsupported(guest.backend.name, "qmp")) : use(qmp, directory)
    )
  return {
    name: "the screen",
    capture: onControl((control, directory) => {
      const filename = Path.join(directory, `screen-${captures++}.ppm`)
      return Effect.gen(function* () {
        yield* control.execute("screendump", { filename })
        const bytes = yield* Effect.mapError(
          guest.fs.readFile(filename),
          ({ message }) => new HostFileError({ machine: guest.name, path: filename, reason: `is missing: ${message}` })
        )
        const frame = fromPpm(bytes)
        if (frame !== undefined) return frame
        return yield* new DisplayUnavailable({
          machine: guest.name,
          reason: "the display has no picture yet",
          passing: true
        })
      }).pipe(Effect.ensuring(Effect.ignore(guest.fs.remove(filename, { force: true }))))
    }).pipe(
      // A look changes nothing: one that lost its connection is repeated on the next.
      Effect.retry({ schedule: captureSchedule, while: isTagged("TransportError") })
    ),
    press: (combinations, delay) => onControl((control) => type(guest, control, combinations, delay)),
    touch: (touches) =>
      onControl((control) => {
        let down: Button | undefined
        const send = (touch: Touch) => {
          if (touch._tag !== "Move") down = touch._tag === "Press" ? touch.button : undefined
          return control.execute("input-send-event", { events: eventsOf(touch) })
        }
        return Effect.forEach(touches, (touch) => Effect.andThen(send(touch), Effect.sleep(touchDelay)), {
          discard: true
        }).pipe(
          // Releases the button, or the guest would take the next click for the end of this one.
          Effect.onError(() =>
            down === undefined ? Effect.void : Effect.ignore(send({ _tag: "Release", button: down }))
          )
        )
      })
  }
}
