/** Shell functions that find out whether a TCP port is open: from the list of listeners, and by connecting. */
import { quote } from "../../host/Quote.ts"

/** Addresses as the kernel prints them: each 32-bit group in the host's byte order, here little-endian. */
const anyV4 = "00000000"
const anyV6 = "0".repeat(32)
const loopbackV4 = "0100007F"
const loopbackV6 = `${"0".repeat(24)}01000000`
/** An IPv4 address of an IPv6 socket, as Java uses them: `::ffff:127.0.0.1`. */
const mapped = (address: string) => `${"0".repeat(16)}FFFF0000${address}`

const ofV4 = [anyV4, loopbackV4, mapped(anyV4), mapped(loopbackV4)]

/** Which listeners an address of the guest itself reaches. */
export interface Local {
  readonly surely: ReadonlyArray<string>
  /** A listener that it reaches unless that accepts only IPv6 (`IPV6_V6ONLY`), which the kernel's list does not say. */
  readonly perhaps?: string
}

/** The listeners that can be found in the list; undefined for addresses elsewhere. */
export const localOf = (address: string | undefined): Local | undefined => {
  switch (address) {
    case undefined:
      return { surely: ["*"] }
    case "localhost":
      return { surely: [...ofV4, anyV6, loopbackV6] }
    case "127.0.0.1":
      return { surely: ofV4, perhaps: anyV6 }
    case "::1":
      return { surely: [anyV6, loopbackV6] }
    default:
      return undefined
  }
}

const hexOf = (port: number) => port.toString(16).toUpperCase().padStart(4, "0")

/**
 * `listens` succeeds if something listens for sure, and sets `perhaps` if something may. State 0A is LISTEN, and a listener has no remote
 * address.
 *
 * Each read makes the kernel walk all its connections, in thousands of mostly empty lists, and a shell that reads line by line reads again for
 * each line. So bash takes the whole file at once.
 */
const listens = (port: number, { perhaps, surely }: Local) => {
  const hex = hexOf(port)
  const line = (address: string) => `"0A "${address}:${hex}`
  const whole = (addresses: ReadonlyArray<string>) =>
    addresses
      .map((address) => `${address === "*" ? "" : ` ${address}`}:${hex} `)
      .flatMap((local) => [`*"${local}${anyV4}:0000 0A "*`, `*"${local}${anyV6}:0000 0A "*`])
      .join("|")
  const also = (pattern: (address: string) => string) =>
    perhaps === undefined ? "" : ` ${pattern(perhaps)}) perhaps=1 ;;`
  // In quotes, because other shells fail to parse bash's syntax.
  return `listens() {
  perhaps=
  for f in /proc/net/tcp /proc/net/tcp6; do
    [ -r $f ] || continue
    while read -r _ local _ st _; do
      case "$st $local" in ${surely.map(line).join("|")}) return 0 ;;${also(line)} esac
    done < $f
  done
  return 1
}
[ -z "\${BASH_VERSION:-}" ] || eval 'listens() {
  perhaps=
  for f in /proc/net/tcp /proc/net/tcp6; do
    [ -r $f ] || continue
    mapfile -t lines < $f
    case "\${lines[*]}" in ${whole(surely)}) return 0 ;;${also((address) => whole([address]))} esac
  done
  return 1
}'`
}

/** What programs say about a name without an address: bash (with the C library), busybox, and various kinds of nc and telnet. */
const noName = ["ot known", "ame resolution", "bad address", "lookup failed", "o address associated", "not resolve"]
  .map((words) => `*"${words}"*`)
  .join("|")

/**
 * `connects` tries to connect and sets `verdict`: `open`, `closed` (refused, or no answer within a second), `unresolved` (the name has no
 * address), or `missing` (there is no program to connect with).
 *
 * bash connects by itself; without bash, telnet or nc does. The second counts from the first packet (SYN_SENT is state 02), so that it does not
 * include looking up the address; that may take 30 seconds.
 */
export const connects = (port: number, address: string) => `export LC_ALL=C
connect() {
  if [ -n "\${BASH_VERSION:-}" ]; then exec 3<>/dev/tcp/${quote(address)}/${port}; exit $?
  elif command -v telnet >/dev/null; then exec telnet ${quote(address)} ${port} </dev/null
  elif command -v nc >/dev/null; then
    case "$(nc -h 2>&1)" in *-z*) exec nc -z ${quote(address)} ${port} </dev/null ;; esac
    exec nc ${quote(address)} ${port} </dev/null
  fi
  exit 127
}
asked() {
  for f in /proc/net/tcp /proc/net/tcp6; do
    [ -r $f ] || continue
    while read -r _ _ remote st _; do case "$st $remote" in "02 "*:${hexOf(port)}) return 0 ;; esac; done < $f
  done
  return 1
}
give_up() {
  trap 'kill $second; exit' TERM
  left=30
  while [ $left -gt 0 ]; do
    sleep 1 >/dev/null 2>&1 &
    second=$!
    wait $second
    ! asked || break
    left=$((left - 1))
  done
  [ $left -gt 0 ] || echo "does not resolve"
  kill $1
}
connects() {
  said=$(
    exec 2>&1
    connect &
    try=$!
    give_up $try &
    killer=$!
    wait $try; answer=$?
    kill $killer; wait $killer
    echo "status=$answer"
  )
  case "$said" in
    *"status=0"|*"Connected to"*|*"Escape character"*) verdict=open ;;
    *"status=127") verdict=missing ;;
    ${noName}) verdict=unresolved ;;
    *) verdict=closed ;;
  esac
}`

/** After `connects`: says why it could not connect, as far as the program that tried says it. One that was ended had got no answer. */
export const whyClosed = `case "$said" in
*efused*) echo "the connection is refused" ;;
*nreachable*|*"o route"*) echo "there is no route to it" ;;
*"status=143") echo "no answer within a second" ;;
*) echo "connecting fails" ;;
esac`

/** `open` succeeds if the address reaches a listener. It connects to each listener at most once. */
export const open = (port: number, address: string | undefined, local: Local): string =>
  local.perhaps === undefined || address === undefined
    ? `${listens(port, local)}\nopen() { listens; }`
    : `${listens(port, local)}
${connects(port, address)}
reached=
open() {
  listens && return 0
  [ -n "$perhaps" ] || { reached=; return 1; }
  [ -n "$reached" ] && return 0
  connects
  # Without a program to connect with it counts as reached: most listeners accept both.
  case "$verdict" in open|missing) reached=1 ;; *) return 1 ;; esac
}`
