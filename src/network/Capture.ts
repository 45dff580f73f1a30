/**
 * What is sent on a VLAN, packet by packet.
 *
 * **Example** (Who asked for an address)
 *
 * ```ts
 * const network = driver.network(1)
 * const asked = Stream.runHead(Stream.filter(network.packets, ({ from }) => from === "client eth1"))
 * ```
 *
 * @since 0.1.0
 */

/** What became of a packet on its sender's link: it passed, its impairment lost it, or it found the link's queue full. */
export type Fate = "passed" | "lost" | "full"

/** One Ethernet frame, as its sender sent it. */
export interface Packet {
  /** When the switch got it: nanoseconds since 1970. */
  readonly time: bigint
  /** The card that sent it: machine and interface, such as `web eth1`. */
  readonly from: string
  readonly fate: Fate
  /** From the destination's address on; without the check sum at the end, which virtual cards do not have. */
  readonly frame: Uint8Array
}
