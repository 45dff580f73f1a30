/** The versions of Cloud Hypervisor. */
import * as Effect from "effect/Effect"
import type { HostProcessError } from "../../host/HostProcess.ts"
import { UnsuitableHypervisor } from "../BackendError.ts"
import * as ProgramVersion from "../internal/programVersion.ts"

/** Older ones lose what the guest says before its serial socket is connected. */
const least = "50"

/** The version of a program, such as `53.0`. */
export const versionOf = (program: string): Effect.Effect<string, HostProcessError | UnsuitableHypervisor> =>
  Effect.flatMap(ProgramVersion.ask(program, /^cloud-hypervisor v(\d+(?:\.\d+)*)/m), (version) =>
    ProgramVersion.isBefore(version, least)
      ? Effect.fail(
          new UnsuitableHypervisor({ program, reason: `Cloud Hypervisor must be at least ${least}, got ${version}` })
        )
      : Effect.succeed(version)
  )
