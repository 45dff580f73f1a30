/**
 * Lanes over vsock, behind a unix socket: Firecracker, Cloud Hypervisor, and QEMU with vhost-device-vsock.
 *
 * The bootstrap shell is a port that the guest listens on, reached with `CONNECT <port>\n`, answered by `OK <n>\n`. Lanes go
 * the other way: the guest dials the host's ports, which arrive at the unix sockets `<socket>_<port>`. No shell can open
 * a socket itself, so the guest needs `perl` for both (perl-base, which every Debian has); a guest of busybox alone
 * cannot be reached over vsock.
 *
 * **Example** (A guest behind vsock)
 *
 * ```ts
 * // In the guest, as root: what `Vsock.bootstrap(5000)` returns. On the host:
 * const channel = GuestChannel.vsock({ socket: "/run/web/vsock", port: 5000 })
 * const ShellLive = Shell.layerFromTransport().pipe(Layer.provide(Vsock.layer({ machine: "web", channel })))
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Connection from "./Connection.ts"
import type { Vsock } from "./GuestChannel.ts"
import { TransportError } from "./ShellError.ts"
import { Transport, type TransportService } from "./Transport.ts"

/** As many as virtio ports give; vsock itself has no such limit. */
const lanes = 10

/** How long a peer may take to answer `CONNECT`. */
const handshakeTimeout = "5 seconds"

/** A hypervisor that refuses a connection because nobody in the guest listens yet is asked again this often. */
const retryHandshake = Schedule.spaced("100 millis")

/** The longest answer to `CONNECT`; what is longer is none. */
const longestAnswer = 64

/** A port that a guest listens on. */
interface GuestPort {
  readonly machine: string
  /** the unix socket of the hypervisor */
  readonly socket: string
  /** the guest's vsock port */
  readonly port: number
}

const shakeHands = Effect.fnUntraced(function* (
  options: GuestPort
): Effect.fn.Return<Connection.Connection, TransportError, Scope.Scope> {
  const { machine, port, socket } = options
  const connection = yield* Connection.connect({ machine, socket })
  const failed = (reason: string) => new TransportError({ machine, socket, reason: `vsock port ${port}: ${reason}` })
  let rest = Buffer.alloc(0)
  const answer = Effect.callback<string, TransportError>((resume) => {
    connection.onData((chunk) => {
      rest = Buffer.concat([rest, chunk])
      const end = rest.indexOf("\n")
      if (end === -1 && rest.length <= longestAnswer) return
      const line = rest.toString("latin1", 0, end)
      rest = rest.subarray(end + 1)
      connection.onData((more) => {
        rest = Buffer.concat([rest, more])
      })
      resume(/^OK \d+$/.test(line) ? Effect.succeed(line) : Effect.fail(failed("the peer did not answer OK")))
    })
  })
  yield* connection
    .write(`CONNECT ${port}\n`)
    .pipe(
      Effect.andThen(answer),
      Effect.raceFirst(Effect.flatMap(connection.closed, () => Effect.fail(failed("nothing in the guest listens")))),
      Effect.timeoutOrElse({ duration: handshakeTimeout, orElse: () => Effect.fail(failed("the peer did not answer")) })
    )
  return {
    ...connection,
    onData: (receive) => {
      if (rest.length > 0) receive(rest)
      rest = Buffer.alloc(0)
      connection.onData(receive)
    }
  }
})

/**
 * Connects to a port that the guest listens on. Fails with `TransportError` when the hypervisor is not there within 10 s,
 * or nobody in the guest listens; then nothing of the attempt is left, whatever the scope.
 */
export const connect = Effect.fnUntraced(function* (
  options: GuestPort
): Effect.fn.Return<Connection.Connection, TransportError, Scope.Scope> {
  const attempt = yield* Scope.fork(yield* Effect.scope)
  return yield* shakeHands(options).pipe(
    Scope.provide(attempt),
    Effect.onExit((exit) => (exit._tag === "Failure" ? Scope.close(attempt, exit) : Effect.void))
  )
})

/** Listens for the connections that a guest makes to a port of the host. */
export const listen = (options: {
  readonly machine: string
  /** the unix socket of the hypervisor */
  readonly socket: string
  /** the host's vsock port */
  readonly port: number
  /** whether all users may connect. Default false */
  readonly others?: boolean | undefined
}): Effect.Effect<Connection.Listener, TransportError, Scope.Scope> =>
  Connection.listen({
    ...{ machine: options.machine, socket: `${options.socket}_${options.port}` },
    ...{ single: true, others: options.others }
  })

/**
 * What a guest runs to offer a bootstrap shell on a vsock port: a command of POSIX sh that does not return.
 *
 * Every connection is a root shell of its own that says the ready line first.
 */
export const bootstrap = (port: number): string =>
  `exec perl -e '$^F = 99; $SIG{CHLD} = "IGNORE";
socket(S, 40, 1, 0) && bind(S, pack("SSLLx4", 40, 0, ${port}, 0xffffffff)) && listen(S, 8) or die "vsock: $!";
while (1) {
  accept(my $c, S) or next;
  if (!fork) {
    $SIG{CHLD} = "DEFAULT";
    open STDIN, "<&", $c; open STDOUT, ">&", $c; close S; close $c;
    $| = 1; print "vmtest: shell ready\\n";
    exec -x "/bin/bash" ? ("/bin/bash", "--norc", "--noprofile") : "/bin/sh";
  }
  close $c;
}'`

/** A transport over vsock. */
export const make = (options: { readonly machine: string; readonly channel: Vsock }): TransportService => {
  const { machine } = options
  const { others, port, socket } = options.channel
  return {
    machine,
    name: "vsock",
    reconnects: true,
    accepted: true,
    slowness: 1,
    bootstrap: connect({ machine, socket, port }).pipe(
      Effect.retry({
        schedule: retryHandshake,
        while: (error: TransportError) => error.reason.startsWith("vsock port")
      })
    ),
    lanes,
    lane: Effect.fnUntraced(function* (number, nonce, { tell }) {
      const first = port + 1 + (number - 1) * 3
      const end = (offset: number) => listen({ machine, socket, port: first + offset, others })
      const [input, output, errors] = yield* Effect.all([end(0), end(1), end(2)])
      yield* tell(`_vt_dial ${number} ${nonce} ${first} 2>/dev/null`)
      return yield* Effect.all(
        { input: input.accept, output: output.accept, errors: errors.accept },
        { concurrency: 3 }
      ).pipe(
        Effect.timeoutOrElse({
          duration: "60 seconds",
          orElse: () =>
            Effect.fail(
              new TransportError({
                machine,
                socket,
                reason: "the guest did not connect; it needs perl (the package perl-base)"
              })
            )
        })
      )
    })
  }
}

/** {@link make} as a layer. */
export const layer = (options: { readonly machine: string; readonly channel: Vsock }): Layer.Layer<Transport> =>
  Layer.succeed(Transport, make(options))
