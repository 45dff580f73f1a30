/** What the backends of hypervisors that are controlled over HTTP have in common: how they are found, and what they are to the rest of vmtest. */
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { HostProcessError } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { agentDigest } from "../../transport/Shell.ts"
import { Backend, type BackendService } from "../Backend.ts"
import type { UnsuitableHypervisor } from "../BackendError.ts"
import { hostCpu, program as programFacts } from "./hostFacts.ts"
import { inNamespace } from "./vmmNetwork.ts"
import { savedFormat } from "./vmmSaved.ts"
import { refusedBy } from "./vmmShape.ts"

/** How to find and run the hypervisor. */
export interface VmmOptions {
  /** A path, or a name to look for on the PATH. Default: the hypervisor's name. */
  readonly program?: string | undefined
  /** The factor by which default deadlines are multiplied. Default 1. */
  readonly timeScale?: number | undefined
}

/** What was found of the hypervisor. */
export interface VmmFindings {
  /** Its full path. */
  readonly program: string
  /** Such as `1.16.1`. */
  readonly version: string
  readonly timeScale?: number | undefined
  /** Puts a program into the network namespace of its machine. Default: that of its VLANs, or a new one. */
  readonly inNamespace?: typeof inNamespace | undefined
}

/** What was found, defaults filled in. */
export interface VmmSettings {
  readonly program: string
  readonly version: string
  readonly timeScale: number
  /** Puts the program into its network namespace. */
  readonly inNamespace: typeof inNamespace
}

/** What is the hypervisor's own. */
interface Own extends Required<Pick<BackendService, "name" | "capabilities" | "saves">> {
  /** What facts call it: `Firecracker`. */
  readonly called: string
  readonly start: (settings: VmmSettings) => BackendService["start"]
}

/** The backend, with the hypervisor that was found. */
export const make = ({ called, capabilities, name, saves, start }: Own, findings: VmmFindings): BackendService => {
  const settings: VmmSettings = {
    program: findings.program,
    version: findings.version,
    timeScale: findings.timeScale ?? 1,
    inNamespace: findings.inNamespace ?? inNamespace
  }
  return {
    ...{ name, capabilities, saves, timeScale: settings.timeScale, taps: true },
    refuses: refusedBy(name, capabilities),
    start: start(settings),
    fingerprint: Effect.gen(function* () {
      return {
        hypervisor: `${called} ${settings.version}`,
        program: yield* programFacts(settings.program),
        cpu: yield* hostCpu,
        kernel: Os.release(),
        guest: agentDigest,
        format: `${savedFormat}`
      }
    })
  }
}

/** The backend of this host: finds the program and its version first. */
export const layer = (
  name: string,
  options: VmmOptions,
  versionOf: (program: string) => Effect.Effect<string, HostProcessError | UnsuitableHypervisor>,
  make: (findings: VmmFindings) => BackendService
): Layer.Layer<Backend, HostProcessError | UnsuitableHypervisor> =>
  Layer.effect(
    Backend,
    Effect.gen(function* () {
      // It runs in the folder of its machine.
      const program = Path.resolve(yield* HostProcess.locate(options.program ?? name))
      return make({ program, version: yield* versionOf(program), timeScale: options.timeScale })
    })
  )
