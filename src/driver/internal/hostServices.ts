/** The services of the host in one driver: their names, addresses and ports, and the cards that they are reached by. */
import * as Path from "node:path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as DynamicSupervisor from "../../actors/DynamicSupervisor.ts"
import * as Arguments from "../../guest/Arguments.ts"
import { InvalidArgument } from "../../guest/MachineError.ts"
import type * as Addresses from "../../network/Addresses.ts"
import * as FreeAddress from "../../network/FreeAddress.ts"
import * as HostCard from "../../network/HostCard.ts"
import * as Impairment from "../../network/Impairment.ts"
import * as IpAddress from "../../network/IpAddress.ts"
import * as NetworkSpec from "../../network/NetworkSpec.ts"
import type { Vlan } from "../../network/Vlan.ts"
import type { HostService, HostServiceError, HostServiceOptions, Serve } from "../HostService.ts"
import { linkParameters } from "../HostService.ts"

/** The addresses of a host. */
type Own = Addresses.Interface & { readonly ipv4: string }

/** A name on a network, with its addresses; it stays until the driver ends, as a machine does whose servers have ended. */
interface Host {
  readonly node: Addresses.AddressedNode
  readonly addresses: Own
  readonly card: HostCard.HostCard
  /** Those that are served, or about to be. */
  readonly ports: Set<number>
  readonly path: string
}

/** A name that a service had in a test whose machines were saved. */
export interface Former {
  readonly name: string
  readonly vlan: number
  /** With its prefix. */
  readonly ipv4: string
  /** With its prefix, or `"none"`. */
  readonly ipv6: string
  /** With another one, guests would send to this for a minute: they know their neighbours. */
  readonly mac?: string | undefined
}

/** A port that is served, as it was asked for: for forks of the test. */
interface Served {
  readonly options: HostServiceOptions<unknown>
  readonly vlan: number
  readonly context: Context.Context<never>
}

/** How long a new name waits for machines that do not answer. */
const namesWithin = "10 seconds"

/** Runs an effect with a scope that closes with another one, or at once if the effect does not succeed. */
const kept = <A, E, R>(
  outer: Scope.Scope,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<R, Scope.Scope>> =>
  Effect.flatMap(Scope.fork(outer), (scope) =>
    Effect.onExit(Scope.provide(effect, scope), (exit) =>
      Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit)
    )
  )

/** What services need of their driver. */
export interface Surroundings {
  readonly networks: ReadonlyArray<NetworkSpec.NetworkSpec> | undefined
  /** Names that were there when the test's machines were saved. */
  readonly former: ReadonlyArray<Former>
  /** The machines on the test's networks. */
  readonly machines: () => ReadonlyArray<Addresses.AddressedNode>
  readonly vlan: (vlan: number) => Effect.Effect<Vlan>
  readonly supervisor: DynamicSupervisor.DynamicSupervisorPid
  /** For sockets: a path of at most 90 bytes. */
  readonly directory: string
  /** Tells the running machines of a new name. */
  readonly refreshNames: Effect.Effect<void>
  readonly log: (line: string) => Effect.Effect<void>
  /** A service has ended for good while the test runs. */
  readonly onLost: (error: HostCard.HostServiceFailed) => Effect.Effect<void>
  /** Makes one machine or host at a time: each takes a name and addresses. */
  readonly alone: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** The services of a driver. */
export interface HostServices {
  readonly serve: Serve
  /** The hosts, as neighbours of the machines. */
  readonly nodes: () => ReadonlyArray<Addresses.AddressedNode>
  /** Gives names the addresses that they had, once they are served again. */
  readonly remember: (hosts: ReadonlyArray<Former>) => void
  /** The hosts, for those who serve their names again. */
  readonly former: () => ReadonlyArray<Former>
  /** The ports that are served now. */
  readonly served: () => ReadonlyArray<Served>
}

const formerOf = (name: string, { ipv4, ipv4Prefix, ipv6, ipv6Prefix, mac, vlan }: Own): Former => ({
  ...{ name, vlan, mac, ipv4: `${ipv4}/${ipv4Prefix}` },
  ipv6: ipv6 === undefined ? "none" : `${ipv6}/${ipv6Prefix}`
})

const refuse = (argument: string, value: string | number, reason: string) =>
  new InvalidArgument({ machine: "", method: "driver.hostService", argument, value, reason })

const linkOf = (name: string, { port }: HostCard.HostCard) =>
  Arguments.checked(
    name,
    linkParameters,
    {
      impair: (options: Impairment.ImpairmentOptions) =>
        Effect.suspend(() => port.impair(Result.getOrThrow(Impairment.fromOptions(options)))),
      heal: () => port.heal,
      counts: () => port.counts
    },
    "link()."
  )

export const make = Effect.fnUntraced(function* (surroundings: Surroundings) {
  const { alone, directory, former, log, machines, networks, onLost, refreshNames, supervisor, vlan } = surroundings
  const scope = yield* Effect.scope
  const hosts = new Map<string, Host>()
  const served = new Set<Served>()
  const nodes = () => [...hosts.values()].map(({ node }) => node)
  const remembered = [...former]

  /** The addresses that a new host has. */
  const addressesOf = (
    network: NetworkSpec.NetworkSpec,
    { ipv4, ipv6 }: HostServiceOptions<unknown, unknown>,
    mac: string | undefined
  ): Result.Result<Own, InvalidArgument> => {
    const parsed = (family: IpAddress.Family, text: string) => Result.getOrThrow(IpAddress.parse(family, text))
    const chosen = FreeAddress.choose({
      ...{ vlan: network.vlan, machines: machines(), others: nodes() },
      reserved: new Set(remembered.flatMap((host) => (host.mac === undefined ? [] : [host.mac]))),
      declared: {
        mac,
        ipv4: ipv4 === undefined ? undefined : parsed("ipv4", ipv4),
        ipv6: ipv6 === undefined || ipv6 === "none" ? ipv6 : parsed("ipv6", ipv6)
      }
    })
    return Result.mapBoth(chosen, {
      onFailure: ({ option, reason }) => refuse(option, (option === "ipv4" ? ipv4 : ipv6) ?? "", reason),
      onSuccess: (own) => ({
        ...{ device: "the card", vlan: network.vlan, network: network.name, mac: own.mac },
        ...{ ipv4: own.ipv4.address, ipv4Prefix: own.ipv4.prefix, ipv6: own.ipv6?.address },
        ipv6Prefix: own.ipv6?.prefix ?? IpAddress.defaultPrefix.ipv6
      })
    })
  }

  /** Whether an address is the one that a host has. */
  const isOwn = (family: IpAddress.Family, given: string, own: Own): boolean => {
    if (given === "none") return own[family] === undefined
    const parsed = IpAddress.parse(family, given)
    return Result.isSuccess(parsed) && parsed.success.address === own[family]
  }

  /** The host of a name on a network, which is made by the first use. */
  const hostOf = Effect.fnUntraced(function* (
    options: HostServiceOptions<unknown, unknown>,
    network: NetworkSpec.NetworkSpec
  ) {
    const { name } = options
    const twin = machines().find((machine) => machine.name.toLowerCase() === name.toLowerCase())
    if (twin !== undefined)
      return yield* refuse("name", name, `name must not be that of a machine, got ${JSON.stringify(name)}`)
    const key = `${name.toLowerCase()} ${network.vlan}`
    const known = hosts.get(key)
    if (known !== undefined) {
      for (const family of ["ipv4", "ipv6"] as const) {
        const given = options[family]
        if (given === undefined || isOwn(family, given, known.addresses)) continue
        const had = known.addresses[family] ?? '"none"'
        const reason = `${family} must be ${had}, which ${name} has had since its first service, got ${given}`
        return yield* refuse(family, given, reason)
      }
      return known
    }
    const had = remembered.find((one) => one.name.toLowerCase() === name.toLowerCase() && one.vlan === network.vlan)
    const wanted = { ...options, ipv4: options.ipv4 ?? had?.ipv4, ipv6: options.ipv6 ?? had?.ipv6 }
    const addresses = yield* Effect.fromResult(addressesOf(network, wanted, had?.mac))
    const path = Path.join(directory, `h${hosts.size + 1}`)
    const card = yield* kept(
      scope,
      HostCard.make({
        ...{ vlan: yield* vlan(network.vlan), name, mac: addresses.mac },
        ...{ ipv4: addresses.ipv4, prefix: addresses.ipv4Prefix, ipv6: addresses.ipv6, path, supervisor }
      })
    )
    const host: Host = {
      node: { name, number: 0, interfaces: [addresses] },
      addresses,
      card,
      path,
      ports: new Set()
    }
    hosts.set(key, host)
    // A guest that is paused, or hangs, learns the name when it goes on.
    const telling = yield* Effect.forkIn(refreshNames, scope)
    yield* Effect.timeoutOption(Fiber.join(telling), namesWithin)
    return host
  })

  const serveKept = Effect.fnUntraced(function* (
    options: HostServiceOptions<unknown, unknown>
  ): Effect.fn.Return<HostService, HostServiceError, Scope.Scope> {
    const { handler, name, network: which = networks?.[0]?.vlan ?? 1, port } = options
    const found = NetworkSpec.find(networks, which)
    if (Result.isFailure(found)) return yield* refuse("network", which, found.failure)
    const network = found.success
    const host = yield* alone(hostOf(options, network))
    if (host.ports.has(port)) {
      return yield* refuse("port", port, `port must be one that ${name} does not serve yet, got ${port}`)
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => host.ports.add(port)),
      () => Effect.sync(() => host.ports.delete(port))
    )
    const title = `host service ${name}:${port}`
    const { serve } = yield* Effect.promise(() => import("./serveHandler.ts"))
    const socket = `${host.path}-${port}.http`
    yield* serve(handler, socket, (line) => log(`${title}: ${line}`))
    yield* host.card.forward(port, socket, {
      onRestart: ({ message }) => log(`${message}; its connections are lost, and it is started again`),
      onLost
    })
    const entry: Served = {
      ...{ options: options as HostServiceOptions<unknown>, vlan: network.vlan },
      context: yield* Effect.context<never>()
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => served.add(entry)),
      () => Effect.sync(() => served.delete(entry))
    )
    const { ipv4, ipv6, mac } = host.addresses
    return {
      _tag: "HostService",
      name,
      port,
      vlan: network.vlan,
      ipv4,
      ipv6,
      mac,
      link: () => linkOf(name, host.card)
    } as const
  })

  /** One that did not start leaves nothing, and can be tried again. */
  const serve = (options: HostServiceOptions<unknown, unknown>) =>
    Effect.flatMap(Effect.scope, (outer) => kept(outer, serveKept(options)))

  return {
    serve,
    nodes,
    remember: (others: ReadonlyArray<Former>) => void remembered.push(...others),
    former: () => [...hosts.values()].map(({ addresses, node }) => formerOf(node.name, addresses)),
    served: () => [...served]
  } satisfies HostServices as HostServices
})

/** Starts the services of a test in its fork, with the addresses that the forked machines know them by. */
export const adopt = (from: HostServices, to: HostServices): Effect.Effect<void, HostServiceError, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    to.remember(from.former())
    yield* Effect.forEach(
      from.served(),
      ({ context, options }) => to.serve(options).pipe(Effect.provideContext(Context.add(context, Scope.Scope, scope))),
      { discard: true }
    )
  })
