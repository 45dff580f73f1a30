/**
 * The names of the hypervisors that a machine can be declared with. Without the library, since the command line names them, too.
 *
 * **Example** (A machine on Firecracker)
 *
 * ```ts
 * const web = { image: Image.debian(), backend: "firecracker" }
 * ```
 *
 * @since 0.1.0
 */

/** The names of the hypervisors. */
export const names = ["qemu", "firecracker", "cloud-hypervisor"] as const

/** The name of a hypervisor. */
export type BackendName = (typeof names)[number]

/** Whether a text is the name of a hypervisor. */
export const isBackendName = (text: string): text is BackendName => names.some((name) => name === text)
