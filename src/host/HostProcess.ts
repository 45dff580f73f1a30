/**
 * Programs of the host that live no longer than this process does.
 *
 * Every program is started as the leader of its own session and process group, through `setpriv --pdeathsig KILL`, so
 * that the kernel ends it even when this process is ended by `kill -9`. Closing its scope ends the whole group: SIGTERM,
 * then SIGKILL after a grace. Whatever is left of the group when its leader ends is killed at once.
 *
 * The kernel ties the death signal to the *thread* that started the program, takes it from a program that changes its
 * user on exec, and never gives it to that program's own children. For a program that starts others, ask for
 * `wholeGroup`.
 *
 * **Example** (a program that must succeed)
 *
 * ```ts
 * const { stdout } = yield* HostProcess.check({ command: "qemu-img", args: ["info", "disk.qcow2"] })
 * ```
 *
 * @since 0.1.0
 */
import type { Duplex, Readable, Writable } from "node:stream"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as internal from "./internal/hostProcess.ts"
import { findTool, installOf, packageOf } from "./internal/tools.ts"

/** A program is not on the PATH; `package` is the Debian package that has it, or empty if Debian 12 has none. */
export class ToolMissing extends Schema.TaggedError<ToolMissing>()("ToolMissing", {
  tool: Schema.String,
  package: Schema.String
}) {
  override get message() {
    return `${this.tool} is not installed: ${installOf(this.tool, this.package)}`
  }
}

/** The host did not start the program: no such folder, no permission, out of processes or memory. */
export class SpawnFailed extends Schema.TaggedError<SpawnFailed>()("SpawnFailed", {
  name: Schema.String,
  command: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.name}: could not start ${this.command}: ${this.reason}`
  }
}

/** A pipe to or from a program broke. It is not an error when a program closes its standard input early. */
export class PipeFailed extends Schema.TaggedError<PipeFailed>()("PipeFailed", {
  name: Schema.String,
  stream: Schema.Literals(["stdin", "stdout", "stderr"]),
  reason: Schema.String
}) {
  override get message() {
    return `${this.name}: ${this.stream} failed: ${this.reason}`
  }
}

/** A program did not exit with 0; `stderr` is the end of its standard error. */
export class ProcessFailed extends Schema.TaggedError<ProcessFailed>()("ProcessFailed", {
  name: Schema.String,
  command: Schema.String,
  status: Schema.String,
  stderr: Schema.String
}) {
  override get message() {
    return `${this.name}: ${this.command} ended with ${this.status}${this.stderr === "" ? "" : `: ${this.stderr.trim()}`}`
  }
}

/** What can go wrong before a program runs. */
export type HostProcessError = ToolMissing | SpawnFailed

/** How a program ended: by itself with `exitCode`, or by `signal`; the other one is undefined. */
export interface ExitStatus {
  readonly exitCode: number | undefined
  readonly signal: NodeJS.Signals | undefined
}

/**
 * Where a program's output goes. A file is appended to, and made with mode 0600 if it is not there.
 *
 * A `"pipe"` is a socket, as everywhere in Node: it takes about 300 writes that nobody has read, however small they are. A `fifo` takes 64 KiB, for programs
 * that write single bytes and cannot wait. It is made at that path, and removed again when the program has it.
 */
export type Output = "ignore" | "inherit" | "pipe" | { readonly file: string } | { readonly fifo: string }

/** What to start, and how. */
export interface SpawnOptions {
  /** What messages call it. Default: the command. */
  readonly name?: string | undefined
  /** A path, or a name to look for on the PATH. */
  readonly command: string
  readonly args?: ReadonlyArray<string> | undefined
  /** Default: this process's own working folder. */
  readonly cwd?: string | undefined
  /** Added to this process's own environment; `undefined` takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** A text is written, then the input is closed. Default `"ignore"`: at its end from the start. */
  readonly stdin?: "ignore" | "pipe" | "inherit" | { readonly text: string } | undefined
  /** Default `"ignore"`. */
  readonly stdout?: Output | undefined
  /** Default `"ignore"`. */
  readonly stderr?: Output | undefined
  /** How long the program has after SIGTERM until SIGKILL when the scope closes. Default 2 seconds; 0 is SIGKILL at once. */
  readonly grace?: Duration.Input | undefined
  /**
   * Whether `kill -9` of this process also ends the program's own children, for one more small process of ours. Default
   * false: only the program itself.
   */
  readonly wholeGroup?: boolean | undefined
  /**
   * An entry of `env`, as `NAME=value`. With `wholeGroup`, `kill -9` of this process then also ends the programs that inherited it, in whatever group or
   * session they are. The value must be unlike those of other processes.
   */
  readonly mark?: string | undefined
  /** Whether the program gets one end of a socket as its descriptor 4; the other end is `streams.channel`. Default false. */
  readonly channel?: boolean | undefined
}

/** A program that was started. */
export interface HostProcess {
  readonly name: string
  /** Also the id of its process group and session. */
  readonly pid: number
  /** Resolves when the program has ended, as often as it is asked; never fails. */
  readonly exited: Effect.Effect<ExitStatus>
  /** How it ended, or undefined while it runs. */
  readonly status: () => ExitStatus | undefined
  /** Signals the whole group; nothing happens once it has ended. Default SIGTERM. */
  readonly kill: (signal?: NodeJS.Signals) => Effect.Effect<void>
  /** Its output where `stdout: "pipe"` or a `fifo` was asked for, else empty. To be read once, and from the start: what is not read holds the program up, and what was not read when it ended may be lost. */
  readonly stdout: Stream.Stream<Uint8Array, PipeFailed>
  /** As `stdout`, for `stderr: "pipe"`. */
  readonly stderr: Stream.Stream<Uint8Array, PipeFailed>
  /** Writes to its input where `stdin: "pipe"` was asked for; returns when the pipe has taken it all. */
  readonly write: (bytes: Uint8Array | string) => Effect.Effect<void, PipeFailed>
  /** Closes its input. */
  readonly endInput: Effect.Effect<void>
  /** The pipes themselves, for a consumer that wants Node's own streams. */
  readonly streams: {
    readonly stdin: Writable | null
    readonly stdout: Readable | null
    readonly stderr: Readable | null
    /** Its descriptor 4 where `channel` was asked for: what it writes there can be read here, and the other way round. */
    readonly channel: Duplex | null
  }
}

/** What a finished program left. Text is UTF-8, bad bytes replaced. */
export interface Completed extends ExitStatus {
  readonly stdout: string
  readonly stderr: string
}

/**
 * Starts a program that ends with the scope, and with this process whatever happens to it.
 *
 * Fails with `ToolMissing` before anything starts if the command (or `setpriv` itself) is not there.
 */
export const spawn: (options: SpawnOptions) => Effect.Effect<HostProcess, HostProcessError, Scope.Scope> =
  Effect.fnUntraced(function* (options: SpawnOptions) {
    const setpriv = yield* locate("setpriv")
    const command = yield* locate(options.command, options.env)
    for (const output of [options.stdout, options.stderr]) {
      if (typeof output !== "object" || !("fifo" in output)) continue
      const mkfifo = yield* locate("mkfifo")
      yield* Effect.mapError(
        internal.makeFifo(mkfifo, output.fifo),
        (reason) => new SpawnFailed({ name: options.name ?? options.command, command: options.command, reason })
      )
    }
    return yield* Effect.acquireRelease(
      Effect.callback<internal.Started, SpawnFailed>((resume) =>
        internal.start({ ...options, setpriv, command }, (reason, started) =>
          resume(
            started === undefined
              ? Effect.fail(
                  new SpawnFailed({ name: options.name ?? options.command, command: options.command, reason })
                )
              : Effect.succeed(started)
          )
        )
      ),
      (started) => internal.stop(started, options.grace ?? "2 seconds")
    ).pipe(Effect.map((started) => internal.handle(started, (fields) => new PipeFailed(fields))))
  })

/**
 * Runs a program to its end and collects what it said. Whatever its exit status, that is a result; `check` wants 0.
 *
 * Interruption (so a timeout around it, too) ends the program's whole group.
 */
export const run = (options: Omit<SpawnOptions, "stdout" | "stderr">): Effect.Effect<Completed, HostProcessError> =>
  Effect.scoped(spawn({ ...options, stdout: "pipe", stderr: "pipe" }).pipe(Effect.flatMap(internal.collect)))

/** Runs a program that must end with 0; anything else is `ProcessFailed` with the last 2000 characters of its stderr. */
export const check = (
  options: Omit<SpawnOptions, "stdout" | "stderr">
): Effect.Effect<Completed, HostProcessError | ProcessFailed> =>
  run(options).pipe(
    Effect.flatMap((completed) =>
      completed.exitCode === 0
        ? Effect.succeed(completed)
        : new ProcessFailed({
            name: options.name ?? options.command,
            command: [options.command, ...(options.args ?? [])].join(" "),
            status: describeStatus(completed),
            stderr: completed.stderr.slice(-2000)
          })
    )
  )

/** The full path of a program, or `ToolMissing` with the package that brings it. */
export const locate = (
  tool: string,
  env?: Readonly<Record<string, string | undefined>>
): Effect.Effect<string, ToolMissing> =>
  Effect.suspend(() => {
    const path = findTool(tool, env?.PATH ?? process.env.PATH)
    return path === undefined ? Effect.fail(new ToolMissing({ tool, package: packageOf(tool) })) : Effect.succeed(path)
  })

/** `"exit code 1"` or `"signal SIGKILL"`. */
export const describeStatus = (status: ExitStatus): string =>
  status.signal === undefined ? `exit code ${status.exitCode}` : `signal ${status.signal}`
