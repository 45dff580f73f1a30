/** Shell functions that find out whether a TCP port is open by connecting. */
import { quote } from "../../host/Quote.ts"
import { near } from "../../host/Spelling.ts"
import { hexOf, type Local, listens, type Sockets } from "./portList.ts"

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

const unresolved = "unresolved"

/** After `connects`, for a name without an address: the names that the guest's hosts file has, for {@link unresolvedIn}. */
export const knownNames = `echo ${unresolved}
while read -r address names; do
  case "$address" in ""|"#"*) ;; *) echo "\${names%%#*}" ;; esac
done </etc/hosts 2>/dev/null; :`

/** What a name without an address is shown as; undefined for other text. */
export const unresolvedIn = (text: string, name: string): string | undefined => {
  const [first, ...hosts] = text.trim().split(/\s+/)
  if (first !== unresolved) return undefined
  const others = new Set(hosts.filter((host) => host.toLowerCase() !== name.toLowerCase()))
  const meant = near(name, others)
  return `${name} has no address${meant === undefined ? "" : `; did you mean ${JSON.stringify(meant)}?`}`
}

/** `open` succeeds if the address reaches a socket of these. It connects to each listener at most once. */
export const open = (port: number, address: string | undefined, local: Local, sockets: Sockets): string =>
  local.perhaps === undefined || address === undefined
    ? `${listens(port, local, sockets)}\nopen() { listens; }`
    : `${listens(port, local, sockets)}
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
