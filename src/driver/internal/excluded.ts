/** How much of a machine's way to readiness its test does not count: waiting until it is at rest, and saving it for later runs. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { MachineEvent } from "../../guest/MachineEvent.ts"
import type { Options } from "./driverOptions.ts"

type Untimed = NonNullable<Options["untimed"]>

/** `untimed` for one machine, and its events with that time. */
export const make = (untimed: Untimed = (effect) => effect) => {
  let millis = 0
  const measured: Untimed = (effect) =>
    Effect.flatMap(Clock.currentTimeMillis, (began) =>
      Effect.ensuring(
        untimed(effect),
        Effect.map(Clock.currentTimeMillis, (now) => {
          millis += now - began
        })
      )
    )
  const noted = (event: MachineEvent): MachineEvent => {
    if (event._tag !== "MachineState") return event
    // What it waited for before it began to boot is no part of the boot.
    if (event.state === "booting") millis = 0
    return event.state === "ready" && millis > 0 ? { ...event, excludedMillis: millis } : event
  }
  return { untimed: measured, noted }
}
