/** How much the networks of a driver carry, for reports. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as NetworkSpec from "../../network/NetworkSpec.ts"
import type { Vlan } from "../../network/Vlan.ts"
import { Detailed, type RunEvent } from "../RunEvent.ts"
import type { Options } from "./driverOptions.ts"

/** How often what a network carried is reported, while it carries something. */
const period = 250

/** Counts the frames of a VLAN. Not of a bridge of Linux, where every look at a frame costs a program more. */
export const count =
  ({ networks, test }: Options, emit: (event: RunEvent) => Effect.Effect<void>) =>
  (vlan: Vlan): Effect.Effect<void, never, Scope.Scope> =>
    Effect.gen(function* () {
      const { fabric, name } = NetworkSpec.of(networks, vlan.number)
      if (fabric === "bridge" || !(yield* Detailed)) return
      const network = name ?? `vlan${vlan.number}`
      let packets = 0
      let bytes = 0
      const tell = Effect.suspend(() => {
        if (packets === 0) return Effect.void
        const event: RunEvent = { _tag: "Traffic", test, network, packets, bytes, millis: period }
        packets = 0
        bytes = 0
        return emit(event)
      })
      yield* vlan.watch({
        see: ({ frame }) => {
          packets += 1
          bytes += frame.length
        },
        onEnd: () => Effect.void,
        onDropped: () => Effect.void
      })
      yield* Effect.sleep(period).pipe(Effect.andThen(tell), Effect.forever, Effect.forkScoped)
      yield* Effect.addFinalizer(() => tell)
    }).pipe(Effect.ignore)
