/** What a machine cannot be on a hypervisor that boots a kernel directly and has virtio devices only. */
import type { Capability, Declared, MachineShape, Refused } from "../Backend.ts"
import { InvalidShape, type Unsupported, unsupported } from "../BackendError.ts"
import { findInvalid } from "./shapeCheck.ts"
import { findWrongCard } from "./vmmNetwork.ts"

/** What is wrong with the first part of a declaration that the backend cannot have, whatever the image and the networks. */
const findWrong = (declared: Declared, backend: string, capabilities: ReadonlySet<Capability>) => {
  const { allowReboot, devices = [], forwards, hotplug = false, internet, name, qemuArguments = [] } = declared
  const invalid = (field: string, reason: string) => new InvalidShape({ machine: name, field, reason })
  if (devices.length > 0) return invalid("devices", `must be empty; the ${backend} backend has disks and cards only`)
  if (qemuArguments.length > 0)
    return invalid("qemuArguments", `must be empty; the ${backend} backend does not run QEMU`)
  if (hotplug) return unsupported(backend, "hotplug")
  if (forwards.length > 0) return unsupported(backend, "forwards")
  if (internet) return invalid("internet", `must be false; the ${backend} backend has no way out of the host`)
  return allowReboot && !capabilities.has("reboot") ? unsupported(backend, "reboot") : undefined
}

/** The fields of declarations that ask for a capability. */
const fieldOf: Readonly<Record<string, string>> = { reboot: "allowReboot" }

/** What of a declaration the backend cannot have. */
export const refusedBy =
  (backend: string, capabilities: ReadonlySet<Capability>) =>
  (declared: Declared): Refused | undefined => {
    const wrong = findWrong(declared, backend, capabilities)
    if (wrong === undefined) return undefined
    if (wrong._tag === "InvalidShape") return { field: wrong.field, reason: `${wrong.field} ${wrong.reason}` }
    const field = fieldOf[wrong.capability] ?? wrong.capability
    return { field, reason: `${field} must not be declared: ${wrong.message}` }
  }

/** The first part of a shape that the backend cannot have. `sockets` are the paths of the machine's unix sockets. */
export const findRefused = (
  shape: MachineShape,
  backend: string,
  capabilities: ReadonlySet<Capability>,
  sockets: ReadonlyArray<string>
): InvalidShape | Unsupported | undefined => {
  const { image } = shape
  const invalid = (field: string, reason: string) => new InvalidShape({ machine: shape.name, field, reason })
  if (image.startScript !== undefined) {
    return invalid("image", `is a start script, which starts its own hypervisor; use the qemu backend`)
  }
  if (image.kernel === "" || image.disk !== undefined) {
    return invalid("image", `must have a kernel to boot; the ${backend} backend does not boot from a disk's firmware`)
  }
  return findWrong(shape, backend, capabilities) ?? findWrongCard(shape, backend) ?? findInvalid(shape, sockets)
}
