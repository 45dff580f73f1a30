/**
 * Why there is no image to boot.
 *
 * **Example** (a full disk is not the description's fault)
 *
 * ```ts
 * const image = ImageStore.ImageStore.use((store) => store.resolve(Image.tiny())).pipe(
 *   Effect.catchTag("DiskFull", ({ path }) => Effect.die(`make room on the disk of ${path}`))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { CacheUnwritable } from "../host/Cache.ts"
import type { SpawnFailed, ToolMissing } from "../host/HostProcess.ts"
import type { LockFailed, LockTimeout } from "../host/Lock.ts"

/** The description is not valid; nothing was started. `field` is where, for example `files./etc/motd`; `reason` is a sentence that names it. */
export class BadImage extends Schema.TaggedError<BadImage>()("BadImage", {
  image: Schema.String,
  field: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `image ${this.image}: ${this.reason}`
  }
}

/** A runner of microvm.nix is for a hypervisor that vmtest has no backend for. Nothing was started. */
export class NoBackend extends Schema.TaggedError<NoBackend>()("NoBackend", {
  /** What needs it, such as `image runner result`. */
  what: Schema.String,
  /** As microvm.nix calls it, such as `crosvm`. */
  hypervisor: Schema.String
}) {
  override get message() {
    return `${this.what}: needs the hypervisor ${this.hypervisor}, which vmtest has no backend for yet; use one for qemu (microvm.hypervisor = "qemu")`
  }
}

/** The suite does not have these packages; `reason` is in apt's words. Found before anything is built. */
export class UnknownPackage extends Schema.TaggedError<UnknownPackage>()("UnknownPackage", {
  image: Schema.String,
  packages: Schema.Array(Schema.String),
  reason: Schema.String
}) {
  override get message() {
    return `image ${this.image}: unknown package${this.packages.length > 1 ? "s" : ""}: ${this.packages.join(", ")}\n${this.reason}`
  }
}

/** No mirror is known for the packages of a Debian release. */
export class NoMirror extends Schema.TaggedError<NoMirror>()("NoMirror", {
  suite: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not find a mirror for Debian ${this.suite}: ${this.reason}; set VMTEST_DEBIAN_MIRROR to the address of one`
  }
}

/**
 * A step of a build failed: `reason` is the cause in one line, and `said` the output of its tool around that. `log` is a file with all of the
 * output; empty if there is none. Nothing else of the build is left.
 */
export class BuildFailed extends Schema.TaggedError<BuildFailed>()("BuildFailed", {
  image: Schema.String,
  step: Schema.String,
  reason: Schema.String,
  said: Schema.String,
  log: Schema.String
}) {
  override get message() {
    const log = this.log === "" ? "" : `\nthe whole output is in ${this.log}`
    return `image ${this.image}: ${this.step}: ${this.reason}${this.said === "" ? "" : `\n${this.said}`}${log}`
  }
}

/** The disk is full. Nothing of the build is left. */
export class DiskFull extends Schema.TaggedError<DiskFull>()("DiskFull", {
  image: Schema.String,
  step: Schema.String,
  path: Schema.String,
  said: Schema.String
}) {
  override get message() {
    return (
      `image ${this.image}: ${this.step}: no space left on the disk of ${this.path}; the half-built image was removed` +
      `${this.said === "" ? "" : `\n${this.said}`}\nrun \`vmtest image prune\` to remove old images`
    )
  }
}

/** Everything that can go wrong between a description and what boots. */
export type ImageError =
  | BadImage
  | NoBackend
  | UnknownPackage
  | NoMirror
  | BuildFailed
  | DiskFull
  | ToolMissing
  | SpawnFailed
  | CacheUnwritable
  | LockTimeout
  | LockFailed
