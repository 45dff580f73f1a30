/**
 * What a hypervisor boots: files on the host, ready to use.
 *
 * **Example** (what `-kernel` and `-initrd` get)
 *
 * ```ts
 * const { cmdline, initrd, kernel } = yield* store.resolve(Image.tiny())
 * const args = ["-kernel", kernel, "-initrd", initrd, "-append", `console=ttyS0 ${cmdline}`]
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/** A program that runs QEMU. */
export const StartScript = Schema.Struct({
  /** For a shell, in the machine's folder: what is put after it is its arguments. */
  command: Schema.String,
  /** How it takes arguments for QEMU: as its own, or in the variable `QEMU_OPTS`. */
  takes: Schema.Literals(["arguments", "QEMU_OPTS"]),
  /** More environment variables; null takes one away. */
  env: Schema.Record(Schema.String, Schema.NullOr(Schema.String)),
  /** Whether its guest gets virtio ports besides the console. */
  ports: Schema.Boolean,
  /** Whether QEMU may open a window. */
  graphic: Schema.Boolean,
  /** Whether it names an accelerator in a way that leaves no room for another. */
  accelerated: Schema.Boolean,
  /** The VLANs whose `QEMU_VDE_SOCKET_<n>` its text names; undefined if that is not known, so that it gets all. */
  vlans: Schema.optionalKey(Schema.Array(Schema.Int)),
  /** Milliseconds until QEMU must run. */
  timeout: Schema.Number,
  /** Whether it starts a container of systemd-nspawn. */
  container: Schema.Boolean,
  /** What a runner of microvm.nix brings along, which other start scripts leave to vmtest or do not have. */
  runner: Schema.optionalKey(
    Schema.Struct({
      /** The end of the names of its virtio devices: `pci`, or `device` for a machine without PCI. */
      bus: Schema.Literals(["pci", "device"]),
      /** Whether the guest's serial console is the runner's standard output already. */
      serial: Schema.Boolean,
      /** Whether it asks for the host's own processor, which only hardware virtualisation has. */
      hostCpu: Schema.Boolean
    })
  )
})

/** A program that runs QEMU. */
export interface StartScript extends Schema.Schema.Type<typeof StartScript> {}

/** An image that was built or found: every path is absolute, on the host, and read-only to its users. */
export interface BootImage {
  /** Of everything that went in and what came out of it (SHA-256, hex): two builds of one description differ in it. */
  readonly digest: string
  /** An uncompressed ELF kernel (QEMU boots it by PVH) or a bzImage; empty when `disk` boots by the machine's firmware. */
  readonly kernel: string
  /** Empty when there is none. */
  readonly initrd: string
  /** The kernel's command line without `console=`, which the hypervisor knows. */
  readonly cmdline: string
  /** A read-only root file system: the guest's first virtio disk, /dev/vda. Undefined when all is in the initrd. */
  readonly root: string | undefined
  /** A disk of the user's own, to be given to the guest as a throw-away copy: its first virtio disk, /dev/vda. */
  readonly disk?: { readonly path: string; readonly format: "raw" | "qcow2" } | undefined
  /** What starts the machine, instead of what is above: those are empty then. */
  readonly startScript?: StartScript | undefined
  /** What the image decides of its machine, instead of the declaration: bytes, and processors. */
  readonly hardware?: { readonly memory: number; readonly cpus: number } | undefined
  /** What to expect inside: `tiny` is busybox with its own init, `debian` is systemd, `disk` is unknown, `script` has its own name and addresses. */
  readonly guest: "tiny" | "debian" | "disk" | "script"
  /** Milliseconds since the epoch. */
  readonly builtAt: number
}

/**
 * Where the initramfs of tiny and debian images looks for the script that makes the guest the declared machine, with `vm_root` set to the
 * folder of its root file system. The hypervisor adds it to the initramfs.
 */
export const identityPath = "vmtest/identity"

/** The guest's port of vsock where tiny and debian images have their bootstrap shell, if the machine has no virtio ports. */
export const vsockPort = 1024
