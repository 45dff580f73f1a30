/**
 * Descriptions of what a machine boots. A description is plain data; `ImageStore` builds it.
 *
 * @since 0.1.0
 */

/** A file to put into a guest: its content, or where on the host it is. */
export type FileContent = string | Uint8Array | FileOptions

/** A file to put into a guest, with how it should look there. */
export interface FileOptions {
  /** The content itself. Either this or `source`. */
  readonly content?: string | Uint8Array | undefined
  /** A file or a whole folder of the host; relative to the working folder. */
  readonly source?: string | undefined
  /** Permission bits, for example `0o755`. Default: 0o755 for a `source` that can be executed, else 0o644. */
  readonly mode?: number | undefined
  /** `user`, `user:group` or numbers, as chown takes them in the guest. Default root. Not for `Image.tiny`. */
  readonly owner?: string | undefined
}

/** Absolute paths in the guest, and what is there. Folders on the way are made as needed. */
export type Files = Readonly<Record<string, FileContent>>

/** A user of the guest. */
export interface UserOptions {
  readonly uid?: number | undefined
  /** Further groups; they must exist. */
  readonly groups?: ReadonlyArray<string> | undefined
  /** Default /bin/bash. */
  readonly shell?: string | undefined
  /** In the clear: this is a test's guest. Default: none, logging in needs no password. */
  readonly password?: string | undefined
}

/** What every image built from Debian packages takes. */
export interface SuiteOptions {
  /** Debian's code name. Default `bookworm`, whatever the host runs. */
  readonly suite?: string | undefined
  /**
   * Where the suite comes from. Default: `VMTEST_DEBIAN_MIRROR` if it is set, else the host's own apt configuration on
   * a Debian host. Packages are always verified with Debian's archive keyring.
   */
  readonly mirror?: string | undefined
  /** Appended to the kernel's command line. */
  readonly kernelParameters?: string | undefined
}

/** Options of {@link tiny}. */
export interface TinyOptions extends SuiteOptions {
  readonly files?: Files | undefined
  /** Kernel modules to load besides virtio's, by name; what they depend on comes along. */
  readonly modules?: ReadonlyArray<string> | undefined
}

/** Options of {@link debian}. */
export interface DebianOptions extends SuiteOptions {
  /** Package names, or `name=version`. Recommended packages do not come along by themselves. */
  readonly packages?: ReadonlyArray<string> | undefined
  readonly files?: Files | undefined
  /** systemd units by full name (`echo.service`): their text, enabled. `{ text, enabled: false }` only puts it there. */
  readonly units?: Readonly<Record<string, string | UnitOptions>> | undefined
  readonly users?: Readonly<Record<string, UserOptions>> | undefined
  /** Default `vmtest`. The driver gives each machine its own name when it boots. */
  readonly hostname?: string | undefined
  /** Commands for sh, as root inside the image, after everything else is in place. One that fails fails the build. */
  readonly setup?: string | ReadonlyArray<string> | undefined
}

/** A systemd unit to put into a guest. */
export interface UnitOptions {
  readonly text: string
  /** Default true. A service without an [Install] section is started with multi-user.target. */
  readonly enabled?: boolean | undefined
}

/** Options of {@link disk}. */
export interface DiskOptions {
  /** A raw or qcow2 disk; relative to the working folder. It is never written to. */
  readonly path: string
  /** Default: by the file's first bytes. */
  readonly format?: "raw" | "qcow2" | undefined
  /** Boots this kernel instead of what the disk's boot loader starts. */
  readonly kernel?: string | undefined
  readonly initrd?: string | undefined
  /** For `kernel`, without `console=`. */
  readonly cmdline?: string | undefined
}

/** Busybox and a kernel, see {@link tiny}. */
export interface TinyImage extends TinyOptions {
  readonly _tag: "TinyImage"
}

/** Debian with systemd, see {@link debian}. */
export interface DebianImage extends DebianOptions {
  readonly _tag: "DebianImage"
}

/** A disk of the user's own, see {@link disk}. */
export interface DiskImage extends DiskOptions {
  readonly _tag: "DiskImage"
}

/** What a machine boots. */
export type Image = TinyImage | DebianImage | DiskImage

/**
 * Busybox on Debian's cloud kernel, all in memory: builds in seconds and boots in about three under emulation.
 *
 * There is no systemd in it: commands, files and processes work, units do not.
 */
export const tiny = (options: TinyOptions = {}): TinyImage => ({ ...options, _tag: "TinyImage" })

/**
 * Debian with systemd, D-Bus, udev and iproute2, and whatever packages, files and units are asked for.
 *
 * The root is read-only on disk under a memory file system, so every boot starts from the same state.
 */
export const debian = (options: DebianOptions = {}): DebianImage => ({ ...options, _tag: "DebianImage" })

/**
 * Any disk with a root shell on a virtio port named `vmtest.0`, which prints `vmtest: shell ready` when it starts and
 * then reads commands.
 */
export const disk = (options: DiskOptions): DiskImage => ({ ...options, _tag: "DiskImage" })

/** What messages and the terminal call an image. */
export const describe = (image: Image): string => {
  if (image._tag === "DiskImage") return `disk ${image.path}`
  if (image._tag === "TinyImage") return "tiny"
  // It names images that are refused, too: what no compiler checked may be no array.
  const packages = Array.isArray(image.packages) ? image.packages : []
  const shown = packages.slice(0, 4).join(", ")
  const more = packages.length > 4 ? `, and ${packages.length - 4} more` : ""
  return packages.length === 0 ? "debian" : `debian with ${shown}${more}`
}
