/**
 * Waiting for TCP ports.
 *
 * A port of the guest itself is read from `/proc/net/tcp` and `/proc/net/tcp6` in a loop of shell builtins, so it needs no program in the
 * guest and disturbs no server; another address is tried by connecting from the guest.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type Guest, quote, type WaitError, type WaitOptions, waitInGuest } from "./internal/Guest.ts"
import { nap } from "./internal/nap.ts"
import { InvalidArgument } from "./MachineError.ts"

/** An address, or none, and then options if there are any. */
export type AddressAndOptions =
  | readonly [address?: string | undefined, options?: WaitOptions | undefined]
  | readonly [options: WaitOptions]

/** The ports of a machine, and those it can reach. */
export interface PortMethods {
  /**
   * Waits until something listens on a TCP port.
   *
   * Without an address any listener of the guest counts; `"localhost"`, `"127.0.0.1"` and `"::1"` ask for one that those reach; any other
   * address or name is tried by connecting from the guest.
   */
  readonly waitForOpenPort: (
    port: number,
    ...rest: AddressAndOptions
  ) => Effect.Effect<void, WaitError | InvalidArgument>
  /** Waits until nothing listens on a TCP port, or, at another address, until connecting to it fails. */
  readonly waitForClosedPort: (
    port: number,
    ...rest: AddressAndOptions
  ) => Effect.Effect<void, WaitError | InvalidArgument>
}

/** As the kernel prints them: each 32-bit group in the host's byte order, here little-endian. */
const anyV4 = "00000000"
const anyV6 = "0".repeat(32)
const loopbackV4 = "0100007F"
const loopbackV6 = `${"0".repeat(24)}01000000`

/** The listening addresses that an address of the guest itself reaches; undefined for addresses elsewhere. */
const listeners = (address: string | undefined): ReadonlyArray<string> | undefined => {
  switch (address) {
    case undefined:
      return ["*"]
    case "localhost":
      return [anyV4, loopbackV4, anyV6, loopbackV6]
    case "127.0.0.1":
      return [anyV4, loopbackV4, anyV6]
    case "::1":
      return [anyV6, loopbackV6]
    default:
      return undefined
  }
}

/**
 * `open` succeeds when something listens. State 0A is LISTEN, and a listener has no remote address.
 *
 * For every read the kernel walks all its connections, of which it has thousands of empty lists, and a shell that reads line by line reads
 * again for every line: bash takes the whole file at once.
 */
const openHere = (port: number, addresses: ReadonlyArray<string>) => {
  const hex = port.toString(16).toUpperCase().padStart(4, "0")
  const patterns = addresses.map((address) => `"0A "${address}:${hex}`).join("|")
  const whole = addresses
    .map((address) => `${address === "*" ? "" : ` ${address}`}:${hex} `)
    .flatMap((local) => [`*"${local}${anyV4}:0000 0A "*`, `*"${local}${anyV6}:0000 0A "*`])
    .join("|")
  // Other shells may not even read what is written in bash.
  return `open() {
  for f in /proc/net/tcp /proc/net/tcp6; do
    [ -r $f ] || continue
    while read -r _ local _ st _; do case "$st $local" in ${patterns}) return 0 ;; esac; done < $f
  done
  return 1
}
[ -z "\${BASH_VERSION:-}" ] || eval 'open() {
  for f in /proc/net/tcp /proc/net/tcp6; do
    [ -r $f ] || continue
    mapfile -t lines < $f
    case "\${lines[*]}" in ${whole}) return 0 ;; esac
  done
  return 1
}'`
}

/**
 * bash connects by itself; where there is none, busybox's telnet does, or nc. A try that hangs (packets dropped) is given up after a
 * second.
 */
const openThere = (port: number, address: string) => `connect() {
  if [ -n "\${BASH_VERSION:-}" ]; then exec 3<>/dev/tcp/${quote(address)}/${port}
  elif command -v telnet; then telnet ${quote(address)} ${port} </dev/null
  else nc ${quote(address)} ${port} </dev/null
  fi
}
open() {
  ( connect ) >/dev/null 2>&1 &
  try=$!
  ( trap 'kill $nap; exit' TERM; sleep 1 & nap=$!; wait $nap; kill $try ) >/dev/null 2>&1 &
  killer=$!
  wait $try 2>/dev/null; answer=$?
  kill $killer 2>/dev/null; wait $killer 2>/dev/null
  return $answer
}`

const look = `listening=
for f in /proc/net/tcp /proc/net/tcp6; do
  [ -r $f ] || continue
  while read -r _ local _ st _; do
    [ "$st" = 0A ] && listening=1 && echo "listening: $((0x\${local##*:})) ($f)"
  done < $f
done
[ -n "$listening" ] || echo "nothing listens on any TCP port"`

/** The port methods of a guest. */
export const make = (guest: Guest): PortMethods => {
  const waitFor = (wanted: "open" | "closed") =>
    Effect.fnUntraced(function* (port: number, ...[first, second]: AddressAndOptions) {
      const [address, options] = typeof first === "object" ? [undefined, first] : [first, second]
      if (!Number.isInteger(port) || port < 1 || port > 65535) {
        return yield* new InvalidArgument({
          machine: guest.name,
          argument: "port",
          value: String(port),
          reason: "is not a port; ports are 1 to 65535"
        })
      }
      // Of a name or an IP address, with a zone (fe80::1%eth1) perhaps.
      if (address !== undefined && !/^[A-Za-z0-9._:%-]+$/.test(address)) {
        return yield* new InvalidArgument({
          machine: guest.name,
          argument: "address",
          value: address,
          reason: "is neither a host name nor an IP address"
        })
      }
      const here = listeners(address)
      const open = here === undefined ? openThere(port, address as string) : openHere(port, here)
      yield* waitInGuest(guest, {
        awaited: `port ${port}${address === undefined ? "" : ` of ${address}`} to be ${wanted}`,
        options,
        loop: `set +eu\n${nap}\n${open}\n${wanted === "open" ? "until" : "while"} open; do nap; done`,
        look: here === undefined ? `set +eu\n${open}\nopen && echo "it is open" || echo "connecting fails"` : look
      })
    })
  return { waitForOpenPort: waitFor("open"), waitForClosedPort: waitFor("closed") }
}
