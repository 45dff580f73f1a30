/** What makes a guest the machine that the test declared: its name, its addresses, and the names of the others. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import { quote } from "../../host/Quote.ts"
import * as Addresses from "../../network/Addresses.ts"
import type { KeyboardLayout } from "../../screen/KeyboardLayout.ts"
import type { CommandResult } from "../../transport/Shell.ts"
import * as Keyboard from "./keyboard.ts"
import * as renew from "./renew.ts"

/** A file at once: a here-document would end at a line of the content. */
const writeFile = (path: string, content: string) => `printf '%s' ${quote(content)} > ${path}`

const [hostsBegin, hostsEnd] = ["# vmtest: the machines of this test", "# vmtest: end"]

/**
 * Writes `/etc/hosts` alone, for when machines come later. The names of machines are a block, at the top unless it is there already; the other
 * lines are the image's or the test's, and stay. The shell does it itself: a process would take longer.
 */
const writeHosts = (file: string, self: Addresses.AddressedNode, all: ReadonlyArray<Addresses.AddressedNode>): string =>
  `vm_nl='
' vm_ours=${quote(`${hostsBegin}\n${Addresses.hosts(all, self)}${hostsEnd}\n`)} vm_above= vm_below= vm_at=above
[ ! -r ${file} ] || while IFS= read -r vm_line || [ -n "$vm_line" ]; do
  case $vm_at:$vm_line in
  *:${quote(hostsBegin)}) vm_at=within ;;
  *:${quote(hostsEnd)}) vm_at=below ;;
  within:*) ;;
  *)
    case "$vm_nl$vm_ours" in
    *"$vm_nl$vm_line$vm_nl"*) ;;
    *) [ $vm_at = above ] && vm_above="$vm_above$vm_line$vm_nl" || vm_below="$vm_below$vm_line$vm_nl" ;;
    esac ;;
  esac
done <${file}
[ $vm_at != above ] || { vm_below=$vm_above; vm_above=; }
printf '%s' "$vm_above$vm_ours$vm_below" >${file}`

/** {@link writeHosts} for a guest that runs. */
export const hostsScript = (self: Addresses.AddressedNode, all: ReadonlyArray<Addresses.AddressedNode>): string =>
  writeHosts("/etc/hosts", self, all)

interface Identity {
  readonly self: Addresses.AddressedNode
  readonly all: ReadonlyArray<Addresses.AddressedNode>
  readonly internet: boolean
}

/** What only the initramfs sets. */
interface Early extends Identity {
  /** Undefined leaves the guest its own. */
  readonly keyboardLayout: KeyboardLayout | undefined
}

/** Where a guest keeps which identity it was given last; gone when it boots. */
const mark = "/run/vmtest-identity"

const digest = ({ internet, self }: Identity): string => Digest.ofValue([self, internet]).slice(0, 32)

/** The exit code of a script that leaves the network to {@link networkScript}. */
const withoutNetwork = 98

/** Names; and whether the guest has these addresses already, which one that continues from a saved one may. */
const nameScript = (identity: Identity): string => {
  const { all, internet, self } = identity
  return `echo ${quote(self.name)} > /proc/sys/kernel/hostname
${writeFile("/etc/hostname", `${self.name}\n`)}
${hostsScript(self, all)}
${writeFile("/etc/resolv.conf", Addresses.resolvConf({ internet }))} 2>/dev/null
vm_was=
[ ! -e ${mark} ] || read -r vm_was <${mark}
`
}

/**
 * The addresses. The interfaces come up a moment after the guest's shell does. What `ip` cannot do is no failure yet: what counts is that the
 * addresses are there at the end.
 */
const networkScript = (identity: Identity): string => {
  const { internet, self } = identity
  const devices = self.interfaces.map(({ device }) => device).join(" ")
  const addresses = self.interfaces.flatMap(({ ipv4 }) => ipv4 ?? []).join(" ")
  const addresses6 = self.interfaces.flatMap(({ ipv6 }) => ipv6 ?? []).join(" ")
  const cards = self.interfaces.map(
    ({ device, mac }) => `read -r vm_mac </sys/class/net/${device}/address
[ "$vm_mac" = ${mac} ] || vm_first="\${vm_first}link set dev ${device} address ${mac}$vm_nl"`
  )
  return `for device in eth0 ${devices}; do
  tries=0
  until [ -e /sys/class/net/$device ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "there is no network interface $device" >&2; exit 1; }
    sleep 0.05
  done
done
vm_nl='
' vm_first=
if [ -n "$vm_was" ]; then
  for device in ${devices}; do
    vm_first="\${vm_first}link set dev $device down\${vm_nl}address flush dev $device$vm_nl"
  done
fi
${cards.join("\n")}
if [ -n "\${BASH_VERSION:-}" ]; then
  printf '%s%s' "$vm_first" ${quote(Addresses.ipBatch(self, { internet }))} >${mark}.batch
  said=$(ip -force -batch ${mark}.batch 2>&1)
else
  said=$( {
    IFS=$vm_nl
    for line in $vm_first; do IFS=' '; ip $line; done
    IFS=' '
    ${Addresses.ipCommands(self, { internet }).trim()}
  } 2>&1)
fi && [ -n "\${BASH_VERSION:-}" ] || {
  here=$(ip addr show)
  addresses=${quote(addresses)}
  [ ! -e /proc/net/if_inet6 ] || addresses="$addresses ${addresses6}"
  for address in $addresses; do
    case "$here" in
      *" $address/"*) ;;
      *) printf '%s\\n' "the address $address could not be set" "$said" >&2; exit 1 ;;
    esac
  done
}
echo ${digest(identity)} >${mark}
exit 0`
}

/** Seconds that a card may take to appear, in steps of 20 ms: its driver was loaded just before. */
const cardTimeout = 2

/**
 * The whole identity as the initramfs of an image sets it, before anything of the guest's own runs: a program that starts at boot finds the
 * machine's name, addresses and neighbours. busybox does all of it; `vm_root` is the folder of the guest's root file system.
 *
 * What a command could not set is looked for before it counts as missing, because a guest may have turned IPv6 off for a card. Where an address could not be set there is no mark, and {@link identityScript} does it again and says why.
 */
export const earlyScript = ({ keyboardLayout, ...identity }: Early): string => {
  const { all, internet, self } = identity
  const devices = ["eth0", ...self.interfaces.map(({ device }) => device)]
  const addresses = self.interfaces.flatMap(({ ipv4, ipv4Prefix }) =>
    ipv4 === undefined ? [] : `${ipv4}/${ipv4Prefix}`
  )
  return `echo ${quote(self.name)} >/proc/sys/kernel/hostname
echo ${quote(self.name)} >$vm_root/etc/hostname
${writeHosts("$vm_root/etc/hosts", self, all)}
printf '%s' ${quote(Addresses.resolvConf({ internet }))} >$vm_root/etc/resolv.conf 2>/dev/null
for vm_device in ${devices.join(" ")}; do
  vm_tries=0
  until [ -e /sys/class/net/$vm_device ] || [ $vm_tries = ${cardTimeout * 50} ]; do
    vm_tries=$((vm_tries + 1))
    busybox sleep 0.02
  done
done
for vm_applet in ifconfig route ip; do
  command -v $vm_applet >/dev/null || eval "$vm_applet() { busybox $vm_applet \\"\\$@\\"; }"
done
vm_failed=
${Addresses.ifconfigCommands(self, { internet, failed: "vm_failed" }).trim()}
if [ -n "$vm_failed" ]; then
  vm_here=$(ip addr show)
  vm_failed=
  for vm_address in ${addresses.join(" ")}; do
    case $vm_here in *" $vm_address "*) ;; *) vm_failed=1 ;; esac
  done
fi
[ -n "$vm_failed" ] || echo ${digest(identity)} >${mark}
${keyboardLayout === undefined ? "" : Keyboard.earlyScript(keyboardLayout)}`
}

/** The whole identity of a guest; running it again changes nothing. */
export const identityScript = (identity: Identity): string => `set +eu
${nameScript(identity)}[ "$vm_was" != ${digest(identity)} ] || exit 0
${networkScript(identity)}`

/**
 * New keys for the SSH server, of the kinds that it has, which takes them up at once. The long ones take their time: an emulated guest works for
 * half a minute on RSA's.
 */
const newHostKeys = `for vm_k in /etc/ssh/ssh_host_*_key; do
  [ -e "$vm_k" ] && command -v ssh-keygen >/dev/null 2>&1 || continue
  vm_t=\${vm_k#/etc/ssh/ssh_host_}
  rm -f "$vm_k" "$vm_k.pub" "$vm_k-cert.pub"
  said=$(ssh-keygen -q -t "\${vm_t%_key}" -N '' -f "$vm_k" </dev/null 2>&1) || {
    printf '%s\\n' "new SSH host keys could not be made: $said" >&2
    exit 1
  }
  vm_new=1
done
[ -z "\${vm_new:-}" ] || systemctl try-restart ssh.service sshd.service >/dev/null 2>&1
`

/**
 * A new machine-id. A journal on disk stays where journald and journalctl look for it: under the new name, with a link from the old one. Of one
 * in memory, journalctl reads every folder, whatever its name; a second name for the same folder would end what it watches.
 */
const newMachineId = (id: string) => `vm_old= vm_names=
[ ! -s /etc/machine-id ] || read -r vm_old </etc/machine-id
case $vm_old in
'' | *[!0-9a-f]*) ;;
*)
  echo ${id} >/etc/machine-id
  read -r vm_now </etc/machine-id
  [ "$vm_now" = ${id} ] || {
    echo 'its machine-id could not be written to /etc/machine-id; with "snapshot: false" it boots instead' >&2
    exit 1
  }
  [ -h /var/lib/dbus/machine-id ] || [ ! -e /var/lib/dbus/machine-id ] || echo ${id} >/var/lib/dbus/machine-id
  vm_d=/var/log/journal
  [ ! -d $vm_d/$vm_old ] || vm_names="$vm_d/$vm_old $vm_d/${id}" ;;
esac
`

/** Runs a script in a guest. */
type Run<E> = (script: string) => Effect.Effect<CommandResult, E>

/** Milliseconds after which the time that was sent to a guest is out of date. */
const stale = 1000

/** How often a guest's clock is set again: one that sets it late every time is too busy for a clock to mean much. */
const tellings = 5

/** Time and entropy, and nothing else. */
const renewScript = (ahead = 0) =>
  Effect.map(
    Effect.suspend(() => renew.script("", ahead)),
    (text) => `set +eu
${renew.find}${text}exit 0`
  )

/** Runs a script that sets the clock. A busy guest may set it late; then the time is sent again. */
const telling = <E>(
  run: Run<E>,
  script: Effect.Effect<string>,
  timeAlone = renewScript(),
  left = tellings
): Effect.Effect<CommandResult, E> =>
  Effect.gen(function* () {
    const sent = yield* Clock.currentTimeMillis
    const result = yield* run(yield* script)
    const late = (yield* Clock.currentTimeMillis) - sent > stale
    if (!late || left === 1 || (result.exitCode !== 0 && result.exitCode !== withoutNetwork)) return result
    const again = yield* telling(run, timeAlone, timeAlone, left - 1)
    return again.exitCode === 0 ? result : again
  })

const renewing = <E>(
  run: Run<E>,
  script: Effect.Effect<string>,
  timeAlone?: Effect.Effect<string>
): Effect.Effect<CommandResult, E> =>
  Effect.gen(function* () {
    const result = yield* telling(run, script, timeAlone)
    if (result.exitCode !== renew.missing) return result
    const installed = yield* run(beforeSaving)
    return installed.exitCode === 0 ? yield* telling(run, script, timeAlone) : installed
  })

/** For a guest that continues from another: a machine-id, time and entropy of its own, then the identity. */
export const fork = <E>(
  run: Run<E>,
  identity: Identity,
  options: { readonly newHostKeys: boolean }
): Effect.Effect<CommandResult, E> =>
  Effect.gen(function* () {
    const id = yield* renew.machineId
    const script = Effect.map(
      renew.script("$vm_names"),
      (text) => `set +eu
${renew.find}${newMachineId(id)}${text}${nameScript(identity)}${options.newHostKeys ? newHostKeys : ""}[ "$vm_was" = ${digest(identity)} ] || exit ${withoutNetwork}
exit 0`
    )
    const result = yield* renewing(run, script)
    return result.exitCode === withoutNetwork ? yield* run(identityScript(identity)) : result
  })

/** For a guest that continues from another and has its name and addresses from its own system: a machine-id, time and entropy. */
export const renewed = <E>(run: Run<E>, options: { readonly machineId: boolean }): Effect.Effect<CommandResult, E> =>
  Effect.gen(function* () {
    if (!options.machineId) return yield* restore(run)
    const id = yield* renew.machineId
    const script = Effect.map(
      renew.script("$vm_names"),
      (text) => `set +eu
${renew.find}${newMachineId(id)}${text}exit 0`
    )
    return yield* renewing(run, script)
  })

/**
 * For a guest that is put back to where it was, or that stood still while it was saved: time and entropy, and nothing else, so that its connections live on.
 * `ahead` is how many milliseconds its clock is to be ahead of the host's.
 */
export const restore = <E>(run: Run<E>, ahead = 0): Effect.Effect<CommandResult, E> => {
  const script = renewScript(ahead)
  return renewing(run, script, script)
}

/** Run in a guest before it is saved: what its forks need is better there already. Prints the time by its clock, in seconds. */
export const beforeSaving = `set +eu
${renew.install}echo "\${EPOCHREALTIME:-$(date +%s)}"
${renew.installed}exit 0`
