/** The cards of a machine whose hypervisor opens TAP devices by their names, and the network namespace that it runs in. */
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import type { Tap, VlanFailed } from "../../network/Vlan.ts"
import type { MachineShape } from "../Backend.ts"
import { InvalidShape } from "../BackendError.ts"

/** A card, with the TAP device that it is connected to. */
export interface VmmCard {
  /** The interface in the guest. */
  readonly device: string
  readonly mac: string
  readonly mtu?: number | undefined
  /** The name of its TAP device. One that is not there is made by the hypervisor, and goes with it. */
  readonly tapName: string
  /** Its place on a VLAN; undefined for a card that is connected to nothing. */
  readonly tap: Tap | undefined
}

interface Program {
  readonly command: string
  readonly args: ReadonlyArray<string>
}

/** All machines have the same, since nothing is connected to it. */
const eth0Mac = "52:54:00:12:00:01"

/** A name that no other machine has. The kernel takes 15 characters. */
const ownTap = (directory: string, index: number): string => `vt${Digest.of(directory).slice(0, 10)}${index}`

/** The first card that cannot be had. */
export const findWrongCard = ({ name, networks }: MachineShape, backend: string): InvalidShape | undefined => {
  const wrong = networks.find(({ port }) => port !== undefined && port.tap === undefined)
  return wrong === undefined
    ? undefined
    : new InvalidShape({
        machine: name,
        field: "networks",
        reason: `must be on the fabric "bridge", because the ${backend} backend connects to TAP devices; ${wrong.device} has none`
      })
}

/** The cards, in the order of the guest's interfaces: eth0, which leads nowhere, and those on VLANs. */
export const cardsOf = ({ directory, networks }: MachineShape): Effect.Effect<ReadonlyArray<VmmCard>, VlanFailed> =>
  Effect.map(
    Effect.forEach(networks, ({ device, mac, mtu, port }, index) =>
      Effect.map(port?.tap?.device ?? Effect.succeed(ownTap(directory, index + 1)), (tapName) => ({
        ...{ device, mac, mtu, tapName },
        tap: port?.tap
      }))
    ),
    (cards) => [{ device: "eth0", mac: eth0Mac, tapName: ownTap(directory, 0), tap: undefined }, ...cards]
  )

/**
 * The same program in the namespace of its VLANs. A machine without VLANs gets one of its own, so that the TAP device of its eth0 is nowhere on the host and
 * needs no root.
 */
export const inNamespace = ({ networks }: Pick<MachineShape, "networks">, program: Program): Program => {
  const tap = networks.find(({ port }) => port?.tap !== undefined)?.port?.tap
  if (tap !== undefined) return tap.inside(program)
  const user = process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"]
  return { command: "unshare", args: [...user, "--net", "--", program.command, ...program.args] }
}
