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
import * as Os from "node:os"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { HostProcessError } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { agentDigest } from "../../transport/Shell.ts"
import { Backend, type BackendService } from "../Backend.ts"
import type { UnsuitableHypervisor } from "../BackendError.ts"
import { hostCpu, program as programFacts } from "../internal/hostFacts.ts"
import { inNamespace } from "../internal/vmmNetwork.ts"
import { savedFormat } from "../internal/vmmSaved.ts"
import { refusedBy } from "../internal/vmmShape.ts"
import { capabilities, saves } from "./capabilities.ts"
import type * as Machine from "./machine.ts"
import { versionOf } from "./version.ts"

export {
  /** The capabilities of this backend. */
  capabilities
} from "./capabilities.ts"

/** How to find and run Cloud Hypervisor. */
export interface CloudHypervisorOptions {
  /** A path, or a name to look for on the PATH. Default `cloud-hypervisor`. */
  readonly program?: string | undefined
  /** The factor by which default deadlines are multiplied. Default 1. */
  readonly timeScale?: number | undefined
}

/** What was found of Cloud Hypervisor. */
export interface CloudHypervisorFindings {
  /** Its full path. */
  readonly program: string
  /** Such as `53.0`. */
  readonly version: string
  readonly timeScale?: number | undefined
  /** Puts a program into the network namespace of its machine. Default: that of its VLANs, or a new one. */
  readonly inNamespace?: typeof inNamespace | undefined
}

/** The backend, with the Cloud Hypervisor that was found. */
export const make = (findings: CloudHypervisorFindings): BackendService => {
  const settings: Machine.Settings = {
    program: findings.program,
    timeScale: findings.timeScale ?? 1,
    inNamespace: findings.inNamespace ?? inNamespace
  }
  return {
    name: "cloud-hypervisor",
    capabilities,
    timeScale: settings.timeScale,
    taps: true,
    saves,
    refuses: refusedBy("cloud-hypervisor", capabilities),
    // Loaded with the first machine: scripts import the library, and most of them start none of these.
    start: (shape, { from } = {}) =>
      Effect.flatMap(
        Effect.promise(() => import("./machine.ts")),
        (machine) => machine.start(shape, settings, from)
      ),
    fingerprint: Effect.gen(function* () {
      return {
        hypervisor: `Cloud Hypervisor ${findings.version}`,
        program: yield* programFacts(settings.program),
        cpu: yield* hostCpu,
        kernel: Os.release(),
        guest: agentDigest,
        format: `${savedFormat}`
      }
    })
  }
}

/** The backend of this host. Finds Cloud Hypervisor and its version first, so that a host without it fails with `ToolMissing` before anything starts. */
export const layer = (
  options: CloudHypervisorOptions = {}
): Layer.Layer<Backend, HostProcessError | UnsuitableHypervisor> =>
  Layer.effect(
    Backend,
    Effect.gen(function* () {
      const program = yield* HostProcess.locate(options.program ?? "cloud-hypervisor")
      return make({ program, version: yield* versionOf(program), timeScale: options.timeScale })
    })
  )
