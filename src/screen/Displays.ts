/**
 * The displays of a guest. One call at a time uses a keyboard or pointer, so that two never mix.
 *
 * **Example** (Two displays)
 *
 * ```ts
 * const { own, x11 } = Displays.make(guest)
 * const second = x11(":1")
 * ```
 *
 * @since 0.1.0
 */
import * as Semaphore from "effect/Semaphore"
import type { Guest } from "../guest/Guest.ts"
import type { Display } from "./Display.ts"
import * as HardwareDisplay from "./internal/hardwareDisplay.ts"
import * as X11Display from "./internal/x11Display.ts"

/** The displays of a guest. */
export interface Displays {
  /** The display of the machine's own methods: the hypervisor's if it has one, else the guest's first X display. */
  readonly own: Display
  readonly x11: (display: string) => Display
}

const exclusively = (display: Display, input: Semaphore.Semaphore): Display => {
  const { press, touch } = display
  return {
    ...display,
    press: (combinations, delay) => input.withPermits(1)(press(combinations, delay)),
    touch: (touches) => input.withPermits(1)(touch(touches))
  }
}

/** The displays of a guest. */
export const make = (guest: Guest): Displays => {
  /** One for each X server: its screens (`:1.0`, `:1.1`) share a keyboard. */
  const inputs = new Map<string, Semaphore.Semaphore>()
  const x11 = (display: string): Display => {
    const server = display.replace(/\.\d+$/, "")
    const input = inputs.get(server) ?? Semaphore.makeUnsafe(1)
    inputs.set(server, input)
    return exclusively(X11Display.make(guest, display), input)
  }
  const hardware = guest.backend.capabilities.has("screen") && guest.backend.capabilities.has("qmp")
  return { own: hardware ? exclusively(HardwareDisplay.make(guest), Semaphore.makeUnsafe(1)) : x11(":0"), x11 }
}
