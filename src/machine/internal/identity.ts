/** What makes a booted guest the machine that the test declared: its name, its addresses, and the names of the others. */
import * as Addresses from "../../network/Addresses.ts"
import { quote } from "./Guest.ts"

/** A file at once: a here-document would end at a line of the content. */
const writeFile = (path: string, content: string) => `printf '%s' ${quote(content)} > ${path}`

/** Writes `/etc/hosts` alone, for when machines come later. */
export const hostsScript = (self: Addresses.AddressedNode, all: ReadonlyArray<Addresses.AddressedNode>): string =>
  writeFile("/etc/hosts", Addresses.hosts(all, self))

/**
 * One script for the whole identity; running it again changes nothing.
 *
 * The interfaces come up a moment after the guest's shell does. What `ip` cannot do is no failure yet: what counts is that the addresses
 * are there at the end.
 */
export const identityScript = (options: {
  readonly self: Addresses.AddressedNode
  readonly all: ReadonlyArray<Addresses.AddressedNode>
  readonly internet: boolean
}): string => {
  const { all, internet, self } = options
  const devices = self.interfaces.map(({ device }) => device).join(" ")
  const addresses = self.interfaces.map(({ ipv4 }) => ipv4).join(" ")
  const addresses6 = self.interfaces.map(({ ipv6 }) => ipv6).join(" ")
  return `set +eu
echo ${quote(self.name)} > /proc/sys/kernel/hostname
${writeFile("/etc/hostname", `${self.name}\n`)}
${hostsScript(self, all)}
${writeFile("/etc/resolv.conf", Addresses.resolvConf({ internet }))} 2>/dev/null
for device in eth0 ${devices}; do
  tries=0
  until [ -e /sys/class/net/$device ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "there is no network interface $device" >&2; exit 1; }
    sleep 0.05
  done
done
if [ -n "\${BASH_VERSION:-}" ]; then
  said=$(printf '%s' ${quote(Addresses.ipBatch(self, { internet }))} | ip -force -batch - 2>&1)
else
  said=$( { ${Addresses.ipCommands(self, { internet }).trim()}
  } 2>&1)
fi
here=$(ip addr show)
addresses=${quote(addresses)}
[ ! -e /proc/net/if_inet6 ] || addresses="$addresses ${addresses6}"
for address in $addresses; do
  case "$here" in
    *" $address/"*) ;;
    *) printf '%s\\n' "the address $address could not be set" "$said" >&2; exit 1 ;;
  esac
done
exit 0`
}
