/**
 * What is sent on a VLAN, packet by packet, and files of it that Wireshark and tcpdump open.
 *
 * **Example** (Who asked for an address)
 *
 * ```ts
 * const network = driver.network(1)
 * const asked = Stream.runHead(Stream.filter(network.capture, ({ from }) => from === "client eth1"))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as OutputFolder from "../host/OutputFolder.ts"
import { CaptureWriter } from "./internal/captureWriter.ts"

/** What became of a packet on its sender's link: it passed, its impairment lost it, or it found the link's queue full. */
export type Fate = "passed" | "lost" | "full"

/** One Ethernet frame, as its sender sent it. */
export interface Packet {
  /** When the switch got it: nanoseconds since 1970. */
  readonly time: bigint
  /** The card that sent it: machine and interface, such as `web eth1`, or the name of a host service. */
  readonly from: string
  readonly fate: Fate
  /** From the destination's address on; without the check sum at the end, which virtual cards do not have. */
  readonly frame: Uint8Array
}

/** The capture of a card ended while its test ran. `output` is the last of what the program that captures printed. */
export class CaptureFailed extends Schema.TaggedError<CaptureFailed>()("CaptureFailed", {
  /** Machine and interface, such as `web eth1`. */
  card: Schema.String,
  reason: Schema.String,
  output: Schema.String
}) {
  override get message() {
    return `the capture of ${this.card} ${this.reason}${this.output === "" ? "" : `: ${this.output}`}`
  }
}

/** Who is handed packets. */
export interface Watcher {
  /** Gets each packet at once. The bytes of its frame are used again when it has returned. */
  readonly see: (packet: Packet) => void
  /** Hears that the packets of a card are seen no more. */
  readonly onEnd: (error: CaptureFailed) => Effect.Effect<void>
  /** Hears that packets were left out, in a sentence with their number. */
  readonly onDropped: (sentence: string) => Effect.Effect<void>
}

/**
 * The packets that `watch` hands over, from the moment on at which it is read. What is not read yet is kept in memory. It fails when a capture ends, and warns of
 * packets that were left out.
 */
export const stream = <E>(
  watch: (watcher: Watcher) => Effect.Effect<void, E, Scope.Scope>
): Stream.Stream<Packet, CaptureFailed | E> =>
  Stream.callback<Packet, CaptureFailed | E>((queue) =>
    watch({
      see: (packet) => {
        Queue.offerUnsafe(queue, { ...packet, frame: Uint8Array.prototype.slice.call(packet.frame) })
      },
      onEnd: (error) => Effect.asVoid(Queue.fail(queue, error)),
      onDropped: Effect.logWarning
    })
  )

/** A file that packets are written to. */
export interface CaptureFile {
  /** Writes a packet, whose bytes may be used again afterwards. Returns at once. */
  readonly write: (packet: Packet) => void
}

/** Where a capture goes. */
export interface CaptureFileOptions {
  /** The test's folder in the output folder, which is made when it is needed. */
  readonly output: string
  /** The file's name in it, such as `vlan1.pcapng`; a file that has the name already is replaced. */
  readonly name: string
  /** What it is a capture of, for the comment of the file: `VLAN 1 of the test "a router"`. */
  readonly title: string
  /** How many bytes wait for a slow disk; further packets are left out of the file, and counted. Default 64 MiB. */
  readonly mostPending?: number | undefined
}

/** So many bytes of packets wait for a disk. */
const mostPending = 64 * 1024 * 1024

/**
 * Makes a pcapng file. Each batch of packets is handed to the operating system at once, so that the file of a run that was killed can be read.
 *
 * When the scope closes, everything is in the file. `onProblem` gets a sentence if packets are missing then, because the disk was too slow or full; the
 * failure is a sentence, too, if the file could not be made.
 */
export const file = (
  { mostPending: most = mostPending, name, output, title }: CaptureFileOptions,
  onProblem: (problem: string) => Effect.Effect<void>
): Effect.Effect<CaptureFile, string, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.suspend(() => {
        const path = `${output}/${name}`
        let writer: CaptureWriter | undefined
        return OutputFolder.place(output, path, (real) => {
          writer = new CaptureWriter(Fs.openSync(real, "wx", 0o666), title, most)
        }).pipe(
          Effect.mapError((reason) => `could not capture packets to ${OutputFolder.shown(path)}, which ${reason}`),
          Effect.flatMap(() => (writer === undefined ? Effect.die("no writer") : Effect.succeed(writer)))
        )
      }),
      (writer) =>
        Effect.flatMap(
          Effect.callback<string | undefined>((resume) => {
            writer.close((problem) => resume(Effect.succeed(problem)))
          }),
          (problem) => (problem === undefined ? Effect.void : onProblem(`${name}: ${problem}`))
        )
    ),
    (writer) => ({ write: (packet) => writer.write(packet) })
  )
