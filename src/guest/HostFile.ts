/**
 * Files of the host that a test reads or writes: what is copied, pictures, references.
 *
 * **Example** (Creating a file that was not there to copy)
 *
 * ```ts
 * web.copyFromHost("site.tar", "/srv").pipe(
 *   Effect.catchTag("HostFileError", () => web.succeed("mkdir -p /srv/site"))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A file on the host is missing, could not be read or written, or is outside the output folder. `reason` completes "the file …", such as
 * `does not exist`.
 */
export class HostFileError extends Schema.TaggedError<HostFileError>()("HostFileError", {
  machine: Schema.String,
  path: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: ${this.path} on the host ${this.reason}`
  }
}
