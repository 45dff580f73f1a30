/**
 * The Firecracker backend: machines of virtio devices alone, whose forks share their memory.
 *
 * It needs KVM, Firecracker 1.13 or later, and for machines on VLANs the fabric `"bridge"`. There is no display, and a guest that reboots ends its machine.
 *
 * **Example** (Providing it to a driver)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { DriverLayer } from "vmtest"
 *
 * const driver = DriverLayer.make().pipe(Layer.provide(Firecracker.layer({ program: "/usr/bin/firecracker" })))
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

interface Jailer {
  /** Firecracker's jailer, for machines that declare `jailer`: a path, or a name to look for on the PATH. Default: `jailer`. */
  readonly jailer?: string | undefined
}

/** How to find and run Firecracker. */
export interface FirecrackerOptions extends VmmBackend.VmmOptions, Jailer {}

/** What was found of Firecracker. */
export interface FirecrackerFindings extends VmmBackend.VmmFindings, Jailer {}

/** The backend, with the Firecracker that was found. */
export const make = ({ jailer = "jailer", ...findings }: FirecrackerFindings): BackendService => ({
  ...VmmBackend.make(
    {
      ...{ name: "firecracker", called: "Firecracker", capabilities, saves },
      // Loaded with the first machine: scripts import the library, and most of them start none of these.
      start:
        (settings) =>
        (shape, { from } = {}) =>
          Effect.flatMap(
            Effect.promise(() => import("./machine.ts")),
            (machine) => machine.start(shape, { ...settings, jailer }, from)
          )
    },
    findings
  ),
  requires: (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./jail.ts")),
      (Jail) => (Jail.ownerOf(options) === undefined ? Effect.void : Effect.asVoid(Jail.find(jailer, findings.version)))
    )
})

/** The backend of this host. Finds Firecracker and its version first, so that a host without it fails with `ToolMissing` before anything starts. */
export const layer = (
  options: FirecrackerOptions = {}
): Layer.Layer<Backend, HostProcessError | UnsuitableHypervisor> =>
  VmmBackend.layer("firecracker", options, versionOf, (findings) => make({ ...findings, jailer: options.jailer }))
