/**
 * Videos of the guest's display.
 *
 * A few times a second the display is looked at, and pictures that differ from the previous one are kept with their times. At the end they are
 * written as a WebM file if ffmpeg is installed, else as an animated PNG, which browsers and most image viewers play.
 *
 * **Example** (A video of an installation)
 *
 * ```ts
 * yield* Effect.scoped(
 *   Effect.gen(function* () {
 *     yield* box.recordVideo("installation")
 *     yield* box.clickText("Install now")
 *     yield* box.waitForText("Installation complete", { timeout: "20 minutes" })
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Path from "node:path"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { guard } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import * as Artefact from "../guest/Artefact.ts"
import type { Guest } from "../guest/Guest.ts"
import { HostFileError } from "../guest/HostFile.ts"
import type { InvalidArgument } from "../guest/MachineError.ts"
import * as Fields from "../host/Fields.ts"
import * as HostProcess from "../host/HostProcess.ts"
import type { Display, DisplayError } from "./Display.ts"
import { encode, type Picture, pictureOf, type TimedPicture } from "./internal/apng.ts"
import { hashOf } from "./internal/frame.ts"

/** ffmpeg could not make a video of the pictures. */
export class RecordingFailed extends Schema.TaggedError<RecordingFailed>()("RecordingFailed", {
  machine: Schema.String,
  path: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: could not make the video ${this.path}: ${this.reason}`
  }
}

/** How to record. */
export const RecordOptions = Fields.options(
  {
    /** `webm` needs ffmpeg on the host. Default: `webm` if ffmpeg is installed, else `apng`. */
    format: Schema.optional(Schema.Literals(["webm", "apng"])),
    /** Pictures in a second, from 1 to 30. Default 5: each costs the guest some milliseconds of one processor. */
    framesPerSecond: Schema.optional(Fields.between(1, 30))
  },
  '{ format: "apng" }'
)

/** How to record. */
export interface RecordOptions extends Schema.Schema.Type<typeof RecordOptions> {}

/** What ending a recording can fail with. */
export type RecordingError = RecordingFailed | HostProcess.HostProcessError | HostFileError

/** A recording that is running. */
export interface Recording {
  /** The file that stopping it writes: `<name>.webm` or `<name>.png`. */
  readonly path: string
  /** Ends the recording, writes the file and returns its path; it can be run again. Closing the scope does the same. */
  readonly stop: Effect.Effect<string, RecordingError>
}

/** Recording, for a machine. */
export interface RecordingMethods {
  /**
   * Records the display into the output folder until it is stopped or the scope closes. If the machine ends, the pictures so far are kept; a
   * look that fails is skipped. Default name: the machine's.
   */
  readonly recordVideo: (
    name?: string,
    options?: RecordOptions
  ) => Effect.Effect<Recording, DisplayError | InvalidArgument | HostProcess.ToolMissing, Scope.Scope>
}

/** When to look at the display again. */
const frameSchedule = (framesPerSecond: number) => Schedule.spaced(Duration.seconds(1 / framesPerSecond))

/** VP8 as fast as possible. All pictures get the size of the first, made even, as the format requires. */
const ffmpegArguments = (list: string, { height, width }: Pick<Picture, "width" | "height">, file: string) => {
  const [w, h] = [width + (width % 2), height + (height % 2)]
  const fit = `scale=${w}:${h}:force_original_aspect_ratio=decrease,pad=${w}:${h}:(ow-iw)/2:(oh-ih)/2`
  return [
    ...["-nostdin", "-loglevel", "error", "-y", "-f", "concat", "-safe", "0", "-i", list],
    ...["-vf", fit, "-vsync", "vfr", "-c:v", "libvpx", "-crf", "10", "-b:v", "2M", "-deadline", "realtime"],
    ...["-cpu-used", "8", "-pix_fmt", "yuv420p", file]
  ]
}

/** What its method takes. */
export const parameters = Arguments.of<RecordingMethods>({
  recordVideo: Arguments.takes({
    name: Schema.optional(Artefact.fileName(".webm", ".png")),
    options: Schema.optional(RecordOptions)
  })
})

/** The recording methods of a guest. */
export const make = (guest: Guest, display: Display): RecordingMethods => {
  const hostError = (path: string) => (error: { readonly message: string }) =>
    new HostFileError({ machine: guest.name, path, reason: `could not be written: ${error.message}` })

  const webm = (pictures: ReadonlyArray<TimedPicture>, file: Artefact.Artefact) =>
    Effect.scoped(
      Effect.gen(function* () {
        const folder = yield* Effect.mapError(
          guest.fs.makeTempDirectoryScoped({ prefix: "vmtest-video-" }),
          hostError(file.path)
        )
        const lines: Array<string> = []
        for (const [index, { millis, png }] of pictures.entries()) {
          const picture = Path.join(folder, `${index}.png`)
          yield* Effect.mapError(guest.fs.writeFile(picture, png), hostError(picture))
          lines.push(`file '${picture}'`, `duration ${(millis / 1000).toFixed(3)}`)
          // For ffmpeg a duration is the time until the next file, so the last file is listed twice.
          if (index === pictures.length - 1) lines.push(`file '${picture}'`)
        }
        const list = Path.join(folder, "list")
        yield* Effect.mapError(guest.fs.writeFileString(list, `${lines.join("\n")}\n`), hostError(list))
        const first = pictures[0] ?? { width: 2, height: 2 }
        const video = Path.join(folder, "video.webm")
        yield* HostProcess.check({ command: "ffmpeg", args: ffmpegArguments(list, first, video) }).pipe(
          Effect.catchTag("ProcessFailed", (error) =>
            Effect.fail(new RecordingFailed({ machine: guest.name, path: file.path, reason: error.stderr.trim() }))
          )
        )
        yield* file.copy(video)
      })
    )

  return Arguments.checked<RecordingMethods>(guest.name, parameters, {
    recordVideo: Effect.fnUntraced(function* (name = guest.name, options) {
      const rate = options?.framesPerSecond ?? 5
      const encoder = Effect.isSuccess(HostProcess.locate("ffmpeg"))
      const format = options?.format ?? ((yield* encoder) ? "webm" : "apng")
      if (format === "webm") yield* HostProcess.locate("ffmpeg")
      const file = yield* Artefact.at(guest, name, format === "webm" ? ".webm" : ".png")

      const taken: Array<Picture & { readonly at: number }> = []
      let hash = ""
      const take = Effect.gen(function* () {
        const frame = yield* display.capture
        const now = hashOf(frame)
        if (now === hash) return
        hash = now
        taken.push({ ...pictureOf(frame), at: yield* Clock.currentTimeMillis })
      })
      // The first picture is taken before this returns, or the error says why there is none.
      yield* guard(
        guest,
        { name: "recordVideo", doing: `recording ${display.name}`, attributes: { path: file.path } },
        take
      )
      // A look that fails, while the guest changes its video mode or reboots, keeps the previous picture.
      const loop = yield* Effect.ignore(guest.conditions.unguarded(take)).pipe(
        Effect.schedule(frameSchedule(rate)),
        Effect.forkDetach({ startImmediately: true })
      )
      const finish = Effect.gen(function* () {
        yield* Fiber.interrupt(loop).pipe(Effect.timeoutOption("2 seconds"))
        const end = yield* Clock.currentTimeMillis
        const pictures = taken.map((picture, index) => ({
          ...picture,
          millis: Math.max(1, (taken[index + 1]?.at ?? end) - picture.at)
        }))
        if (format === "webm") yield* webm(pictures, file)
        else yield* file.write(encode(pictures))
        return file.path
      })
      const done = yield* Deferred.make<string, RecordingError>()
      let stopping = false
      const stop = Effect.suspend(() => {
        if (stopping) return Deferred.await(done)
        stopping = true
        return Effect.uninterruptible(Effect.andThen(Deferred.complete(done, finish), Deferred.await(done)))
      })
      yield* Effect.addFinalizer(() => Effect.ignore(stop))
      return { path: file.path, stop }
    })
  })
}
