/**
 * How the host reaches a guest's shells: which sockets a backend offers.
 *
 * A guest carries nothing but a bootstrap root shell. Everything else (worker shells, their framing, cancellation) is
 * typed through that shell, so a guest image never holds an old agent.
 *
 * **Example** (Three ports for each command that runs at once)
 *
 * ```ts
 * const channel = GuestChannel.virtioPorts({
 *   bootstrap: "/run/web/p0",
 *   ports: Array.from({ length: 30 }, (_, i) => `/run/web/p${i + 1}`) // ten commands
 * })
 * const program = Effect.flatMap(Shell.make({ machine: "web", channel }), (shell) => shell.execute("true"))
 * ```
 *
 * @since 0.1.0
 */

/**
 * virtio-serial ports, the preferred channel: QEMU throttles a `virtserialport`, so nothing is ever dropped.
 *
 * **Details**
 *
 * `bootstrap` is the unix socket of the port named `vmtest.0`, where the guest runs its bootstrap shell; `ports[i]` that
 * of the port named `vmtest.<i + 1>`. QEMU listens on each of them. Every command in flight takes three ports, so the 30
 * ports left beside the bootstrap make ten commands at once.
 */
export interface VirtioPorts {
  readonly _tag: "VirtioPorts"
  readonly bootstrap: string
  readonly ports: ReadonlyArray<string>
}

/**
 * vsock behind a unix socket, as Firecracker, Cloud Hypervisor and vhost-device-vsock offer it.
 *
 * **Details**
 *
 * The host connects to `socket` and says `CONNECT <port>\n`; the peer answers `OK <number>\n`. A connection that the
 * guest opens to host port P arrives at the unix socket `<socket>_<P>`, where the host must already listen.
 */
export interface Vsock {
  readonly _tag: "Vsock"
  readonly socket: string
  readonly port: number
  /** Whether the peer is another user than this process, who may then connect to the sockets of the host's ports. Default false. */
  readonly others?: boolean | undefined
}

/**
 * A virtconsole (`hvc0`), the only thing a stock NixOS test guest has.
 *
 * **Details**
 *
 * QEMU silently drops what a console writes while its socket is full, so a console carries commands by an acknowledged,
 * checksummed transfer, and only when the guest has no `ports` to start workers on. `listen` says that QEMU dials the
 * socket (the NixOS start scripts do) instead of listening on it; the host must then listen before the guest starts.
 */
export interface VirtConsole {
  readonly _tag: "VirtConsole"
  readonly socket: string
  readonly listen?: boolean
  readonly ports?: ReadonlyArray<string>
}

/** Whichever way a backend offers. */
export type GuestChannel = VirtioPorts | Vsock | VirtConsole

/** A channel of virtio-serial ports; see {@link VirtioPorts}. */
export const virtioPorts = (options: {
  readonly bootstrap: string
  readonly ports: ReadonlyArray<string>
}): VirtioPorts => ({
  _tag: "VirtioPorts",
  ...options
})

/** A vsock channel; see {@link Vsock}. */
export const vsock = (options: Omit<Vsock, "_tag">): Vsock => ({
  _tag: "Vsock",
  ...options
})

/** A virtconsole channel; see {@link VirtConsole}. */
export const virtConsole = (options: {
  readonly socket: string
  readonly listen?: boolean
  readonly ports?: ReadonlyArray<string>
}): VirtConsole => ({ _tag: "VirtConsole", ...options })
