/**
 * Copying files and trees between host and guest, of any size, with their modes.
 *
 * A tree is sent as one tar stream through a command's standard input or output; a single file into the guest is sent as it is. Every Debian
 * guest and busybox have `tar`.
 *
 * **Example** (A site into the guest, its log back out)
 *
 * ```ts
 * yield* web.copyFromHost("site", "/srv/www")
 * yield* web.succeed("systemctl start nginx")
 * const log = yield* web.copyFromMachine("/var/log/nginx/access.log")
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fields from "../host/Fields.ts"
import { traced } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import type { CopyFailed } from "./CopyFailed.ts"
import type { CommandError, Guest } from "./Guest.ts"
import type { HostFileError } from "./HostFile.ts"
import { copyFromHost } from "./internal/copyFromHost.ts"
import { copyFromMachine } from "./internal/copyFromMachine.ts"
import type { InvalidArgument } from "./MachineError.ts"

/** What copying can fail with. */
export type CopyError = CommandError | CopyFailed | HostFileError

/** Copying, for a machine. */
export interface CopyMethods {
  /**
   * Copies a file or a tree of the host into the guest.
   *
   * `target` is the path of the copy itself. A tree is merged into a folder that already exists. A file is put into `target` if that is a
   * folder, or ends in `/`. Missing folders above it are created; everything belongs to root. Symbolic links in a tree stay links; if
   * `source` itself is one, it is followed.
   *
   * A single file that is written to a symbolic link goes where the link leads, as with `cp` and `writeFile`, unless that is a device or in a
   * folder that does not exist; a file of a tree replaces the link. Holes stay holes if the guest has GNU tar. An existing folder keeps its
   * owner and mode, and a symbolic link to one stays (busybox's tar gives folders below `target` the modes and the owner of the copy).
   *
   * It stops at the first byte that the guest cannot store, for example on a full disk, with a `CopyFailed` that says why. Then, and after
   * an interruption, nothing is left of a single file; of a tree, what came before is left.
   */
  readonly copyFromHost: (source: string, target: string) => Effect.Effect<void, CopyError | InvalidArgument>
  /**
   * Copies a file or a tree of the guest to the host, into the output folder and there into `folder`, under its own name. Returns the path of
   * the copy, which replaces an earlier one.
   *
   * Symbolic links in a tree stay links; if `source` itself is one, it is followed. A `folder` outside the output folder is an error, and
   * nothing is written. Holes stay holes if the guest has GNU tar. Modes are kept, except set-user-ID and set-group-ID, and a tree with device
   * nodes is an error: a guest must not create either on the host.
   */
  readonly copyFromMachine: (source: string, folder?: string) => Effect.Effect<string, CopyError | InvalidArgument>
}

/** What its methods take. */
export const parameters = Arguments.of<CopyMethods>({
  copyFromHost: Arguments.takes({
    source: Fields.filled("a path on the host, a string that is not empty"),
    target: Fields.filled("a path in the guest, a string that is not empty")
  }),
  copyFromMachine: Arguments.takes({
    source: Fields.filled("a path in the guest, a string that is not empty"),
    folder: Schema.optional(Schema.String)
  })
})

/** The copy methods of a guest. */
export const make = (guest: Guest): CopyMethods =>
  Arguments.checked<CopyMethods>(guest.name, parameters, {
    copyFromHost: (source, target) =>
      traced(guest, { name: "copyFromHost", attributes: { path: source } }, copyFromHost(guest, source, target)),
    copyFromMachine: (source, folder = "") =>
      traced(guest, { name: "copyFromMachine", attributes: { path: source } }, copyFromMachine(guest, source, folder))
  })
