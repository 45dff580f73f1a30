/** How cards come to a bridge that do not open a TAP by themselves: what plugs in by a socket, and what only knows VDE. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Evidence from "../../host/Evidence.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { qemuValue } from "../../host/Quote.ts"
import * as Commands from "./bridgeCommands.ts"
import * as Cable from "./cable.ts"
import * as Machineless from "./machineless.ts"
import type { Namespace } from "./namespace.ts"

/** Why something was not plugged in. */
export interface NotPlugged {
  readonly reason: string
  readonly output: string
}

/** How long a program may take to be ready. */
const readyWithin = Duration.seconds(10)
const untilReady = Schedule.spaced("5 millis")

/**
 * A QEMU that carries frames of any size between a TAP and a socket. It listens at `path`, and tells of the connection on its standard output: until then it
 * drops frames.
 */
export const carrierOf = (
  namespace: Pick<Namespace, "helper">,
  bridge: string,
  path: string
): ReadonlyArray<string> => [
  ...Machineless.words(
    `tap,helper=${qemuValue(namespace.helper(bridge))}`,
    `stream,server=on,addr.type=unix,addr.path=${qemuValue(path)}`
  ),
  ...["-qmp", "stdio"]
]

/** Connects to a carrier, which has taken the connection then. It tells of that only those who have asked before. */
const connectTo = Effect.fnUntraced(function* (carrier: HostProcess.HostProcess, path: string) {
  const asked = Deferred.makeUnsafe<void>()
  const taken = Deferred.makeUnsafe<void>()
  yield* carrier.stdout.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((line) => {
      if (line.includes('"return"')) return Deferred.succeed(asked, undefined)
      return line.includes("NETDEV_STREAM_CONNECTED") ? Deferred.succeed(taken, undefined) : Effect.void
    }),
    Effect.ignore,
    Effect.forkScoped({ startImmediately: true })
  )
  yield* Effect.ignore(carrier.write('{"execute":"qmp_capabilities"}\n'))
  yield* Deferred.await(asked)
  const socket = yield* Cable.connect(path)
  yield* Deferred.await(taken)
  return socket
})

/**
 * Carries frames between a card that listens at `card` and a port, until the card is gone. Fails if the carrier ends before. `connected` is run when both
 * are connected.
 */
export const carry = Effect.fnUntraced(function* (
  namespace: Namespace,
  port: { readonly name: string; readonly bridge: string; readonly directory: string },
  card: string,
  connected: Effect.Effect<unknown>
) {
  const path = Path.join(port.directory, port.bridge)
  Fs.rmSync(path, { force: true })
  const log = `${path}.log`
  const carrier = yield* HostProcess.spawn({
    ...{ name: `${port.name}'s way to its TAP`, command: Machineless.program },
    ...{ args: carrierOf(namespace, port.bridge, path), stdin: "pipe", stdout: "pipe" },
    ...{ stderr: { file: log }, grace: 0 }
  })
  // It drops what it cannot pass on, so the card is connected first.
  const connecting = Effect.gen(function* () {
    const far = yield* Cable.connect(card)
    return [yield* connectTo(carrier, path), far] as const
  })
  const ended = Effect.flatMap(carrier.exited, (status) =>
    Effect.fail<NotPlugged>({
      reason: `the QEMU that leads ${port.name} to its TAP ended with ${HostProcess.describeStatus(status)}`,
      output: Machineless.endOf(log)
    })
  )
  const [near, far] = yield* Effect.raceFirst(connecting, ended)
  yield* connected
  const unplugged = Effect.callback<void>((resume) => {
    const done = () => resume(Effect.void)
    far.on("error", done).on("close", done)
    // The end of the carrier says more.
    near.on("error", () => {})
    // Both have the same frames.
    near.pipe(far, { end: false })
    far.pipe(near)
  })
  yield* Effect.raceFirst(unplugged, ended)
})

/** A `vde_switch` on a port. It ends with the scope. `folder` is what `-netdev vde,sock=` takes. */
export const vde = Effect.fnUntraced(function* (
  namespace: Namespace,
  devices: Commands.Devices,
  folder: string
): Effect.fn.Return<HostProcess.HostProcess, HostProcess.HostProcessError | NotPlugged, Scope.Scope> {
  const log = { file: `${folder}.log` }
  const command = yield* HostProcess.locate("vde_switch")
  yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true })))
  // vde_switch would make it, but only after it has begun to listen.
  yield* Effect.mapError(
    namespace.run(Commands.makeTap(devices, devices.vde)),
    ({ output }): NotPlugged => ({ reason: "the TAP of vde_switch was not made", output })
  )
  const process = yield* HostProcess.spawn({
    name: "vde_switch",
    ...namespace.inside({ command, args: ["--sock", folder, "--dirmode", "0700", "--hub", "-tap", devices.vde] }),
    ...{ cwd: Path.dirname(folder), stdin: "pipe", stdout: log, stderr: log, grace: "500 millis", wholeGroup: true }
  })
  yield* Effect.sync(() => Fs.existsSync(Path.join(folder, "ctl"))).pipe(
    Effect.repeat({ schedule: untilReady, until: (ready) => ready || process.status() !== undefined }),
    Effect.timeoutOrElse({
      duration: readyWithin,
      orElse: () =>
        Effect.fail<NotPlugged>({
          reason: `vde_switch did not listen within ${Duration.format(readyWithin)}`,
          output: Evidence.endOf(log.file)
        })
    })
  )
  return process
})
