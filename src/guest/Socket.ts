/**
 * Waiting for Unix-domain sockets.
 *
 * `/proc/net/unix` lists who listens, so the wait needs no program in the guest and disturbs no server.
 *
 * **Example** (A database)
 *
 * ```ts
 * yield* db.waitForOpenUnixSocket("/run/postgresql/.s.PGSQL.5432")
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fields from "../host/Fields.ts"
import { quote } from "../host/Quote.ts"
import * as Arguments from "./Arguments.ts"
import type { Guest, WaitError } from "./Guest.ts"
import { GuestPollOptions } from "./Timeout.ts"
import { waitInGuest } from "./Wait.ts"

const SocketType = Schema.Literals(["stream", "datagram", "seqpacket"])

/** The kinds of Unix-domain sockets. */
export type SocketType = typeof SocketType.Type

/** Which socket to wait for, and how long. */
export const SocketOptions = Fields.options(
  {
    ...GuestPollOptions.fields,
    /** Default `"stream"`. */
    type: Schema.optional(SocketType)
  },
  '{ timeout: "5 seconds" }'
)

/** Which socket to wait for, and how long. */
export interface SocketOptions extends Schema.Schema.Type<typeof SocketOptions> {}

/** The sockets of a machine. */
export interface SocketMethods {
  /**
   * Waits until a process listens on a Unix-domain socket; for a datagram socket, until a process is bound to it.
   *
   * The address is an absolute path, or `@` and the name of an abstract socket. A socket file without a listener does not count. A socket file
   * counts in any network namespace (`PrivateNetwork=yes`), an abstract socket only in the initial one.
   */
  readonly waitForOpenUnixSocket: (address: string, options?: SocketOptions) => Effect.Effect<void, WaitError>
}

/**
 * Flags and type as `/proc/net/unix` prints them. 00010000 is `__SO_ACCEPTCON`, a socket that listens; a datagram socket cannot.
 * Source: net/unix/af_unix.c of Linux, `unix_seq_show`.
 */
const patterns: Readonly<Record<SocketType, string>> = {
  stream: '"00010000 0001"',
  datagram: '"00000000 0002"',
  seqpacket: '"00010000 0005"'
}

/** `others` runs a command for the socket list of each other network namespace, such as that of a service with `PrivateNetwork=yes`. */
const others = `others() {
  for _ns in /proc/[0-9]*/ns/net; do
    [ "$_ns" -ef /proc/self/ns/net ] && continue
    _list=\${_ns%/ns/net}/net/unix
    [ -r "$_list" ] && { "$1" "$_list"; } 2>/dev/null && return 0
  done
  return 1
}`

/**
 * The kernel prints the path that the server gave to `bind`. That path can go through symbolic links (`/var/run`, `/dev/log`), and it has no
 * folders if the server had changed to the socket's folder.
 *
 * A socket file can be reached from any network namespace, an abstract socket only from its own.
 */
const openLoop = (address: string, type: SocketType) => {
  const name = address.slice(address.lastIndexOf("/") + 1)
  const abstract = address.startsWith("@")
  const same = abstract
    ? `[ "$path" = ${quote(address)} ] && return 0`
    : `[ -S ${quote(address)} ] || return 1
        case "$path" in
          ${quote(address)} | ${quote(name)} | ./${quote(name)}) return 0 ;;
          /*) [ "$path" -ef ${quote(address)} ] && return 0 ;;
        esac`
  return `listed() {
  while read -r _ _ _ flags type _ _ path; do
    case "$flags $type" in
      ${patterns[type]})
        ${same} ;;
    esac
  done < "$1"
  return 1
}
${others}
open() { listed /proc/net/unix${abstract ? "" : ` || { [ -S ${quote(address)} ] && others listed; }`}; }`
}

const look = (
  address: string
) => `${address.startsWith("@") ? "" : `ls -ld -- ${quote(address)} 2>&1\n`}while read -r _ _ _ flags type _ _ path; do
  [ -n "$path" ] || continue
  case "$flags $type" in
    ${patterns.stream}) echo "stream: $path" ;;
    ${patterns.datagram}) echo "datagram: $path" ;;
    ${patterns.seqpacket}) echo "seqpacket: $path" ;;
  esac
done < /proc/net/unix
true`

const Address = Fields.text(
  "an absolute path, or @ and the name of an abstract socket",
  (address) => /^(\/|@.)/.test(address) && !address.endsWith("/")
)

/** What its method takes. */
export const parameters = Arguments.of<SocketMethods>({
  waitForOpenUnixSocket: Arguments.takes({ address: Address, options: Schema.optional(SocketOptions) })
})

/** The socket methods of a guest. */
export const make = (guest: Guest): SocketMethods =>
  Arguments.checked<SocketMethods>(guest.name, parameters, {
    waitForOpenUnixSocket: Effect.fnUntraced(function* (address, options) {
      const type = options?.type ?? "stream"
      yield* waitInGuest(guest, {
        name: "waitForOpenUnixSocket",
        attributes: { path: address },
        awaited: `the ${type} socket ${address} to be open`,
        options,
        loop: `${openLoop(address, type)}\nuntil open; do pause; done`,
        look: `set +eu\n${look(address)}`
      })
    })
  })
