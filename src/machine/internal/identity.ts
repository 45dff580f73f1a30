/** What makes a booted guest the machine that the test declared: its name, its addresses, and the names of the others. */
import { quote } from "./Guest.ts"

/** One machine's addresses on one VLAN, and the guest's interface there. */
export interface Interface {
  readonly device: string
  readonly vlan: number
  /** Without prefix length; the prefixes are /24 and /64. */
  readonly ipv4: string
  readonly ipv6: string
}

/** A machine as its peers see it. */
export interface Peer {
  readonly name: string
  readonly interfaces: ReadonlyArray<Interface>
}

/** The lines of `/etc/hosts`: a peer is reached on the first VLAN that both are on. */
export const hostsFile = (self: Peer, peers: ReadonlyArray<Peer>): string => {
  const shared = (peer: Peer) =>
    peer.interfaces.find(({ vlan }) => self.interfaces.some((mine) => mine.vlan === vlan)) ?? peer.interfaces[0]
  const lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
  for (const peer of [self, ...peers.filter(({ name }) => name !== self.name)]) {
    const at = shared(peer)
    if (at !== undefined) lines.push(`${at.ipv4} ${peer.name}`, `${at.ipv6} ${peer.name}`)
    else if (peer === self) lines.push(`127.0.1.1 ${peer.name}`)
  }
  return `${lines.join("\n")}\n`
}

const writeFile = (path: string, content: string) => `printf '%s' ${quote(content)} > ${path}`

/** Writes `/etc/hosts` alone, for when machines come later. */
export const hostsScript = (self: Peer, peers: ReadonlyArray<Peer>): string =>
  writeFile("/etc/hosts", hostsFile(self, peers))

/**
 * The user network of eth0 as QEMU lays it out: the guest is 10.0.2.15, the host's side 10.0.2.2, its name server 10.0.2.3.
 */
const userNetwork = (internet: boolean): Array<string> => [
  "addr add 10.0.2.15/24 dev eth0",
  "link set eth0 up",
  ...(internet ? ["route add default via 10.0.2.2"] : [])
]

/**
 * One script for the whole identity; running it again changes nothing.
 *
 * Duplicate address detection would keep the IPv6 addresses unusable for a second, and on a network of ours it has nothing to find.
 */
export const identityScript = (options: {
  readonly self: Peer
  readonly peers: ReadonlyArray<Peer>
  readonly internet: boolean
}): string => {
  const { internet, peers, self } = options
  const commands = [
    "link set lo up",
    ...self.interfaces.flatMap(({ device, ipv4, ipv6 }) => [
      `addr add ${ipv4}/24 dev ${device}`,
      `addr add ${ipv6}/64 dev ${device}`,
      `link set ${device} up`
    ])
  ]
  const batch = (lines: ReadonlyArray<string>) =>
    `if [ -n "\${BASH_VERSION:-}" ]; then ip -force -batch - <<'END' || true
${lines.join("\n")}
END
else
${lines.map((line) => `ip ${line} || true`).join("\n")}
fi 2>/dev/null`
  const devices = self.interfaces.map(({ device }) => device)
  return `set +eu
echo ${quote(self.name)} > /proc/sys/kernel/hostname
${writeFile("/etc/hostname", `${self.name}\n`)}
${hostsScript(self, peers)}
for device in ${devices.join(" ")}; do
  tries=0
  until [ -e /sys/class/net/$device ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "no network interface $device" >&2; exit 1; }
    sleep 0.05
  done
  [ ! -e /proc/sys/net/ipv6/conf/$device/accept_dad ] || echo 0 > /proc/sys/net/ipv6/conf/$device/accept_dad
done
${batch(commands)}
if [ -e /sys/class/net/eth0 ]; then
${batch(userNetwork(internet))}
${internet ? writeFile("/etc/resolv.conf", "nameserver 10.0.2.3\n") : ":"}
fi
exit 0`
}
