/**
 * A network of a test: what can go wrong between its machines, and what they send.
 *
 * **Example** (A partition that heals)
 *
 * ```ts
 * const network = driver.network(1)
 * yield* Effect.scoped(
 *   Effect.gen(function* () {
 *     yield* network.partition([a, b], [c])
 *     yield* a.succeed("etcdctl put key value")
 *   })
 * )
 * yield* c.waitUntilSucceeds("etcdctl get key | grep value")
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Arguments from "../guest/Arguments.ts"
import { InvalidArgument } from "../guest/MachineError.ts"
import * as Decode from "../host/Decode.ts"
import type { Machine } from "../machine/Machine.ts"
import type { CaptureFailed, Packet } from "../network/Capture.ts"
import type { FabricUnavailable, Vlan } from "../network/Vlan.ts"
import type { HostService } from "./HostService.ts"

/** The machines and services of the host that stay together in a partition. */
export type Side = Member | ReadonlyArray<Member>

/** One of a side. */
type Member = Machine | HostService

/** What concerns all machines of a network. */
export interface Network {
  /**
   * Separates machines, and services of the host, until the scope closes: at the end of the test, or of the part of it in `Effect.scoped`. Those of one side reach each other, and
   * the machines that are on no side reach all. With one side, its machines are separated from all others. Their cards keep their carriers, and nothing
   * tells a guest that its packets are lost.
   */
  readonly partition: (
    ...sides: ReadonlyArray<Side>
  ) => Effect.Effect<void, FabricUnavailable | InvalidArgument, Scope.Scope>
  /** Takes back all partitions of the network, and all impairments of its links. */
  readonly heal: () => Effect.Effect<void, InvalidArgument>
  /**
   * Every packet from now on, when its sender has sent it, before impairments and partitions. What is not read yet is kept in memory.
   */
  readonly capture: Stream.Stream<Packet, CaptureFailed | FabricUnavailable | InvalidArgument>
}

/** What its methods take; the machines are looked at when they are used. */
export const parameters = Arguments.of<Network>({
  partition: Arguments.takes({}),
  heal: Arguments.takes({})
})

/** The number of a network, or the name that the test's `networks` give it. */
export const Reference = Schema.Union([Schema.Number, Schema.String]).annotate({
  expected: "the number or the name of a network"
})

/** What a network needs of its driver. */
export interface Surroundings {
  /** The network, if a machine of the test is on it. */
  readonly vlan: Effect.Effect<Vlan, InvalidArgument>
  /** Its name or number, as the test says it. */
  readonly network: number | string
  /** Whether a machine or a service of this name is on it. */
  readonly isMember: (name: string) => boolean
}

const refuse = (reason: string) =>
  new InvalidArgument({ machine: "", method: "driver.network().partition", argument: "sides", value: "", reason })

/** `a, [b, c]` */
const shown = (side: unknown): string => {
  if (Array.isArray(side)) return `[${side.map(shown).join(", ")}]`
  return Predicate.hasProperty(side, "name") && typeof side.name === "string" ? side.name : Decode.shown(side)
}

/** The methods of a network. */
export const make = ({ isMember, network, vlan }: Surroundings): Network => ({
  partition: (...sides) =>
    Effect.gen(function* () {
      const groups = sides.map((side): ReadonlyArray<Member> => (Array.isArray(side) ? side : [side as Member]))
      const names = groups.flatMap((group) => group.map((machine) => machine?.name))
      const isMachines = names.every((name) => typeof name === "string")
      if (groups.length === 0 || groups.some(({ length }) => length === 0) || !isMachines) {
        return yield* refuse(
          `sides must be machines or host services, or arrays of at least one of them, got ${sides.length === 0 ? "none" : sides.map(shown).join(", ")}`
        )
      }
      const twice = names.find((name, index) => names.indexOf(name) !== index)
      if (twice !== undefined)
        return yield* refuse(`a machine or host service must be on one side only, got ${twice} twice`)
      const { partition } = yield* vlan
      const stranger = names.find((name) => !isMember(name))
      if (stranger !== undefined) return yield* refuse(`${stranger} is not on network ${JSON.stringify(network)}`)
      yield* partition(groups.map((group) => group.map(({ name }) => name)))
    }),
  heal: () => Effect.flatMap(vlan, ({ heal }) => heal),
  capture: Stream.unwrap(Effect.map(vlan, ({ capture }) => capture))
})
