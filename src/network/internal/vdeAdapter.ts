/**
 * A port that is plugged into through VDE: a `vde_switch` for the programs that know no other switch, such as the start scripts of NixOS, and a
 * `vde_plug` that carries its frames to the switch's port and back.
 *
 * `vde_plug` puts the length of each frame before it, as two bytes, the highest first (vde2, `vdestream.c`).
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Readable, Writable } from "node:stream"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Evidence from "../../host/Evidence.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import * as Cable from "./cable.ts"
import { headerSize } from "./frames.ts"
import type { VlanState } from "./vlanState.ts"

const vdeHeader = 2

/** The most bytes of a frame that `vde_switch` carries (`data` of its `struct packet`, and 14 bytes of addresses and type). */
const longest = 1504 + 14

class VdeJoiner {
  private rest: Buffer = Buffer.alloc(0)

  push(chunk: Buffer): Buffer {
    const bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk])
    const segments: Array<Buffer> = []
    let at = 0
    while (bytes.length - at >= vdeHeader) {
      const size = bytes.readUInt16BE(at)
      if (bytes.length - at < vdeHeader + size) break
      const header = Buffer.allocUnsafe(headerSize)
      header.writeUInt32BE(size, 0)
      segments.push(header, bytes.subarray(at + vdeHeader, at + vdeHeader + size))
      at += vdeHeader + size
    }
    this.rest = bytes.subarray(at)
    return Buffer.concat(segments)
  }
}

const encode = (segments: Buffer): Buffer => {
  const parts: Array<Buffer> = []
  for (let at = 0; at < segments.length; ) {
    const size = segments.readUInt32BE(at)
    // It drops longer ones, and would take what is after them for a header.
    if (size <= longest) {
      const header = Buffer.allocUnsafe(vdeHeader)
      header.writeUInt16BE(size, 0)
      parts.push(header, segments.subarray(at + headerSize, at + headerSize + size))
    }
    at += headerSize + size
  }
  return Buffer.concat(parts)
}

const endsOf = (input: Readable, output: Writable): Cable.Ends => ({
  ...{ input, output, encode },
  onFrames: (take) => {
    const joiner = new VdeJoiner()
    const onData = (chunk: Buffer) => {
      const frames = joiner.push(chunk)
      if (frames.length > 0) take(frames)
    }
    input.on("data", onData)
    return () => input.off("data", onData)
  }
})

/** How often to try the switch's socket. The switch listens within a few milliseconds, and a moment after the socket is there. */
const untilReady = Schedule.spaced("5 millis")

/** How long the switch may take to listen. */
const readyWithin = Duration.seconds(10)

/** libvdeplug makes sockets of its own beside the switch's, with names of up to 20 bytes, and the kernel takes 107 for a path. */
const longestFolder = 85

/** An adapter that runs. */
export interface VdeAdapter {
  /** Carries frames until one of its programs ends; gives the reason and what they printed last. */
  readonly run: Effect.Effect<{ readonly reason: string; readonly output: string }>
}

/** Why an adapter did not start. */
export interface NotStarted {
  readonly _tag: "NotStarted"
  readonly reason: string
  readonly output: string
}

/** Starts the programs; they end with the scope. `folder` is what `-netdev vde,sock=` takes, made with mode 0700. */
export const make = Effect.fnUntraced(function* (
  state: VlanState,
  port: string,
  folder: string
): Effect.fn.Return<VdeAdapter, HostProcess.HostProcessError | NotStarted, Scope.Scope> {
  const logFile = `${folder}.log`
  const failed = (reason: string): NotStarted => ({ _tag: "NotStarted", reason, output: Evidence.endOf(logFile) })
  if (Buffer.byteLength(folder) > longestFolder) {
    return yield* Effect.fail(
      failed(`the path of its folder must be at most ${longestFolder} bytes long, got ${folder}`)
    )
  }
  if (Fs.existsSync(folder)) return yield* Effect.fail(failed(`its folder exists already: ${folder}`))
  // A switch that was killed leaves its sockets behind, and QEMU's plugs theirs.
  yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true })))
  const cwd = Path.dirname(folder)
  const output = { file: logFile }
  const spawn = (command: string, args: ReadonlyArray<string>, stdout: HostProcess.Output) =>
    HostProcess.spawn({
      ...{ name: `${port}'s ${command}`, command, args, cwd, stdout, stderr: output },
      // A switch serves a console on its standard input, and ends with it.
      stdin: "pipe",
      grace: "500 millis"
    })
  const vde = yield* spawn("vde_switch", ["--sock", folder, "--dirmode", "0700", "--hub"], output)
  yield* Cable.listens(Path.join(folder, "ctl")).pipe(
    Effect.repeat({ schedule: untilReady, until: (ready) => ready || vde.status() !== undefined }),
    Effect.timeoutOrElse({
      duration: readyWithin,
      orElse: () => Effect.fail(failed(`vde_switch did not listen within ${Duration.format(readyWithin)}`))
    })
  )
  const ended = vde.status()
  if (ended !== undefined) {
    return yield* Effect.fail(failed(`vde_switch ended with ${HostProcess.describeStatus(ended)}`))
  }
  const plug = yield* spawn("vde_plug", [folder], "pipe")
  const { stdin, stdout } = plug.streams
  if (stdin === null || stdout === null) return yield* Effect.fail(failed("vde_plug has no pipes"))
  const endOfProcess = (name: string, { exited }: HostProcess.HostProcess) =>
    Effect.map(exited, (status) => `${name} ended with ${HostProcess.describeStatus(status)}`)
  const run = Effect.raceAllFirst([
    endOfProcess("vde_switch", vde),
    endOfProcess("vde_plug", plug),
    // Its end says more.
    Effect.andThen(Effect.ignore(Cable.carry(state, port, endsOf(stdout, stdin))), Effect.never)
  ])
  return { run: Effect.map(run, (reason) => ({ reason, output: Evidence.endOf(logFile) })) }
})
