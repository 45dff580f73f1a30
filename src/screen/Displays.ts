/** The displays of a guest, whose keys and pointers are used by one call at a time: as by one person, or what two type would mix. */
import * as Semaphore from "effect/Semaphore"
import type { Guest } from "../guest/Guest.ts"
import type { Display } from "./Display.ts"
import * as HardwareDisplay from "./internal/hardwareDisplay.ts"
import * as X11Display from "./internal/x11Display.ts"

export interface Displays {
  /** The one that a machine's own methods use: the hypervisor's where it has one, else the guest's first X display. */
  readonly own: Display
  readonly x11: (display: string) => Display
}

const inHand = (display: Display, hand: Semaphore.Semaphore): Display => ({
  ...display,
  press: (combinations, delay) => hand.withPermits(1)(display.press(combinations, delay)),
  touch: (touches) => hand.withPermits(1)(display.touch(touches))
})

export const make = (guest: Guest): Displays => {
  /** By the number of the X server: its screens (`:1.0`, `:1.1`) have one keyboard. */
  const hands = new Map<string, Semaphore.Semaphore>()
  const x11 = (display: string): Display => {
    const server = display.replace(/\.\d+$/, "")
    const hand = hands.get(server) ?? Semaphore.makeUnsafe(1)
    hands.set(server, hand)
    return inHand(X11Display.make(guest, display), hand)
  }
  const hardware = guest.backend.capabilities.has("screen") && guest.backend.capabilities.has("qmp")
  return { own: hardware ? inHand(HardwareDisplay.make(guest), Semaphore.makeUnsafe(1)) : x11(":0"), x11 }
}
