/**
 * A card of the host's own on a VLAN, as if it were one more machine: guests reach its TCP ports, which lead to unix sockets.
 *
 * The TCP is QEMU's (libslirp), in a process without a machine for each port that is served: it has nothing but the one address and the one port, and
 * starts a small program for each connection. The card lets only TCP to and from its own address through, and answers ARP itself, so neither the other
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
import * as Net from "node:net"
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
import { quote } from "../host/Quote.ts"
import { headerSize, Joiner, withHeader } from "./internal/frames.ts"
import { HostFrames } from "./internal/hostFrames.ts"
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
  /** Bits. */
  readonly prefix: number
  readonly mac: string
  /** What the paths of its sockets and logs begin with; at most 95 bytes. */
  readonly path: string
  /** Where its processes are children; it must not end before the scope closes. */
  readonly supervisor: DynamicSupervisor.DynamicSupervisorPid
}

/** What is told of a port that is served. */
export interface Told {
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
    told: Told
  ) => Effect.Effect<void, HostProcess.HostProcessError | HostServiceFailed, Scope.Scope>
}

/** How long QEMU may take to start. */
const startWithin = Duration.seconds(20)

/** How often to look whether it has connected. */
const untilConnected = Schedule.spaced("5 millis")

/** Bytes that wait for a process that does not read; then frames are lost, which TCP sends again. */
const mostQueued = 1024 * 1024

/** A unix socket at which one peer at a time sends and receives frames. */
const listen = (
  path: string,
  onFrame: (frame: Buffer) => void
): Effect.Effect<{ readonly send: (frame: Buffer) => void; readonly connected: () => boolean }, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: Net.Server; peer: Net.Socket | undefined }>((resume) => {
        const server = Net.createServer((peer) => {
          all.peer?.destroy()
          all.peer = peer
          const joiner = new Joiner()
          peer.on("error", () => {})
          peer.on("close", () => {
            if (all.peer === peer) all.peer = undefined
          })
          peer.on("data", (chunk) => {
            const frames = joiner.push(chunk)
            if (typeof frames === "string") return peer.destroy()
            for (let at = 0; at < frames.length; ) {
              const end = at + headerSize + frames.readUInt32BE(at)
              onFrame(frames.subarray(at + headerSize, end))
              at = end
            }
            return undefined
          })
        })
        const all: { readonly server: Net.Server; peer: Net.Socket | undefined } = { server, peer: undefined }
        server.on("error", (error) => resume(Effect.die(error)))
        server.listen(path, () => resume(Effect.succeed(all)))
      }),
      (all) =>
        Effect.sync(() => {
          all.server.close()
          all.peer?.destroy()
        })
    ),
    (all) => ({
      connected: () => all.peer !== undefined,
      send: (frame) => {
        if (all.peer !== undefined && all.peer.writableLength <= mostQueued) all.peer.write(withHeader(frame))
      }
    })
  )

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

/** In an option of QEMU's, a comma is two. */
const escaped = (value: string) => value.replaceAll(",", ",,")

const argumentsFor = (options: Options, port: number, command: string, frames: string): ReadonlyArray<string> => [
  ...["-M", "none", "-nodefaults", "-display", "none", "-netdev"],
  `user,id=user,${userNetwork(options)},guestfwd=tcp:${options.ipv4}:${port}-cmd:${escaped(command)}`,
  ...["-netdev", `stream,id=vlan,server=off,addr.type=unix,addr.path=${escaped(frames)}`],
  ...["-netdev", "hubport,id=hub1,hubid=1,netdev=user", "-netdev", "hubport,id=hub2,hubid=1,netdev=vlan"]
]

const endOf = (file: string): string =>
  Fs.existsSync(file)
    ? Fs.readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => !line.includes("with no nics"))
        .join("\n")
        .slice(-1000)
        .trim()
    : ""

/** Plugs a card into a VLAN until the scope closes. */
export const make: (options: Options) => Effect.Effect<HostCard, VlanFailed, Scope.Scope> = Effect.fnUntraced(
  function* (options) {
    const { ipv4, mac, name, path, supervisor, vlan } = options
    const file = (suffix: string) => `${path}-${suffix}`
    const frames = new HostFrames(mac, ipv4)
    const servers = new Map<number, (frame: Buffer) => void>()
    const serves = (port: number) => servers.has(port)
    const cablePath = file("cable")
    const cable = yield* listen(cablePath, (frame) => {
      const received = frames.receive(frame, serves)
      if (received?._tag === "Reply") cable.send(received.frame)
      if (received?._tag !== "Serve") return
      const serve = servers.get(received.port)
      if (received.hello !== undefined) serve?.(received.hello)
      serve?.(frame)
    })
    const port = yield* vlan.port(name)
    yield* port.plugIn(cablePath)
    /** Resets the connections that a port had. */
    const endConnections = (number: number) => frames.end(number).forEach(cable.send)
    const relayPath = file("relay.pl")
    yield* Effect.sync(() => Fs.writeFileSync(relayPath, relay, { mode: 0o600 }))

    const forward: HostCard["forward"] = Effect.fnUntraced(function* (number, socket, { onLost, onRestart }) {
      const failed = (reason: string, output = "") =>
        new HostServiceFailed({ service: name, port: number, reason, output })
      const perl = yield* HostProcess.locate("perl")
      const [framesPath, log] = [file(`${number}`), file(`${number}.log`)]
      const server = yield* listen(framesPath, (frame) => {
        const { answer, out } = frames.send(frame)
        if (answer !== undefined) server.send(answer)
        if (out !== undefined) cable.send(out)
      })
      const ready = Deferred.makeUnsafe<void, HostProcess.HostProcessError | HostServiceFailed>()
      const command = [perl, relayPath, socket].map(quote).join(" ")
      const stack = Effect.gen(function* () {
        yield* Effect.sync(() => Fs.rmSync(log, { force: true }))
        const qemu = yield* HostProcess.spawn({
          ...{ name: `the network of ${name}:${number}`, command: "qemu-system-x86_64", grace: 0 },
          ...{ args: argumentsFor(options, number, command, framesPath), stderr: { file: log } }
        })
        yield* Effect.sync(server.connected).pipe(
          Effect.repeat({ schedule: untilConnected, until: (there) => there || qemu.status() !== undefined }),
          Effect.timeoutOrElse({
            duration: startWithin,
            orElse: () => Effect.fail(failed(`QEMU did not start within ${Duration.format(startWithin)}`, endOf(log)))
          })
        )
        const isFirst = qemu.status() === undefined && (yield* Deferred.succeed(ready, undefined))
        const error = failed(`QEMU ended with ${HostProcess.describeStatus(yield* qemu.exited)}`, endOf(log))
        endConnections(number)
        // A first start that failed is told to whoever wanted it.
        if (!isFirst && (yield* Deferred.fail(ready, error))) return yield* Effect.never
        return yield* onRestart(error)
      }).pipe(
        Effect.scoped,
        Effect.catch((error) =>
          Effect.flatMap(Deferred.fail(ready, error), (isFirst) => (isFirst ? Effect.never : Effect.die(error)))
        )
      )
      const { pid } = yield* Effect.acquireRelease(
        Effect.orDie(
          DynamicSupervisor.startChild(
            supervisor,
            Supervisor.supervisor(
              `${name}:${number}`,
              { intensity: 3, children: [Supervisor.child("stack", stack, { restart: "permanent" })] },
              { restart: "temporary" }
            )
          )
        ),
        ({ pid }) =>
          pid === undefined ? Effect.void : Effect.ignore(DynamicSupervisor.terminateChild(supervisor, pid))
      )
      if (pid !== undefined) {
        yield* Process.awaitExit(pid).pipe(
          Effect.andThen(Effect.suspend(() => onLost(failed("QEMU kept ending", endOf(log))))),
          Effect.forkScoped({ startImmediately: true })
        )
      }
      yield* Deferred.await(ready)
      yield* Effect.acquireRelease(
        Effect.sync(() => servers.set(number, server.send)),
        () =>
          Effect.sync(() => {
            servers.delete(number)
            endConnections(number)
          })
      )
    })
    return { port, serves, forward }
  }
)
