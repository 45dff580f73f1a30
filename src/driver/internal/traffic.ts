/** How much the networks of a driver carry, for reports. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Packet } from "../../network/Capture.ts"
import * as NetworkSpec from "../../network/NetworkSpec.ts"
import type { Vlan } from "../../network/Vlan.ts"
import { Detailed, type RunEvent } from "../RunEvent.ts"
import type { Options } from "./driverOptions.ts"

/** How often what a network carried is reported, while it carries something. */
const period = 250

type Counted = Pick<Options, "networks" | "test">

/** Takes the packets of a VLAN, and reports how many there were until the scope closes; undefined if no report wants that. */
export const meter = Effect.fnUntraced(function* (
  { networks, test }: Counted,
  emit: (event: RunEvent) => Effect.Effect<void>,
  { number }: Vlan
) {
  if (!(yield* Detailed)) return undefined
  const network = NetworkSpec.of(networks, number).name ?? `vlan${number}`
  let packets = 0
  let bytes = 0
  const tell = Effect.suspend(() => {
    if (packets === 0) return Effect.void
    const event: RunEvent = { _tag: "Traffic", test, network, packets, bytes, millis: period }
    packets = 0
    bytes = 0
    return emit(event)
  })
  yield* Effect.sleep(period).pipe(Effect.andThen(tell), Effect.forever, Effect.forkScoped)
  yield* Effect.addFinalizer(() => tell)
  return ({ frame }: Pick<Packet, "frame">): void => {
    packets += 1
    bytes += frame.length
  }
})

/** Counts the frames of a VLAN. Not of a bridge of Linux, where every look at a frame costs a program more, unless it is captured: see `Captures`. */
export const count =
  (options: Counted, emit: (event: RunEvent) => Effect.Effect<void>) =>
  (vlan: Vlan): Effect.Effect<void, never, Scope.Scope> =>
    Effect.gen(function* () {
      if (NetworkSpec.of(options.networks, vlan.number).fabric === "bridge") return
      const see = yield* meter(options, emit, vlan)
      if (see !== undefined) yield* vlan.watch({ see, onEnd: () => Effect.void, onDropped: () => Effect.void })
    }).pipe(Effect.ignore)
