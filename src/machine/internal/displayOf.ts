/** Which display a machine's own methods use. */
import type { Display } from "./display.ts"
import type { Guest } from "./Guest.ts"
import * as HardwareDisplay from "./hardwareDisplay.ts"
import * as X11Display from "./x11Display.ts"

/** The hypervisor's where it has one, else the guest's first X display. */
export const displayOf = (guest: Guest): Display =>
  guest.backend.capabilities.has("screen") && guest.backend.capabilities.has("qmp")
    ? HardwareDisplay.make(guest)
    : X11Display.make(guest, ":0")
