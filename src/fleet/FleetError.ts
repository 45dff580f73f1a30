/**
 * What can go wrong between a client, its database and the workers.
 *
 * **Example** (What to do when the database cannot be used)
 *
 * ```ts
 * const url = DatabaseUrl.parse("postgres://db.example.org/vmtest").pipe(
 *   Effect.catchTag("DatabaseUnusable", ({ problem, reason }) => Effect.die(`${problem}: ${reason}`))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/** Why a database cannot be used. */
export const DatabaseProblem = Schema.Literals([
  /** The URL is not one of Postgres, or would send passwords and code unencrypted to another host. */
  "url",
  /** `@effect/sql-pg` is not installed. */
  "driver",
  /** No such host, no such port, or the connection was lost for longer than it is retried. */
  "unreachable",
  /** The user, the password or the database is wrong. */
  "refused",
  /** The role may not do this. */
  "forbidden",
  /** The database has tables of something else, or a schema `vmtest` that vmtest did not make. */
  "foreign",
  /** Another version of vmtest has changed the tables since. */
  "newer",
  /** The disk of the database is full. */
  "full",
  /** Anything else that Postgres answers. */
  "other"
])

/** Why a database cannot be used. */
export type DatabaseProblem = typeof DatabaseProblem.Type

/** The database of a fleet cannot be used; `problem` is why, and `database` its URL without the password. */
export class DatabaseUnusable extends Schema.TaggedError<DatabaseUnusable>()("DatabaseUnusable", {
  database: Schema.String,
  problem: DatabaseProblem,
  reason: Schema.String
}) {
  override get message() {
    return `could not use the database ${this.database}: ${this.reason}`
  }
}

/** A test file cannot be sent to other hosts: it does not bundle, or does not give tests there. Nothing was offered. */
export class FileNotPortable extends Schema.TaggedError<FileNotPortable>()("FileNotPortable", {
  file: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.file}: ${this.reason}`
  }
}

/** No worker can run these files, and none is expected to; nothing of the run was started. */
export class NobodyServes extends Schema.TaggedError<NobodyServes>()("NobodyServes", {
  files: Schema.Array(Schema.String),
  /** What each of them needs, such as `x86_64, any accelerator, 2 GiB`. */
  needs: Schema.Array(Schema.String),
  /** What the workers have, a line each; empty if there are none. */
  workers: Schema.Array(Schema.String)
}) {
  override get message() {
    const files = this.files.map((file, index) => `\n  ${file} needs ${this.needs[index]}`).join("")
    const workers =
      this.workers.length === 0
        ? "\nno worker is connected; start one with: vmtest fleet worker --url URL"
        : `\nthe workers have:${this.workers.map((worker) => `\n  ${worker}`).join("")}`
    return `no worker can run ${this.files.length === 1 ? "this file" : "these files"}:${files}${workers}`
  }
}

/** The database has no run of this name: it never had, or the run was pruned. */
export class NoSuchRun extends Schema.TaggedError<NoSuchRun>()("NoSuchRun", { run: Schema.String }) {
  override get message() {
    return `there is no run ${JSON.stringify(this.run)}; "vmtest fleet status" lists the runs`
  }
}

/** The run was offered by a version of vmtest that tells what happens in another way. */
export class OtherVersion extends Schema.TaggedError<OtherVersion>()("OtherVersion", {
  run: Schema.String,
  /** The version of its protocol. */
  protocol: Schema.Int,
  /** The one that this vmtest knows. */
  known: Schema.Int
}) {
  override get message() {
    return `the run ${this.run} has version ${this.protocol} of the protocol, and this vmtest knows version ${this.known}; use the version of vmtest that offered it`
  }
}

/** The run was cancelled while it was waited for. */
export class RunCancelled extends Schema.TaggedError<RunCancelled>()("RunCancelled", { run: Schema.String }) {
  override get message() {
    return `the run ${this.run} was cancelled`
  }
}

/** A host was lost while it ran a file, and so was the host that ran it again. It is the failure of the file's tests. */
export class HostLost extends Schema.TaggedError<HostLost>()("HostLost", {
  file: Schema.String,
  attempts: Schema.Int,
  reason: Schema.String
}) {
  override get message() {
    return `${this.file} was started ${this.attempts} times, and each time its host was lost: ${this.reason}`
  }
}
