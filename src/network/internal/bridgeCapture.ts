/** A `tcpdump` at a port, which sees what its card sends, after the port's own impairments. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as HostProcess from "../../host/HostProcess.ts"
import type { Packet } from "../Capture.ts"
import { FabricUnavailable } from "../Vlan.ts"
import * as Commands from "./bridgeCommands.ts"
import type { Namespace } from "./namespace.ts"
import { PcapReader } from "./pcap.ts"

/** The program, or why there is none. */
export const tcpdump: Effect.Effect<string, FabricUnavailable> = Effect.mapError(
  HostProcess.locate("tcpdump"),
  () =>
    new FabricUnavailable({
      doing: "capture packets",
      reason: "tcpdump is not installed",
      advice: "run apt-get install tcpdump"
    })
)

/** How long to wait until it listens. */
const readyWithin = Duration.seconds(5)

/** What was sent shortly before the end is still on its way through the kernel and two programs. */
const settle = Effect.provideService(Effect.sleep("100 millis"), Clock.Clock, Clock.Clock.defaultValue())

/** Where to listen, and who hears of it. */
export interface Options {
  readonly command: string
  readonly namespace: Pick<Namespace, "inside">
  readonly devices: Commands.Devices
  readonly from: string
  readonly see: (packet: Packet) => void
}

/** Listens at a port until the scope closes; returns when it does. */
export const start = Effect.fnUntraced(function* ({ command, devices, from, namespace, see }: Options) {
  const listening = Deferred.makeUnsafe<void>()
  const { stderr, stdout } = yield* HostProcess.spawn({
    ...{ name: `the capture of ${from}`, stdout: "pipe", stderr: "pipe", grace: 0, wholeGroup: true },
    ...namespace.inside({ command, args: Commands.tcpdumpOf(devices) })
  })
  const reader = new PcapReader()
  const seeing = Stream.runForEach(stdout, (chunk) =>
    Effect.sync(() => {
      for (const { frame, time } of reader.push(Buffer.from(chunk))) see({ time, from, fate: "passed", frame })
    })
  )
  // "listening on v1p1o, …" is its first line, or the reason why it ends.
  const hearing = Stream.runForEach(stderr, () => Deferred.succeed(listening, undefined))
  yield* Effect.forkScoped(Effect.ignore(Effect.all([seeing, hearing], { concurrency: 2 })), { startImmediately: true })
  yield* Effect.addFinalizer(() => settle)
  yield* Effect.timeoutOption(Deferred.await(listening), readyWithin)
})
