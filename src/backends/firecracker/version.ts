/** The versions of Firecracker, and what is different between them. */
import * as Effect from "effect/Effect"
import type { HostProcessError } from "../../host/HostProcess.ts"
import { UnsuitableHypervisor } from "../BackendError.ts"
import * as ProgramVersion from "../internal/programVersion.ts"

/** The first that has virtio over PCI, and with it a Debian kernel's drivers in any initramfs. */
const least = "1.13.0"

/** Whether it loses vsock connections of the host after a pause without a snapshot; mended after 1.16.1. */
export const losesVsock = (version: string): boolean =>
  !ProgramVersion.isBefore(version, "1.16.0") && ProgramVersion.isBefore(version, "1.16.2")

/** The version of a program, such as `1.16.1`. */
export const versionOf = (program: string): Effect.Effect<string, HostProcessError | UnsuitableHypervisor> =>
  Effect.flatMap(ProgramVersion.ask(program, /^Firecracker v(\d+\.\d+\.\d+)/m), (version) =>
    ProgramVersion.isBefore(version, least)
      ? Effect.fail(
          new UnsuitableHypervisor({ program, reason: `Firecracker must be at least ${least}, got ${version}` })
        )
      : Effect.succeed(version)
  )
