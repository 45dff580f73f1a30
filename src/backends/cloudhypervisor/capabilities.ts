/** What the cloud-hypervisor backend can do. */
import type { Capability } from "../Backend.ts"

/** The capabilities of this backend. `links` are the TAP devices: the guest's carrier stays. */
export const capabilities: ReadonlySet<Capability> = new Set<Capability>([
  "consoleInput",
  "pause",
  "reset",
  "powerdown",
  "reboot",
  "links",
  "snapshots",
  "vsock"
])
