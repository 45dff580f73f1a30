/**
 * The networks of a test: their declaration, and what it means.
 *
 * A test that declares no networks has 254 of them, the VLANs 1 to 254, and its machines are on VLAN 1. One that declares networks has only these,
 * each with a name and a VLAN's number, and its machines are on the first.
 *
 * **Example** (Two networks, and machines on them)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Image, test } from "vmtest"
 *
 * const image = Image.tiny()
 *
 * export default test(
 *   "a router",
 *   {
 *     networks: { lan: {}, dmz: { vlan: 7, mtu: 9000 } },
 *     machines: { client: { image }, router: { image, vlans: ["lan", "dmz"] } }
 *   },
 *   ({ client }) => Effect.asVoid(client.succeed("ping -c 1 router"))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Fields from "../host/Fields.ts"
import { near } from "../host/Spelling.ts"
import { maximum } from "./Addresses.ts"

/** Bytes of the longest packet of a network: what IPv4 needs at least, and what a virtio network card can be given at most. */
export const mtuBounds = { least: 68, most: 65521 } as const

/** The declaration of one network. */
export const Network = Schema.Struct({
  /** Its number, 1 to 254. Default: the lowest numbers that no other network has, in the order of the declaration. */
  vlan: Schema.optional(Fields.whole(1, maximum)),
  /**
   * Bytes of the longest IP packet that its machines can send, 68 to 65521: their cards have this MTU from the start. Below 1280 they have no
   * IPv6, which Linux refuses then. Default: 1500 bytes, which a guest may change.
   */
  mtu: Schema.optional(Fields.whole(mtuBounds.least, mtuBounds.most, "a whole number of bytes")),
  /**
   * Whether every frame reaches every card, as with a hub or a switch that mirrors all its ports. Default false: the switch learns which addresses
   * are where.
   */
  hub: Schema.Boolean.pipe(Schema.withDecodingDefault(Effect.succeed(false))),
  /**
   * What connects its machines: `"switch"` is a switch of vmtest's own that needs no rights on the host; `"bridge"` is a bridge of Linux in a network
   * namespace. Default: `"bridge"` if the hypervisor of one of its machines needs that, as Firecracker and Cloud Hypervisor do; else `"switch"`.
   */
  fabric: Schema.optional(Schema.Literals(["switch", "bridge"]).annotate({ expected: '"switch" or "bridge"' }))
}).annotate({
  expected: "an object { vlan?, mtu?, hub?, fabric? }",
  aliases: { id: "vlan", number: "vlan", tag: "vlan", type: "fabric", backend: "fabric", mirror: "hub" }
})

/** The declaration of one network. */
export interface NetworkOptions extends Schema.Codec.Encoded<typeof Network> {}

const isName = (name: string) => /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/i.test(name)

/** What is wrong with the networks of a test together. A text completes "networks …". */
const problemOf = (networks: Readonly<Record<string, typeof Network.Type>>) => {
  const names = Object.keys(networks)
  if (names.length > maximum) return `must be at most ${maximum}, got ${names.length}`
  const misnamed = names.find((name) => !isName(name) || /^\d+$/.test(name))
  if (misnamed !== undefined) {
    return `must have names of letters, digits and inner hyphens and underscores, at most 63 characters, and not only digits, got ${JSON.stringify(misnamed)}`
  }
  const seen = new Map<number, string>()
  for (const name of names) {
    const vlan = networks[name]?.vlan
    if (vlan === undefined) continue
    const twin = seen.get(vlan)
    if (twin !== undefined) {
      return {
        path: [name, "vlan"],
        issue: `must be a number that no other network has, got ${vlan}, which ${twin} has`
      }
    }
    seen.set(vlan, name)
  }
  return undefined
}

/** The networks of a test by name, at most 254. */
export const Networks = Schema.Record(Schema.String, Network)
  .check(Schema.makeFilter(problemOf))
  .annotate({ expected: "an object of names and networks, such as { lan: {}, dmz: { vlan: 7 } }" })

/** The networks of a test by name. */
export interface Networks extends Schema.Codec.Encoded<typeof Networks> {}

/** A network with its defaults filled in. */
export interface NetworkSpec {
  /** Undefined for a VLAN that no declaration names. */
  readonly name: string | undefined
  /** Its number, 1 to 254. */
  readonly vlan: number
  /** Bytes; undefined for 1500, which a guest may change. */
  readonly mtu: number | undefined
  /** Whether every frame reaches every card. */
  readonly hub: boolean
  /** Undefined for what the hypervisors of its machines need: a switch, where they can. */
  readonly fabric: "switch" | "bridge" | undefined
}

const decode = Schema.decodeUnknownResult(Networks)

/**
 * The networks that a test declares, in the order of their declaration, with their numbers; undefined if it declares none, so that all VLANs are
 * there. The declaration is one that {@link Networks} takes.
 */
export const resolve = (declared: Networks | undefined): ReadonlyArray<NetworkSpec> | undefined => {
  if (declared === undefined) return undefined
  const networks = Object.entries(Result.getOrThrow(decode(declared)))
  const taken = new Set(networks.map(([, { vlan }]) => vlan))
  const free = Array.from({ length: maximum }, (_, index) => index + 1).filter((vlan) => !taken.has(vlan))
  return networks.map(([name, { fabric, hub, mtu, vlan }]) => ({
    ...{ name, vlan: vlan ?? free.shift() ?? 0, mtu, hub, fabric }
  }))
}

/** What {@link resolve} gave, as a declaration again. */
export const declarationOf = (networks: ReadonlyArray<NetworkSpec>): typeof Networks.Type =>
  Object.fromEntries(networks.map(({ name, ...network }) => [name ?? `vlan${network.vlan}`, network]))

/** The network with a number: that of the declaration, or what a VLAN is that nobody declares. */
export const of = (networks: ReadonlyArray<NetworkSpec> | undefined, vlan: number): NetworkSpec =>
  networks?.find((network) => network.vlan === vlan) ?? {
    ...{ name: undefined, vlan, mtu: undefined, hub: false, fabric: undefined }
  }

/** How many networks an error names. */
const mostListed = 20

const listed = (networks: ReadonlyArray<NetworkSpec>) =>
  networks.length === 0
    ? "the test declares none"
    : `the networks are ${networks
        .slice(0, mostListed)
        .map(({ name, vlan }) => `${name} (${vlan})`)
        .join(", ")}${networks.length > mostListed ? ", …" : ""}`

/** The network that a name or a number means. The failure is a sentence: `unknown network "lna"; did you mean "lan"?`. */
export const find = (
  networks: ReadonlyArray<NetworkSpec> | undefined,
  which: number | string
): Result.Result<NetworkSpec, string> => {
  if (networks === undefined && typeof which === "number") {
    return Number.isInteger(which) && which >= 1 && which <= maximum
      ? Result.succeed(of(undefined, which))
      : Result.fail(`a VLAN must be a whole number from 1 to ${maximum}, got ${which}`)
  }
  const found = networks?.find(({ name, vlan }) => which === name || which === vlan)
  if (found !== undefined) return Result.succeed(found)
  const unknown = `unknown network ${JSON.stringify(which)}`
  if (networks === undefined) {
    return Result.fail(`${unknown}; the test must declare it: networks: { ${JSON.stringify(which)}: {} }`)
  }
  const names = networks.flatMap(({ name }) => name ?? [])
  const meant = typeof which === "string" ? near(which, names) : undefined
  return Result.fail(`${unknown}; ${meant === undefined ? listed(networks) : `did you mean ${JSON.stringify(meant)}?`}`)
}
