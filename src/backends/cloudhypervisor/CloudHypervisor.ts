/**
 * The Cloud Hypervisor backend: machines of virtio devices alone, which keep running when their guest reboots.
 *
 * It needs KVM, Cloud Hypervisor 50 or later, and for machines on VLANs the fabric `"bridge"`. There is no display. Each fork has all of its memory for
 * itself.
 *
 * **Example** (Providing it to a driver)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { DriverLayer } from "vmtest"
 *
 * const driver = DriverLayer.make().pipe(Layer.provide(CloudHypervisor.layer({ program: "/usr/bin/cloud-hypervisor" })))
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { HostProcessError } from "../../host/HostProcess.ts"
import type { Backend, BackendService } from "../Backend.ts"
import type { UnsuitableHypervisor } from "../BackendError.ts"
import * as VmmBackend from "../internal/vmmBackend.ts"
import { capabilities, saves } from "./capabilities.ts"
import { versionOf } from "./version.ts"

export {
  /** The capabilities of this backend. */
  capabilities
} from "./capabilities.ts"

/** How to find and run Cloud Hypervisor. */
export interface CloudHypervisorOptions extends VmmBackend.VmmOptions {}

/** What was found of Cloud Hypervisor. */
export interface CloudHypervisorFindings extends VmmBackend.VmmFindings {}

/** The backend, with the Cloud Hypervisor that was found. */
export const make = (findings: CloudHypervisorFindings): BackendService =>
  VmmBackend.make(
    {
      ...{ name: "cloud-hypervisor", called: "Cloud Hypervisor", capabilities, saves },
      // Loaded with the first machine: scripts import the library, and most of them start none of these.
      start:
        (settings) =>
        (shape, { from } = {}) =>
          Effect.flatMap(
            Effect.promise(() => import("./machine.ts")),
            (machine) => machine.start(shape, settings, from)
          )
    },
    findings
  )

/** The backend of this host. Finds Cloud Hypervisor and its version first, so that a host without it fails with `ToolMissing` before anything starts. */
export const layer = (
  options: CloudHypervisorOptions = {}
): Layer.Layer<Backend, HostProcessError | UnsuitableHypervisor> =>
  VmmBackend.layer("cloud-hypervisor", options, versionOf, make)
