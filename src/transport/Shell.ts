/**
 * Commands in a guest: exit status, standard output and standard error separate, complete and in order, several at once.
 *
 * **Example** (Run a command in a guest)
 *
 * ```ts
 * const program = Effect.gen(function* () {
 *   const shell = yield* Shell.make({ machine: "web", channel })
 *   const { exitCode, stdout } = yield* shell.execute("uname -r", { timeout: "10 seconds" })
 *   yield* Effect.log(`exit code ${exitCode}: ${stdout}`)
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as Digest from "../host/Digest.ts"
import * as Fields from "../host/Fields.ts"
import type { GuestChannel } from "./GuestChannel.ts"
import { agent } from "./internal/agent.ts"
import * as Commands from "./internal/commands.ts"
import * as Lanes from "./internal/lanes.ts"
import type { Preopened } from "./Preopened.ts"
import type { CommandRejected, ShellError, ShellNotReady, TransportError } from "./ShellError.ts"
import { Transport, type TransportService } from "./Transport.ts"
import * as VirtConsole from "./VirtConsole.ts"
import * as VirtioPort from "./VirtioPort.ts"
import * as Vsock from "./Vsock.ts"

export type { ShellError } from "./ShellError.ts"

/** Options of a command. */
export const ExecuteOptions = Fields.options(
  {
    /**
     * How long the command may run before its process group is killed. Default 15 minutes; `Infinity` for ever. When all lanes are in use, the command
     * waits as long for one, and then fails with `CommandRejected` (`Busy`). A `spawn` runs for ever by default, and waits 15 minutes at most.
     */
    timeout: Schema.optional(Fields.time({ endless: true })),
    /** The guest user to run as. Default root. */
    user: Schema.optional(Schema.String),
    /** The working directory. Default the user's home, or `/` if it does not exist. A relative path is relative to that. */
    cwd: Schema.optional(Schema.String),
    /** Environment variables, in addition to the shell's. */
    env: Schema.optional(Fields.Texts),
    /** The standard input of the command, up to its end of file. Default empty. */
    stdin: Schema.optional(
      Schema.Union([Schema.String, Fields.Bytes, Fields.ByteStream]).annotate({
        expected: "a string, a Uint8Array or a Stream of bytes"
      })
    )
  },
  '{ timeout: "5 seconds" }'
)

/** Options of a command. */
export interface ExecuteOptions extends Schema.Schema.Type<typeof ExecuteOptions> {}

/** Options of a command whose output is collected. */
export const CollectOptions = Fields.options(
  {
    ...ExecuteOptions.fields,
    /** Called with each piece of output while the command runs. The command waits for it. */
    stream: Schema.optional(Fields.callback<(output: CommandOutput) => Effect.Effect<void>>())
  },
  '{ timeout: "5 seconds" }'
)

/** Options of a command whose output is collected. */
export interface CollectOptions extends Schema.Schema.Type<typeof CollectOptions> {}

/** The result of a command, decoded as UTF-8 with replacement characters. */
export interface CommandResult {
  /** 0 to 255; 128 + n after death by signal n */
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** The result of a command, as bytes. */
export interface BytesResult {
  /** 0 to 255; 128 + n after death by signal n */
  readonly exitCode: number
  readonly stdout: Uint8Array
  readonly stderr: Uint8Array
}

/** A piece of a command's output. */
export type CommandOutput = { readonly _tag: "Stdout" | "Stderr"; readonly bytes: Uint8Array }

/** An event of a running command: a piece of output, or finally its exit code. */
export type CommandEvent = CommandOutput | { readonly _tag: "Exit"; readonly exitCode: number }

/** The signals that can be sent to a command's process group. */
export type Signal = "HUP" | "INT" | "QUIT" | "KILL" | "USR1" | "USR2" | "TERM" | "CONT" | "STOP"

/** A running command. Closing the scope in which it was spawned kills its process group. */
export interface GuestProcess {
  readonly command: string
  /** Its output, for one reader: a second one would take bytes from the first. A reader that pauses slows the command down. */
  readonly stdout: Stream.Stream<Uint8Array, ShellError>
  readonly stderr: Stream.Stream<Uint8Array, ShellError>
  /**
   * Writes to its standard input, and waits while the command does not read. What is written after the command has ended is
   * discarded. Fails with `CommandRejected` after `end`, or if the command was started with a `stdin`.
   */
  readonly write: (data: string | Uint8Array) => Effect.Effect<void, CommandRejected>
  /** Ends its standard input. */
  readonly end: Effect.Effect<void>
  /** Sends a signal to its process group. Does nothing when the command has ended. */
  readonly signal: (signal: Signal) => Effect.Effect<void>
  /** Waits for its exit code, even if another process still holds its output open. */
  readonly wait: Effect.Effect<number, ShellError>
}

/** The commands of one guest. */
export interface ShellService {
  readonly machine: string
  /** How many commands run at once; more than that wait in a queue. */
  readonly lanes: number
  /** Runs a command to its end. A non-zero exit is a result, not an error. */
  readonly execute: (command: string, options?: CollectOptions) => Effect.Effect<CommandResult, ShellError>
  /** As {@link ShellService.execute}, with the output as bytes. */
  readonly executeBytes: (command: string, options?: CollectOptions) => Effect.Effect<BytesResult, ShellError>
  /** The output of a command while it runs, and finally its exit code. A consumer that stops early kills the command. */
  readonly executeStream: (command: string, options?: ExecuteOptions) => Stream.Stream<CommandEvent, ShellError>
  /** Starts a command and returns a handle. Without `stdin`, its input is written through the handle. */
  readonly spawn: (command: string, options?: ExecuteOptions) => Effect.Effect<GuestProcess, ShellError, Scope.Scope>
  /**
   * Prepares a guest that is about to be saved: starts lanes until there are eight, and waits until they are ready, six seconds at most.
   * Its forks then run as many commands immediately, without starting shells.
   */
  readonly awaitIdle: Effect.Effect<void>
  /**
   * Waits until the guest's shell is lost, and says why: the guest died, rebooted or froze. For what asks the guest again and again, and
   * may be between two commands then.
   */
  readonly lost: Effect.Effect<string>
  /**
   * Says that the guest is known to have rebooted, frozen or died: every command under way, and every one that waits for others to end,
   * fails at once with `ShellLost`, and the next one waits for the bootstrap shell to answer again.
   */
  readonly reset: (reason: string) => Effect.Effect<void>
}

/** What {@link make} needs. */
export interface ShellOptions {
  readonly machine: string
  readonly channel: GuestChannel
  /** How long the guest may take until its shell answers. Default 5 minutes. */
  readonly bootTimeout?: Duration.Input | undefined
  /** The last lines of the console, for errors and progress. */
  readonly consoleTail?: Effect.Effect<string> | undefined
  /**
   * Whether the guest may reboot. Then it does not run commands while it is shutting down: they fail with `CommandRejected`. Default false. It
   * costs a command some tenths of a millisecond, and 100 ms under emulation when the guest's systemd has worked since the last one.
   */
  readonly reboots?: boolean | undefined
  /** How often a shell with a command under way is asked whether it lives, and how long it may take to answer. */
  readonly heartbeat?: { readonly interval: Duration.Input; readonly timeout: Duration.Input } | undefined
  /**
   * For a guest that continues from a saved one, over virtio ports: the connections that one had open. Its agent and its
   * worker shells are there already and are used as they are; a command that ran in the saved guest is ended.
   */
  readonly attached?: Preopened | undefined
}

/** How a boot goes. */
export interface BootProgress {
  readonly machine: string
  readonly waited: Duration.Duration
  readonly console: string
}

/** The shell of a guest, as a service. */
export class Shell extends Context.Service<Shell, ShellService>()("vmtest/transport/Shell") {}

/** Of what runs in guests for the shell: a guest that was saved with another cannot be asked by this one. */
export const agentDigest: string = Digest.short(Digest.of(agent))

export {
  /** When the progress of a long boot is reported again: 10 s after the first report, then after 20 s, then every 30 s. */
  progressSchedule,
  /** How long a boot may take before its progress is reported for the first time. */
  quietBoot
} from "./internal/bootstrap.ts"

/** Called when a boot takes long: after 10 s without a shell, after 20 s and 40 s, and then every 30 s. Logs by default. */
export const BootProgressListener = Context.Reference<(progress: BootProgress) => Effect.Effect<void>>(
  "vmtest/transport/Shell/BootProgressListener",
  { defaultValue: () => (progress) => Effect.logInfo(`${progress.machine}: ${formatProgress(progress)}`) }
)

/** `"no shell after 20 s; the console said last: …"`, on one line where the console said nothing. */
export const formatProgress = ({ console, waited }: BootProgress): string => {
  const said = console.trim() === "" ? "the console is silent" : `the console said last:\n${console.trimEnd()}`
  return `no shell after ${Math.round(Duration.toSeconds(waited))} s; ${said}`
}

/** A shell over a transport of the caller's; see {@link make}. */
export const fromTransport = Effect.fnUntraced(function* (
  transport: TransportService,
  options: Omit<ShellOptions, "machine" | "channel"> = {}
): Effect.fn.Return<ShellService, ShellNotReady, Scope.Scope> {
  // It is read to tell of other faults, which one of its own must not hide.
  const consoleTail = Effect.catchCause(options.consoleTail ?? Effect.succeed(""), (cause) =>
    Effect.succeed(`(the console could not be read: ${Cause.squash(cause)})`)
  )
  const lanes = yield* Lanes.make({
    transport,
    bootTimeout: Duration.fromInputUnsafe(options.bootTimeout ?? "5 minutes"),
    consoleTail,
    onProgress: yield* BootProgressListener,
    reboots: options.reboots === true,
    heartbeat: {
      interval: Duration.fromInputUnsafe(options.heartbeat?.interval ?? "5 seconds"),
      timeout: Duration.fromInputUnsafe(options.heartbeat?.timeout ?? "30 seconds")
    }
  })
  return yield* Commands.make({ machine: transport.machine, lanes, consoleTail })
})

/**
 * Opens the shell of a guest; returns when the guest's shell answers.
 *
 * **Details**
 *
 * Fails with `ShellNotReady` when it does not within `bootTimeout`. A guest that reboots later is found and waited for
 * again; commands that were under way fail with `ShellLost`. A guest has one shell at a time: another one that is opened
 * takes the guest from the first.
 */
export const make = Effect.fnUntraced(function* (
  options: ShellOptions
): Effect.fn.Return<ShellService, ShellNotReady | TransportError, Scope.Scope> {
  const { channel, machine } = options
  switch (channel._tag) {
    case "VirtioPorts":
      return yield* fromTransport(VirtioPort.make({ machine, channel, attached: options.attached }), options)
    case "Vsock":
      return yield* fromTransport(Vsock.make({ machine, channel }), options)
    case "VirtConsole":
      return yield* fromTransport(yield* VirtConsole.make({ machine, channel }), options)
  }
})

/** {@link make} as a layer. */
export const layer = (options: ShellOptions): Layer.Layer<Shell, ShellNotReady | TransportError> =>
  Layer.effect(Shell, make(options))

/** {@link fromTransport} as a layer: over the `layer` of `VirtioPort`, `Vsock` or `VirtConsole`, or a transport of the caller's. */
export const layerFromTransport = (
  options?: Omit<ShellOptions, "machine" | "channel">
): Layer.Layer<Shell, ShellNotReady, Transport> =>
  Layer.effect(
    Shell,
    Effect.flatMap(Transport, (transport) => fromTransport(transport, options))
  )
