/** What the firecracker backend can do. */
import type { Capability } from "../Backend.ts"

/**
 * The capabilities of this backend. `powerdown` is Ctrl-Alt-Del, which systemd takes for a reboot; that ends Firecracker. `links` are the TAP devices: the
 * guest's carrier stays. With Firecracker 1.16.0 and 1.16.1, `pause` stops the process, and the guest's clock goes on. A save ends the commands that run.
 */
export const capabilities: ReadonlySet<Capability> = new Set<Capability>([
  "consoleInput",
  "pause",
  "powerdown",
  "links",
  "snapshots",
  "vsock"
])
