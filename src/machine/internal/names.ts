/** Names that lead elsewhere than to the machine that has them, whatever addresses vmtest writes into the guests' hosts files. */
import { isUint8Array } from "node:util/types"
import * as Disk from "../../host/Disk.ts"
import { type FileContent, type Image, startsItself } from "../../images/Image.ts"
import type { AddressedNode } from "../../network/Addresses.ts"
import * as IpAddress from "../../network/IpAddress.ts"

/** What programs read as an IPv4 address without looking it up: inet_aton(3) of libc, and the host parser of the URL standard. */
const number = /^(\d+|0x[\da-f]*)$/i

/** Names that hosts files, resolvers (nss-myhostname, RFC 6761) and programs (curl, browsers) keep for addresses of their own. */
const reserved: ReadonlySet<string> = new Set([
  ...["localhost", "localhost4", "localhost6", "localdomain", "localdomain4", "localdomain6", "broadcasthost"],
  ...["ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix"],
  ...["ip6-allnodes", "ip6-allrouters", "ip6-allhosts"]
])

/** Why a host name cannot be a machine's: what completes "name …"; undefined if it can. */
export const problemOf = (name: string): string | undefined => {
  const got = `got ${JSON.stringify(name)}`
  if (number.test(name)) return `must not be a number, which programs read as an address, ${got}`
  if (reserved.has(name.toLowerCase())) return `must not be one that systems reserve for themselves, ${got}`
  return undefined
}

/** A machine, its image, and the addresses that its name leads to. */
export interface Named {
  readonly image: Image
  readonly node: AddressedNode
}

const textOf = (file: FileContent): string | undefined => {
  if (typeof file === "string") return file
  if (isUint8Array(file)) return Buffer.from(file).toString("utf8")
  if (file.content !== undefined) return textOf(file.content)
  return file.source === undefined ? undefined : Disk.readText(file.source)
}

/** The hosts file that the description of an image brings along; one that cannot be read is the image's problem. */
const hostsOf = (image: Image): string => {
  if (image._tag === "DiskImage" || startsItself(image)) return ""
  const file = image.files?.["/etc/hosts"]
  return (file === undefined ? undefined : textOf(file)) ?? ""
}

/** The addresses and names of a hosts file; comments start with `#`. */
const entriesOf = (text: string): ReadonlyArray<{ readonly address: string; readonly names: ReadonlyArray<string> }> =>
  text.split("\n").flatMap((line) => {
    const [address, ...names] = line.replace(/#.*/, "").trim().split(/\s+/)
    return address === undefined || names.length === 0 ? [] : [{ address, names }]
  })

const addressesOf = ({ interfaces }: AddressedNode): ReadonlySet<string> => {
  const own = interfaces.flatMap(({ ipv4, ipv6 }) => [ipv4 ?? [], ipv6 ?? []].flat())
  return new Set(own.length === 0 ? ["127.0.0.2"] : own)
}

/** The first machine whose name the hosts file of an image gives to another address, and why it cannot have it. */
export const hostsProblemOf = (
  machines: ReadonlyArray<Named>
): { readonly machine: string; readonly reason: string } | undefined => {
  const known = new Map(machines.map(({ node }) => [node.name.toLowerCase(), node]))
  for (const { image, node: owner } of machines) {
    for (const { address, names } of entriesOf(hostsOf(image))) {
      const led = names.flatMap((name) => known.get(name.toLowerCase()) ?? [])
      const node = led.find((one) => !addressesOf(one).has(IpAddress.canonical(address)))
      if (node === undefined) continue
      const whose = owner.name === node.name ? "its image" : `the image of ${owner.name}`
      const line = `name must not be one that /etc/hosts of ${whose} gives to another address`
      return { machine: node.name, reason: `${line}, got ${JSON.stringify(node.name)}, which is ${address} there` }
    }
  }
  return undefined
}
