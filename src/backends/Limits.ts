/**
 * What a machine's shape can be, whatever the host: the one place of these numbers.
 *
 * **Example** (The smallest disk that a machine can have)
 *
 * ```ts
 * const machine = { image: Image.tiny(), disks: [Limits.leastDisk] }
 * ```
 *
 * @since 0.1.0
 */

/** Bytes of memory. With less no Linux guest of ours gets to a shell; Debian's kernel does not even unpack below 48 MiB. */
export const leastMemory = 64 * 1024 * 1024

/** Bytes of a disk. Guests do not take less, and hypervisors like whole mebibytes. */
export const leastDisk = 1024 * 1024

/** Bytes of memory or of one disk: 4 PiB, which a number still counts exactly. The host can have less room than that. */
export const mostBytes = 2 ** 52

/** A VLAN's number is an octet of its addresses; the node's number is the next one. */
export const mostVlan = 254

/**
 * How many VLANs, disks of its own and other devices a machine may have together.
 *
 * Each is a PCI device with a slot of its own on the root bus. QEMU's q35 has 30 free slots (tried with 7.2: the 31st device is refused), of
 * which the image's disk, the random number generator, three serial buses, eth0, the display and the pointer take 8. What a machine has for USB and
 * for devices that are plugged in takes one more.
 */
export const mostDevices = 22

/**
 * How many devices a machine may have on USB. QEMU's xHCI has as many sockets as the greater number of its USB 2 and USB 3 ports, which is at most
 * 15. At the last free one QEMU plugs in a hub by itself (tried with 7.2), which no saved machine without it could be loaded with.
 */
export const mostUsb = 14

/**
 * The largest MTU of a network card: bytes of a packet in a frame. `vde_switch` carries frames with 1504 bytes after their addresses and type
 * (`data` of its `struct packet`), which is one VLAN tag more, and drops longer ones without a word.
 */
export const mtu = 1500
