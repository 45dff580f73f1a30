/** What the cloud-hypervisor backend can do. */
import type { Capability } from "../Backend.ts"
import type { HypervisorOptions } from "../HypervisorOptions.ts"

/** The capabilities of this backend. `links` are the TAP devices: the guest's carrier stays. */
export const capabilities: ReadonlySet<Capability> = new Set<Capability>([
  "screen",
  "keyboard",
  "mouse",
  "consoleInput",
  "pause",
  "reset",
  "powerdown",
  "reboot",
  "links",
  "snapshots",
  "vsock",
  "hugePages",
  "balloon",
  "shares",
  "hvc0"
])

/** Whether a machine with these options can be saved: what virtiofsd has open cannot. */
export const saves = ({ shares = {} }: HypervisorOptions): boolean => Object.keys(shares).length === 0
