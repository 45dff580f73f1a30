/** Capturing the networks of a driver to files. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Capture from "../../network/Capture.ts"
import * as NetworkSpec from "../../network/NetworkSpec.ts"
import type { Vlan } from "../../network/Vlan.ts"
import type { RunEvent } from "../RunEvent.ts"
import type { Options } from "./driverOptions.ts"
import * as Traffic from "./traffic.ts"

type Captured = Pick<Options, "capture" | "fork" | "networks" | "output" | "test">

/** The file of a network: `lan.pcapng`, or `vlan1.pcapng` for one without a name; `lan-fork1.pcapng` in the first fork. */
export const fileName = ({ fork = "", networks }: Pick<Options, "fork" | "networks">, vlan: number): string =>
  `${NetworkSpec.of(networks, vlan).name ?? `vlan${vlan}`}${fork}.pcapng`

/** Captures a VLAN to its file, if the driver captures. What goes wrong is in the report, and fails nothing. */
export const toFiles =
  (options: Captured, emit: (event: RunEvent) => Effect.Effect<void>) =>
  (vlan: Vlan): Effect.Effect<void, never, Scope.Scope> => {
    if (options.capture !== true) return Effect.void
    const { fork, networks, output, test } = options
    const log = (line: string) => emit({ _tag: "Log", test, line })
    const { fabric, name = `VLAN ${vlan.number}` } = NetworkSpec.of(networks, vlan.number)
    const title = `${name} of the test ${JSON.stringify(test)}${fork === undefined ? "" : ` (${fork.slice(1)})`}`
    const file = fileName(options, vlan.number)
    const problem = (sentence: string) => log(`${file}: ${sentence}`)
    return Capture.file({ output, name: file, title }, log).pipe(
      Effect.flatMap(({ write }) =>
        Effect.gen(function* () {
          // Of a bridge, whose packets are here anyway: a look of its own would cost another program for each port.
          const count = fabric === "bridge" ? yield* Traffic.meter(options, emit, vlan) : undefined
          const see: typeof write = (packet) => {
            write(packet)
            count?.(packet)
          }
          yield* vlan.watch({ see, onEnd: ({ message }) => problem(message), onDropped: problem })
        })
      ),
      Effect.mapError((error) => (typeof error === "string" ? error : error.message)),
      Effect.catch(log)
    )
  }
