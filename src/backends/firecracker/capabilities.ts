/** What the firecracker backend can do. */
import type { Capability } from "../Backend.ts"
import type { HypervisorOptions } from "../HypervisorOptions.ts"

/**
 * The capabilities of this backend. `powerdown` is Ctrl-Alt-Del, which systemd takes for a reboot; that ends Firecracker. `links` are the TAP devices: the
 * guest's carrier stays. With Firecracker 1.16.0 and 1.16.1, `pause` stops the process, and the guest's clock goes on. A save ends the commands that run, and a machine in huge pages cannot be saved, because
 * it could only be loaded with a handler of page faults.
 */
export const capabilities: ReadonlySet<Capability> = new Set<Capability>([
  "screen",
  "keyboard",
  "mouse",
  "consoleInput",
  "pause",
  "powerdown",
  "links",
  "snapshots",
  "vsock",
  "hugePages",
  "balloon",
  "jailer"
])

/** Whether a machine with these options can be saved. */
export const saves = ({ hugePages = false }: HypervisorOptions): boolean => !hugePages
