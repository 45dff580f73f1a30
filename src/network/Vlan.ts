/**
 * VLANs: a virtual switch for each, which machines plug into.
 *
 * The switch is `vde_switch --hub` from the package vde2: every frame reaches every port, so that a capture sees all
 * frames, and it needs no privileges on the host.
 *
 * **Example** (Starting a switch)
 *
 * ```ts
 * import { Effect } from "effect"
 *
 * Effect.gen(function* () {
 *   const vlan = yield* Vlan.make({ vlan: 1, directory: "/run/test" })
 *   yield* Effect.log(`plug into ${vlan.socket}`)
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { ExitStatus, HostProcessError } from "../host/HostProcess.ts"
import * as HostProcess from "../host/HostProcess.ts"

/** The switch did not start, or ended; `output` is the end of its output. */
export class VlanFailed extends Schema.TaggedError<VlanFailed>()("VlanFailed", {
  vlan: Schema.Int,
  reason: Schema.String,
  output: Schema.String
}) {
  override get message() {
    return `VLAN ${this.vlan}: ${this.reason}${this.output === "" ? "" : `: ${this.output}`}`
  }
}

/** A running switch. */
export interface Vlan {
  readonly number: number
  /** What `-netdev vde,sock=` and `vde_plug` are given: a folder, mode 0700, with the switch's sockets. */
  readonly socket: string
  readonly pid: number
  /** Ends when the switch has ended. */
  readonly exited: Effect.Effect<ExitStatus>
}

/** How often to look for the switch's socket. The switch makes it within a few milliseconds. */
const untilReady = Schedule.spaced("5 millis")

/** How long the switch may take to listen. */
const readyWithin = Duration.seconds(10)

/**
 * libvdeplug makes sockets of its own beside the switch's, with names of up to 20 bytes, and the kernel takes 107 for a
 * path.
 */
const longestFolder = 85

/**
 * Starts the switch of a VLAN; it ends with the scope, and its folder with it.
 *
 * `directory` is a folder of the run. Fails with `ToolMissing` where there is no `vde_switch`.
 */
export const make: (options: {
  readonly vlan: number
  readonly directory: string
}) => Effect.Effect<Vlan, HostProcessError | VlanFailed, Scope.Scope> = Effect.fnUntraced(function* ({
  directory,
  vlan
}) {
  const socket = Path.join(directory, `vde${vlan}.ctl`)
  const logFile = Path.join(directory, `vde${vlan}.log`)
  const failed = (reason: string) => new VlanFailed({ vlan, reason, output: endOf(logFile) })
  if (Buffer.byteLength(socket) > longestFolder) {
    return yield* failed(`the path of its folder must be at most ${longestFolder} bytes long, got ${socket}`)
  }
  if (Fs.existsSync(socket)) return yield* failed(`its folder exists already: ${socket}`)
  // A switch that was killed leaves its sockets behind, and QEMU's plugs theirs.
  yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(socket, { recursive: true, force: true })))
  const process = yield* HostProcess.spawn({
    name: `VLAN ${vlan}'s switch`,
    command: "vde_switch",
    args: ["--sock", socket, "--dirmode", "0700", "--hub"],
    cwd: directory,
    // It serves a console on its standard input, and ends with it.
    stdin: "pipe",
    stdout: { file: logFile },
    stderr: { file: logFile },
    grace: "500 millis"
  })
  yield* Effect.sync(() => Fs.existsSync(Path.join(socket, "ctl"))).pipe(
    Effect.repeat({ schedule: untilReady, until: (ready) => ready || process.status() !== undefined }),
    Effect.timeoutOrElse({
      duration: readyWithin,
      orElse: () => Effect.fail(failed(`the switch did not listen within ${Duration.format(readyWithin)}`))
    })
  )
  const ended = process.status()
  if (ended !== undefined) return yield* failed(`the switch ended with ${HostProcess.describeStatus(ended)}`)
  return { number: vlan, socket, pid: process.pid, exited: process.exited }
})

const endOf = (file: string): string => {
  const read = Result.try(() => Fs.readFileSync(file, "utf8"))
  return Result.isSuccess(read) ? read.success.slice(-1000).trim() : ""
}
