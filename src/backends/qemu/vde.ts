/** Cards that plug into a VLAN through VDE: those of start scripts, and those of a QEMU without the `stream` back end. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { HostProcessError } from "../../host/HostProcess.ts"
import * as Vlan from "../../network/Vlan.ts"
import type { MachineShape } from "../Backend.ts"
import type { StartFailed } from "../BackendError.ts"

/** A card, and the folder of the `vde_switch` that leads to its port. */
export interface VdeCard {
  readonly device: string
  readonly vlan: number
  /** What `-netdev vde,sock=` takes. */
  readonly folder: string
}

/** The cards of a machine. One without other machines on its networks gets switches of its own. */
export const cardsOf = (
  shape: MachineShape,
  failed: (reason: string, output: string) => StartFailed
): Effect.Effect<ReadonlyArray<VdeCard>, StartFailed | HostProcessError, Scope.Scope> =>
  Effect.forEach(shape.networks, ({ device, port, vlan }) => {
    const alone = Effect.flatMap(Vlan.make({ vlan, directory: shape.directory }), ({ port }) => port(shape.name))
    return (port === undefined ? alone : Effect.succeed(port)).pipe(
      Effect.flatMap(({ vde }) => vde),
      Effect.map((folder): VdeCard => ({ device, vlan, folder })),
      Effect.mapError((error) => (error._tag === "VlanFailed" ? failed(error.message, error.output) : error))
    )
  })

/** QEMU has had `-netdev stream` since 7.2. */
export const isNeededBy = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major < 7 || (major === 7 && minor < 2)
}
