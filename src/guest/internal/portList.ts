/** The kernel's lists of sockets: shell functions that look for one in them, and what they had for the error of a wait. */

/** Which lists: of a protocol, in the namespace of the guest's own shell or in all of them. */
export interface Sockets {
  readonly protocol: "tcp" | "udp"
  readonly namespaces: "own" | "all"
}

/** Addresses as the kernel prints them: each 32-bit group in the host's byte order, here little-endian. */
const anyV4 = "00000000"
const anyV6 = "0".repeat(32)
const loopbackV4 = "0100007F"
const loopbackV6 = `${"0".repeat(24)}01000000`
/** An IPv4 address of an IPv6 socket, as Java uses them: `::ffff:127.0.0.1`. */
const mapped = (address: string) => `${"0".repeat(16)}FFFF0000${address}`

const ofV4 = [anyV4, loopbackV4, mapped(anyV4), mapped(loopbackV4)]

/** Which sockets an address of the guest itself reaches. */
export interface Local {
  readonly surely: ReadonlyArray<string>
  /** One that it reaches unless that accepts only IPv6 (`IPV6_V6ONLY`), which the kernel's list does not say. */
  readonly perhaps?: string
}

/** The sockets that can be found in the lists; undefined for addresses elsewhere. Nobody can try whether one of UDP is reached. */
export const localOf = (address: string | undefined, protocol: Sockets["protocol"]): Local | undefined => {
  switch (address) {
    case undefined:
      return { surely: ["*"] }
    case "localhost":
      return { surely: [...ofV4, anyV6, loopbackV6] }
    case "127.0.0.1":
      return protocol === "udp" ? { surely: [...ofV4, anyV6] } : { surely: ofV4, perhaps: anyV6 }
    case "::1":
      return { surely: [anyV6, loopbackV6] }
    default:
      return undefined
  }
}

/** A port as the kernel prints it. */
export const hexOf = (port: number) => port.toString(16).toUpperCase().padStart(4, "0")

/** LISTEN of TCP; a UDP socket that is bound and not connected has TCP's CLOSE. */
const states = { tcp: "0A", udp: "07" } as const

/**
 * `lists` sets `files` to the lists of these protocols: of the shell's own network namespace, and with `all` of each other one that a process is
 * in, such as that of a service with `PrivateNetwork=yes`.
 */
const lists = (protocols: ReadonlyArray<Sockets["protocol"]>, namespaces: Sockets["namespaces"]) => {
  const names = protocols.flatMap((protocol) => [protocol, `${protocol}6`])
  const of = (folder: string) => names.map((name) => `${folder}/${name}`).join(" ")
  const own = `files="${of("/proc/net")}"`
  if (namespaces === "own") return `lists() { ${own}; }`
  return `lists() {
  ${own}
  _seen=/proc/self/ns/net
  for _ns in /proc/[0-9]*/ns/net; do
    for _one in $_seen; do [ "$_ns" -ef "$_one" ] && continue 2; done
    _seen="$_seen $_ns"
    _net=\${_ns%/ns/net}/net
    files="$files ${of("$_net")}"
  done
}`
}

/**
 * `listens` succeeds if something listens for sure, and sets `perhaps` if something may. What listens has no remote address.
 *
 * Each read makes the kernel walk all its connections, in thousands of mostly empty lists, and a shell that reads line by line reads again for
 * each line. So bash takes the whole file at once.
 */
export const listens = (port: number, { perhaps, surely }: Local, { namespaces, protocol }: Sockets) => {
  const hex = hexOf(port)
  const state = states[protocol]
  const line = (address: string) => `"${state} "${address}:${hex}`
  const whole = (addresses: ReadonlyArray<string>) =>
    addresses
      .map((address) => `${address === "*" ? "" : ` ${address}`}:${hex} `)
      .flatMap((local) => [`*"${local}${anyV4}:0000 ${state} "*`, `*"${local}${anyV6}:0000 ${state} "*`])
      .join("|")
  const also = (pattern: (address: string) => string) =>
    perhaps === undefined ? "" : ` ${pattern(perhaps)}) perhaps=1 ;;`
  // In quotes, because other shells fail to parse bash's syntax.
  return `${lists([protocol], namespaces)}
listens() {
  perhaps=
  lists
  for f in $files; do
    [ -r $f ] || continue
    while read -r _ local _ st _; do
      case "$st $local" in ${surely.map(line).join("|")}) return 0 ;;${also(line)} esac
    done < $f
  done
  return 1
}
[ -z "\${BASH_VERSION:-}" ] || eval 'listens() {
  perhaps=
  lists
  for f in $files; do
    [ -r $f ] || continue
    mapfile -t lines < $f
    case "\${lines[*]}" in ${whole(surely)}) return 0 ;;${also((address) => whole([address]))} esac
  done
  return 1
}'`
}

/** Prints what {@link shown} reads: each list after its name and the command of its process, each socket as `<state> <address>:<port>`. */
export const look = `set +eu
${lists(["tcp", "udp"], "all")}
lists
for f in $files; do
  [ -r $f ] || continue
  comm=
  case $f in /proc/[0-9]*) read -r comm < "\${f%/net/*}/comm" ;; esac
  echo "in $f $comm"
  while read -r _ local _ st _; do case "$st" in ${states.tcp}|${states.udp}) echo "$st $local" ;; esac; done < $f
done 2>/dev/null
true`

/** One socket of a list. */
interface Entry {
  readonly protocol: Sockets["protocol"]
  /** The process in whose namespace it is: `"nginx (process 312)"`; empty for the guest's own. */
  readonly owner: string
  readonly address: string
  readonly port: number
}

const bytesOf = (hex: string) => (hex.match(/../g) ?? []).reverse().join("")

const addressOf = (hex: string): string => {
  const groups = (hex.match(/.{8}/g) ?? []).map(bytesOf)
  const ofFour = (group = "") => (group.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16)).join(".")
  if (groups.length === 1) return ofFour(groups[0])
  if (groups.slice(0, 3).join("") === `${"0".repeat(16)}0000FFFF`) return `[::ffff:${ofFour(groups[3])}]`
  return new URL(`http://[${(groups.join("").match(/.{4}/g) ?? []).join(":")}]`).hostname
}

const entriesOf = (text: string): ReadonlyArray<Entry> => {
  let protocol: Entry["protocol"] = "tcp"
  let owner = ""
  return text.split("\n").flatMap((line) => {
    const [, process, kind, comm] = /^in \/proc\/(?:(\d+)\/)?net\/(tcp|udp)6? ?(.*)$/.exec(line) ?? []
    if (kind !== undefined) {
      protocol = kind === "udp" ? "udp" : "tcp"
      owner = process === undefined ? "" : `${comm} (process ${process})`
      return []
    }
    const [, state, address, port] = /^(\w\w) (\w+):(\w{4})$/.exec(line) ?? []
    if (state !== states[protocol] || address === undefined || port === undefined) return []
    return [{ protocol, owner, address: addressOf(address), port: Number.parseInt(port, 16) }]
  })
}

/** More sockets are not named: a wait's error is for people. */
const most = 40

const listed = (entries: ReadonlyArray<Entry>): string => {
  const all = [...new Set(entries.toSorted((a, b) => a.port - b.port).map(({ address, port }) => `${address}:${port}`))]
  const more = all.length > most ? `, and ${all.length - most} more` : ""
  return all.slice(0, most).join(", ") + more
}

/**
 * What {@link look} printed, for people: the sockets of the protocol that count, and where else the port is in use, because that is often what the
 * wait was meant for.
 */
export const shown =
  (port: number, { namespaces, protocol }: Sockets) =>
  (text: string): string => {
    const entries = entriesOf(text)
    const ofProtocol = entries.filter((entry) => entry.protocol === protocol)
    const counted = ofProtocol.filter(({ owner }) => namespaces === "all" || owner === "")
    const does = protocol === "tcp" ? "listening" : "bound"
    const nothing = protocol === "tcp" ? "nothing listens on any TCP port" : "nothing is bound to any UDP port"
    const owners = [...new Set(counted.map(({ owner }) => owner))]
    const lines = owners.map((owner) => {
      const where = owner === "" ? "" : ` in the network namespace of ${owner}`
      return `${does}${where}: ${listed(counted.filter((entry) => entry.owner === owner))}`
    })
    const others = new Set(
      ofProtocol.flatMap((entry) => (entry.port === port && !counted.includes(entry) ? entry.owner : []))
    )
    const elsewhere = [...others].map(
      (owner) => `port ${port} is open in the network namespace of ${owner}; namespaces: "all" counts it`
    )
    const other = protocol === "tcp" ? "udp" : "tcp"
    const isOther = entries.some((entry) => entry.protocol === other && entry.port === port && entry.owner === "")
    return [
      ...(lines.length === 0 ? [nothing] : lines),
      ...elsewhere,
      ...(isOther ? [`${other.toUpperCase()} port ${port} is open; protocol: "${other}" waits for it`] : [])
    ].join("\n")
  }
