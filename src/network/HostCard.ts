/**
 * A card of the host's own on a VLAN, as if it were one more machine: guests reach its TCP ports, which lead to unix sockets.
 *
 * The TCP is QEMU's (libslirp), in a process without a machine for each port that is served: it has nothing but the one address and the one port, and
 * starts a small program for each connection. The card lets only TCP to and from its own addresses through, and answers ARP and neighbour solicitations itself, so neither the other
 * servers of QEMU's user network nor any port of the host can be reached from the VLAN. It refuses connections to ports that are not served.
 *
 * **Example** (Port 80 of 192.168.1.254)
 *
 * ```ts
 * const card = yield* HostCard.make({ vlan, name: "api", ipv4: "192.168.1.254", prefix: 24, mac: "52:54:00:12:01:fe", path: "/run/test/api", supervisor })
 * yield* card.forward(80, "/run/test/api-80.http", { onRestart, onLost })
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as DynamicSupervisor from "../actors/DynamicSupervisor.ts"
import * as Process from "../actors/Process.ts"
import * as Supervisor from "../actors/Supervisor.ts"
import * as HostProcess from "../host/HostProcess.ts"
import { qemuValue, quote } from "../host/Quote.ts"
import * as FrameSocket from "./internal/frameSocket.ts"
import { HostFrames } from "./internal/hostFrames.ts"
import * as Machineless from "./internal/machineless.ts"
import { relay } from "./internal/relay.ts"
import type { Port, Vlan, VlanFailed } from "./Vlan.ts"

/** A port could not be served; `output` is the end of what QEMU printed. */
export class HostServiceFailed extends Schema.TaggedError<HostServiceFailed>()("HostServiceFailed", {
  /** The name of the service. */
  service: Schema.String,
  port: Schema.Int,
  reason: Schema.String,
  output: Schema.String
}) {
  override get message() {
    return `host service ${this.service}:${this.port}: ${this.reason}${this.output === "" ? "" : `: ${this.output}`}`
  }
}

/** What a card is made of. */
export interface Options {
  readonly vlan: Vlan
  /** The name of its port on the VLAN. */
  readonly name: string
  readonly ipv4: string
  /** Bits of `ipv4`. */
  readonly prefix: number
  /** In its canonical spelling; none if it is undefined. */
  readonly ipv6?: string | undefined
  readonly mac: string
  /** What the paths of its sockets and logs begin with; at most 95 bytes. */
  readonly path: string
  /** Where its processes are children; it must not end before the scope closes. */
  readonly supervisor: DynamicSupervisor.DynamicSupervisorPid
}

/** Who hears what becomes of a port that is served. */
export interface Listeners {
  /** QEMU ended, and is started again: the connections of this port are reset. */
  readonly onRestart: (error: HostServiceFailed) => Effect.Effect<void>
  /** It ended too often, and is not started again. */
  readonly onLost: (error: HostServiceFailed) => Effect.Effect<void>
}

/** A card on a VLAN. */
export interface HostCard {
  readonly port: Port
  /** Which ports are served now. */
  readonly serves: (port: number) => boolean
  /** Connects a TCP port to a unix socket that listens, until the scope closes. */
  readonly forward: (
    port: number,
    socket: string,
    listeners: Listeners
  ) => Effect.Effect<void, HostProcess.HostProcessError | HostServiceFailed, Scope.Scope>
}

/** How long QEMU may take to start. */
const startWithin = Duration.seconds(20)

/** The program that QEMU starts for each connection. */
const relayName = "relay.pl"

/** How often to look whether it has connected. */
const untilConnected = Schedule.spaced("5 millis")

const numberOf = (ipv4: string) => Buffer.from(ipv4.split(".").map(Number)).readUInt32BE()

const textOf = (address: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(address >>> 0)
  return bytes.join(".")
}

/** QEMU's own addresses, which nobody ever sees, are others than the service's; more than 24 bits of a network have no room for them. */
const userNetwork = ({ ipv4, prefix }: Pick<Options, "ipv4" | "prefix">): string => {
  const bits = Math.min(prefix, 24)
  const network = Math.floor(numberOf(ipv4) / 2 ** (32 - bits)) * 2 ** (32 - bits)
  const [host, dns, dhcp] = [1, 2, 3, 4].map((one) => textOf(network + one)).filter((one) => one !== ipv4)
  return `net=${textOf(network)}/${bits},host=${host},dns=${dns},dhcpstart=${dhcp},restrict=on,ipv6=off`
}

const argumentsFor = (options: Options, port: number, command: string, frames: string): ReadonlyArray<string> =>
  Machineless.words(
    `user,${userNetwork(options)},guestfwd=tcp:${options.ipv4}:${port}-cmd:${qemuValue(command)}`,
    `stream,server=off,addr.type=unix,addr.path=${qemuValue(frames)}`
  )

/** What the ports of one card have in common. */
interface Shared {
  readonly options: Options
  readonly frames: HostFrames
  /** Sends a frame to the VLAN. */
  readonly send: (frame: Buffer) => void
  /** Who gets the frames for a port. */
  readonly servers: Map<number, (frame: Buffer) => void>
  /** What the paths of its files begin with. */
  readonly file: (suffix: string) => string
}

/** Resets the connections that a port had. */
const endConnections = ({ frames, send }: Shared, port: number) =>
  Effect.sync(() => {
    for (const frame of frames.end(port)) send(frame)
  })

const failedAt =
  ({ options }: Shared, port: number) =>
  (reason: string, output = "") =>
    new HostServiceFailed({ service: options.name, port, reason, output })

/** Runs the QEMU of a port until it ends. `ready` gets whether it started; later ends are for `onRestart`. */
const runStack = (
  shared: Shared,
  port: number,
  socket: string,
  ready: Deferred.Deferred<void, HostProcess.HostProcessError | HostServiceFailed>,
  connected: () => boolean,
  onRestart: Listeners["onRestart"]
) => {
  const failed = failedAt(shared, port)
  const [framesPath, log] = [shared.file(`${port}`), shared.file(`${port}.log`)]
  return Effect.gen(function* () {
    const perl = yield* HostProcess.locate("perl")
    const command = [perl, shared.file(relayName), socket].map(quote).join(" ")
    yield* Effect.sync(() => Fs.rmSync(log, { force: true }))
    const qemu = yield* HostProcess.spawn({
      ...{ name: `the network of ${shared.options.name}:${port}`, command: Machineless.program, grace: 0 },
      ...{ args: argumentsFor(shared.options, port, command, framesPath), stderr: { file: log } }
    })
    yield* Effect.sync(connected).pipe(
      Effect.repeat({ schedule: untilConnected, until: (there) => there || qemu.status() !== undefined }),
      Effect.timeoutOrElse({
        duration: startWithin,
        orElse: () =>
          Effect.fail(failed(`QEMU did not start within ${Duration.format(startWithin)}`, Machineless.endOf(log)))
      })
    )
    const isFirst = qemu.status() === undefined && (yield* Deferred.succeed(ready, undefined))
    const error = failed(`QEMU ended with ${HostProcess.describeStatus(yield* qemu.exited)}`, Machineless.endOf(log))
    yield* endConnections(shared, port)
    // Whoever wanted it gets the failure of a first start.
    if (!isFirst && (yield* Deferred.fail(ready, error))) return yield* Effect.never
    return yield* onRestart(error)
  }).pipe(
    Effect.scoped,
    Effect.catch((error) =>
      Effect.flatMap(Deferred.fail(ready, error), (isFirst) => (isFirst ? Effect.never : Effect.die(error)))
    )
  )
}

/** Connects a port to a unix socket until the scope closes; see `HostCard.forward`. */
const forward = Effect.fnUntraced(function* (
  shared: Shared,
  port: number,
  socket: string,
  { onLost, onRestart }: Listeners
) {
  const { frames, options, send, servers } = shared
  const { name, supervisor } = options
  const server = yield* FrameSocket.listen(shared.file(`${port}`), (frame) => {
    const { answer, out } = frames.send(frame)
    if (answer !== undefined) server.send(answer)
    if (out !== undefined) send(out)
  })
  const ready = Deferred.makeUnsafe<void, HostProcess.HostProcessError | HostServiceFailed>()
  const stack = runStack(shared, port, socket, ready, server.connected, onRestart)
  const { pid } = yield* Effect.acquireRelease(
    Effect.orDie(
      DynamicSupervisor.startChild(
        supervisor,
        Supervisor.supervisor(
          `${name}:${port}`,
          { intensity: 3, children: [Supervisor.child("stack", stack, { restart: "permanent" })] },
          { restart: "temporary" }
        )
      )
    ),
    ({ pid }) => (pid === undefined ? Effect.void : Effect.ignore(DynamicSupervisor.terminateChild(supervisor, pid)))
  )
  if (pid !== undefined) {
    const log = shared.file(`${port}.log`)
    yield* Process.awaitExit(pid).pipe(
      Effect.andThen(Effect.suspend(() => onLost(failedAt(shared, port)("QEMU kept ending", Machineless.endOf(log))))),
      Effect.forkScoped({ startImmediately: true })
    )
  }
  yield* Deferred.await(ready)
  yield* Effect.acquireRelease(
    Effect.sync(() => servers.set(port, server.send)),
    () =>
      Effect.andThen(
        Effect.sync(() => servers.delete(port)),
        endConnections(shared, port)
      )
  )
})

/** Plugs a card into a VLAN until the scope closes. */
export const make: (options: Options) => Effect.Effect<HostCard, VlanFailed, Scope.Scope> = Effect.fnUntraced(
  function* (options) {
    const { ipv4, ipv6, mac, name, path, vlan } = options
    const file = (suffix: string) => `${path}-${suffix}`
    const frames = new HostFrames(mac, ipv4, ipv6)
    const servers: Shared["servers"] = new Map()
    const serves = (port: number) => servers.has(port)
    const cable = yield* FrameSocket.listen(file("cable"), (frame) => {
      const received = frames.receive(frame, serves)
      if (received?._tag === "Reply") cable.send(received.frame)
      if (received?._tag !== "Serve") return
      const serve = servers.get(received.port)
      if (received.hello !== undefined) serve?.(received.hello)
      serve?.(received.frame)
    })
    const port = yield* vlan.port(name)
    yield* port.plugIn(file("cable"))
    yield* Effect.sync(() => Fs.writeFileSync(file(relayName), relay, { mode: 0o600 }))
    const shared: Shared = { options, frames, send: cable.send, servers, file }
    return {
      port,
      serves,
      forward: (number, socket, listeners) => forward(shared, number, socket, listeners)
    } satisfies HostCard
  }
)
