/**
 * Locks between processes, which the kernel releases when their holder dies, however it dies.
 *
 * A lock is a `flock(2)` on a file, held by a small child process that ends with the scope and with this process. The
 * file stays when the lock is released: removing it would let two holders lock two different files of one name.
 *
 * **Example** (one process at a time)
 *
 * ```ts
 * yield* download.pipe(Lock.withLock("/var/tmp/download.lock", {
 *   onWait: (holder) => Effect.logInfo(`waiting for ${holder}`)
 * }))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Disk from "./Disk.ts"
import type { HostProcessError } from "./HostProcess.ts"
import * as HostProcess from "./HostProcess.ts"
import { makeFolder } from "./internal/makeFolder.ts"

/** Another process held the lock until the deadline; `holder` names it where that is known. */
export class LockTimeout extends Schema.TaggedError<LockTimeout>()("LockTimeout", {
  path: Schema.String,
  waited: Schema.Duration,
  holder: Schema.String
}) {
  override get message() {
    const holder = this.holder === "" ? "another process" : this.holder
    return `could not lock ${this.path}: ${holder} still held it after ${Duration.format(this.waited)}`
  }
}

/** The lock file could not be made or locked. */
export class LockFailed extends Schema.TaggedError<LockFailed>()("LockFailed", {
  path: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not lock ${this.path}: ${this.reason}`
  }
}

/** Why a lock was not taken. */
export type LockError = LockTimeout | LockFailed | HostProcessError

/** How to take a lock. */
export interface LockOptions {
  /** Many may hold a lock `shared`; `exclusive` keeps all others out. Default `exclusive`. */
  readonly mode?: "exclusive" | "shared" | undefined
  /** How long to wait for it. Default 30 minutes; 0 does not wait. */
  readonly deadline?: Duration.Input | undefined
  /** Run once, with the name of the holder (`process 123`, or `another process`), if the lock is not free at once. */
  readonly onWait?: ((holder: string) => Effect.Effect<void>) | undefined
}

/** How long to wait for a lock. */
const defaultDeadline: Duration.Input = "30 minutes"

/** A shorter wait is not reported. */
const reportWaitAfter: Duration.Input = "200 millis"

/** How often to look for the name of a holder. Without one it is likelier that `flock` has not come to take the lock yet. */
const mostLooks = 25

/** How long `flock` may take to say that a lock is taken, when it is not to wait for it. */
const answerDeadline: Duration.Input = "10 seconds"

/** Takes the lock until the scope closes. The file and its folder are made if they are not there. */
export const acquire: (path: string, options?: LockOptions) => Effect.Effect<void, LockError, Scope.Scope> =
  Effect.fnUntraced(function* (path: string, options?: LockOptions) {
    const mode = options?.mode ?? "exclusive"
    const deadline = Duration.fromInputUnsafe(options?.deadline ?? defaultDeadline)
    const failed = (error: unknown) => new LockFailed({ path, reason: Disk.reasonOf(error) })
    yield* Effect.try({
      try: () => {
        // Reading is enough to share a lock, also where nothing can be written.
        if (mode === "shared" && Fs.existsSync(path)) return
        makeFolder(Path.dirname(path))
        Fs.closeSync(Fs.openSync(path, "a", 0o600))
      },
      catch: failed
    })
    const flock = yield* HostProcess.spawn({
      name: `lock on ${path}`,
      command: "flock",
      // With no fork the process that holds the lock is the one that dies with us.
      args: [
        "--no-fork",
        `--${mode}`,
        ...(Duration.toMillis(deadline) === 0 ? ["--nonblock"] : []),
        "--conflict-exit-code=75",
        path,
        ...["/bin/sh", "-c", "echo locked; exec cat"]
      ],
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      grace: 0
    })
    const held = flock.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.take(1), Stream.runCollect)
    const holder = Effect.sync(() => holderOf(path)).pipe(
      Effect.delay(reportWaitAfter),
      Effect.repeat({ until: (name) => name !== "", times: mostLooks - 1 })
    )
    const waiter = yield* Effect.forkScoped(
      Effect.flatMap(holder, (name) => options?.onWait?.(name === "" ? "another process" : name) ?? Effect.void)
    )
    const lines = yield* held.pipe(
      Effect.mapError(failed),
      Effect.timeoutOption(Duration.toMillis(deadline) === 0 ? answerDeadline : deadline)
    )
    yield* Fiber.interrupt(waiter)
    if (lines._tag === "None") return yield* new LockTimeout({ path, waited: deadline, holder: holderOf(path) })
    if (lines.value[0] !== "locked") {
      const status = yield* flock.exited
      if (status.exitCode === 75) return yield* new LockTimeout({ path, waited: deadline, holder: holderOf(path) })
      const said = yield* flock.stderr.pipe(
        Stream.decodeText(),
        Stream.mkString,
        Effect.orElseSucceed(() => "")
      )
      return yield* failed(said.trim() || HostProcess.describeStatus(status))
    }
    if (mode === "exclusive") {
      yield* Effect.acquireRelease(
        // For those who wait; a full disk must not stand in the way of the lock.
        Disk.quietly(() => Fs.writeFileSync(path, `process ${process.pid}\n`)),
        // Not written, which would bring a file back that its user has removed.
        () => Disk.quietly(() => Fs.truncateSync(path))
      )
    }
  })

/** Runs an effect under the lock. */
export const withLock =
  (path: string, options?: LockOptions) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockError, Exclude<R, Scope.Scope>> =>
    Effect.scoped(Effect.andThen(acquire(path, options), effect))

/** What the last exclusive holder wrote about itself; empty if nothing is known. */
const holderOf = (path: string): string =>
  Fs.statSync(path, { throwIfNoEntry: false })?.isFile() === true ? Fs.readFileSync(path, "utf8").trim() : ""
