/**
 * The last line of a terminal while tests run: how many have ended, and what takes time now: image builds, boots, copies, waits.
 *
 * It is drawn again a few times a second, and makes way for everything else that is written to the terminal, also by scripts. Where the standard error
 * is not a terminal, there is none: what matters is in lines of its own.
 *
 * **Example** (A run of tests with it)
 *
 * ```ts
 * const live = LiveLine.during(tests.length)(Runner.run(tests, { output: "vmtest-output" }))
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { Reporter, type RunEvent } from "../driver/RunEvent.ts"
import { isFailed } from "../driver/TestResult.ts"

/** What of a stream of Node is used. */
export interface Stream {
  readonly isTTY?: boolean
  readonly columns?: number
  write: NodeJS.WriteStream["write"]
}

/** The streams that share a terminal; the line is drawn on the second. */
export interface Streams {
  readonly stdout: Stream
  readonly stderr: Stream
}

/** How often the line is drawn. */
export const drawSchedule = Schedule.spaced("200 millis")

/** What takes less time is not worth reading. */
const shortest = 1000

interface Busy {
  readonly what: string
  readonly since: number
}

/** What a run is busy with, by its events. */
export const makeState = (total: number) => {
  const busy = new Map<string, Busy>()
  let ended = 0
  let failed = 0
  const begin = (key: string, what: string, since: number) => void busy.set(key, { what, since })
  return {
    hear: (event: RunEvent, now: number): void => {
      if (event._tag === "TestEnded") {
        ended += 1
        if (isFailed(event.result)) failed += 1
        for (const key of busy.keys()) if (key.startsWith(`${event.result.name}\n`)) busy.delete(key)
      }
      if (event._tag === "ImageProgress")
        begin("image", `image ${event.image}: ${event.line.trim()}`, busy.get("image")?.since ?? now)
      if (event._tag === "TestStarted") busy.delete("image")
      if (event._tag !== "MachineEvent") return
      const { machine } = event.event
      const key = `${event.test}\n${machine}`
      if (event.event._tag === "MachineState") {
        if (event.event.state === "booting") begin(key, `${machine} is booting`, now)
        else busy.delete(key)
      }
      if (event.event._tag === "ActionStarted")
        begin(`${key}\n${event.event.id}`, `${machine}: ${event.event.action.split("\n")[0]}`, now)
      if (event.event._tag === "ActionEnded") busy.delete(`${key}\n${event.event.id}`)
    },
    /** The line, no longer than the terminal is wide. */
    line: (now: number, columns: number): string => {
      const long = [...busy.values()].filter(({ since }) => now - since >= shortest).sort((a, b) => a.since - b.since)
      const parts = long.map(({ since, what }) => `${what} (${Math.floor((now - since) / 1000)} s)`)
      const text = [`${ended} of ${total} ended${failed === 0 ? "" : `, ${failed} failed`}`, ...parts].join(" · ")
      return text.length < columns ? text : `${text.slice(0, Math.max(0, columns - 2))}…`
    }
  }
}

const erase = "\r\u001b[2K"

/** Keeps a line at the end of what is written, until the scope closes. */
const makeCanvas = ({ stderr, stdout }: Streams) => {
  const own = stderr.write
  const originals = [stdout, stderr].map((stream) => ({ stream, write: stream.write }))
  let drawn = ""
  /** Whether what was written last ended its line. */
  let isFree = true
  const draw = (text: string) => {
    if (text !== drawn && isFree) own.call(stderr, `${drawn === "" ? "" : erase}${text}`)
    if (isFree) drawn = text
  }
  const clear = () => draw("")
  const around = (write: Stream["write"], stream: Stream): Stream["write"] =>
    ((chunk: Uint8Array | string, ...rest: ReadonlyArray<never>) => {
      const line = drawn
      if (isFree) clear()
      const taken = write.call(stream as NodeJS.WriteStream, chunk, ...rest)
      const text = typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk)
      if (text !== "") isFree = text.endsWith("\n")
      draw(line)
      return taken
    }) as Stream["write"]
  return {
    draw,
    open: () => {
      for (const { stream, write } of originals) stream.write = around(write, stream)
    },
    close: () => {
      clear()
      for (const { stream, write } of originals) stream.write = write
    }
  }
}

/** Whether a line can be drawn and erased. */
const canDraw = ({ stderr }: Streams): boolean => stderr.isTTY === true && process.env.TERM !== "dumb"

/** Draws the line while tests run, as many as `total`, if the standard error is a terminal. */
export const during =
  (total: number, streams: Streams = process) =>
  <A, E, R>(run: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    if (!canDraw(streams)) return run
    return Effect.suspend(() => {
      const state = makeState(total)
      const canvas = makeCanvas(streams)
      const draw = Effect.map(Clock.currentTimeMillis, (now) =>
        canvas.draw(state.line(now, streams.stderr.columns ?? 80))
      )
      const drawn = Effect.repeat(draw, drawSchedule)
      return Effect.raceFirst(run, Effect.andThen(drawn, Effect.never)).pipe(
        Effect.updateService(
          Reporter,
          (report) => (event) =>
            Effect.andThen(
              Effect.map(Clock.currentTimeMillis, (now) => state.hear(event, now)),
              report(event)
            )
        ),
        Effect.ensuring(Effect.sync(canvas.close)),
        (live) => Effect.andThen(Effect.sync(canvas.open), live)
      )
    })
  }
