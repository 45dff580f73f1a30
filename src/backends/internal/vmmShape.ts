/** What a machine cannot be on a hypervisor that boots a kernel directly and has virtio devices only. */
import type { MachineShape } from "../Backend.ts"
import { InvalidShape, type Unsupported, unsupported } from "../BackendError.ts"
import { findInvalid } from "./shapeCheck.ts"
import { findWrongCard } from "./vmmNetwork.ts"

/** The first part of a shape that the backend cannot have. `sockets` are the paths of the machine's unix sockets. */
export const findRefused = (
  shape: MachineShape,
  backend: string,
  sockets: ReadonlyArray<string>
): InvalidShape | Unsupported | undefined => {
  const { devices = [], forwards, hotplug = false, image, internet, qemuArguments = [] } = shape
  const invalid = (field: string, reason: string) => new InvalidShape({ machine: shape.name, field, reason })
  if (image.startScript !== undefined) {
    return invalid("image", `is a start script, which starts its own hypervisor; use the qemu backend`)
  }
  if (image.kernel === "" || image.disk !== undefined) {
    return invalid("image", `must have a kernel to boot; the ${backend} backend does not boot from a disk's firmware`)
  }
  if (devices.length > 0) return invalid("devices", `must be empty; the ${backend} backend has disks and cards only`)
  if (qemuArguments.length > 0)
    return invalid("qemuArguments", `must be empty; the ${backend} backend does not run QEMU`)
  if (hotplug) return unsupported(backend, "hotplug")
  if (forwards.length > 0) return unsupported(backend, "forwards")
  if (internet) return invalid("internet", `must be false; the ${backend} backend has no way out of the host`)
  return findWrongCard(shape, backend) ?? findInvalid(shape, sockets)
}
