/**
 * The host's side of one lane: which command it runs, and what its two outputs say.
 *
 * Everything here runs in the callbacks of sockets, without an Effect a chunk.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { ShellError, TransportError } from "../ShellError.ts"
import type * as Transport from "../Transport.ts"
import type { Request } from "./request.ts"
import { Scanner } from "./scanner.ts"

/** A command that a lane was given. */
export interface Job {
  readonly nonce: string
  readonly request: Request
  /** Takes output; pausing the lane's connections slows the command down, until the first stream has ended. */
  readonly stdout: (bytes: Buffer) => void
  readonly stderr: (bytes: Buffer) => void
  /** All of this stream has been handed over. From the first time on, no connection of the lane may be paused any more. */
  readonly ended: (stream: "stdout" | "stderr", expired: boolean) => void
  /** the exit code, as soon as one stream tells it */
  readonly exit: Deferred.Deferred<number, ShellError>
  /** both streams have ended, or the lane was lost */
  readonly done: Deferred.Deferred<number, ShellError>
  /** Its time was up before it had ended: however it ends now, that is what came of it. */
  expired: boolean
  /** makes the error of a command whose lane was lost */
  readonly lost: (reason: string) => Effect.Effect<ShellError>
}

/**
 * What a lane does: it waits for its worker, has nothing to do, runs a command, or waits until nothing that its last
 * command left behind can write any more.
 */
export type LaneState = "starting" | "idle" | "busy" | "settling" | "broken"

const fail = (job: Job, reason: string): void => {
  const error = Effect.flatMap(job.lost(reason), Effect.fail)
  Deferred.doneUnsafe(job.exit, error)
  Deferred.doneUnsafe(job.done, error)
}

/** One lane. */
export class LaneEnd {
  readonly number: number
  readonly ends: Transport.Lane
  /** completes with the reason when the lane can no longer be used */
  readonly broken = Deferred.makeUnsafe<string>()
  state: LaneState = "starting"
  job: Job | undefined
  /** counts what was heard, for the heartbeat */
  heard = 0
  /** counts the janitor's rounds since the lane began to settle, or since it asked the guest about it */
  rounds = 0
  /** counts how often it asked since the lane began to settle */
  asked = 0
  /** the nonce of the command that ran last */
  last = ""
  /** whether input is still on its way to the worker */
  feeding = false
  private readonly onIdle: (lane: LaneEnd) => void
  private readonly scanners: { readonly stdout: Scanner; readonly stderr: Scanner }
  private readonly said = { stdout: "", stderr: "" }
  private readonly ready = { stdout: false, stderr: false }

  constructor(number: number, ends: Transport.Lane, nonce: string, onIdle: (lane: LaneEnd) => void) {
    this.number = number
    this.ends = ends
    this.onIdle = onIdle
    const scanner = (stream: "stdout" | "stderr") =>
      new Scanner({
        bytes: (bytes) => {
          if (this.said[stream] === "") this.job?.[stream](bytes)
        },
        mark: (text) => this.mark(stream, text)
      })
    this.scanners = { stdout: scanner("stdout"), stderr: scanner("stderr") }
    this.expect(nonce)
    ends.output.onData((chunk) => {
      this.heard++
      this.scanners.stdout.push(chunk)
    })
    ends.errors.onData((chunk) => {
      this.heard++
      this.scanners.stderr.push(chunk)
    })
  }

  /** Waits for the lane to say that it is ready, with this nonce. */
  private expect(nonce: string): void {
    this.ready.stdout = this.ready.stderr = false
    this.said.stdout = this.said.stderr = ""
    this.scanners.stdout.expect(nonce)
    this.scanners.stderr.expect(nonce)
  }

  private mark(stream: "stdout" | "stderr", text: string): void {
    const job = this.job
    if (text === "R") {
      // A worker says first how its command ended; then that did not arrive whole.
      if (job !== undefined && this.said[stream] === "") this.lose("the exit code did not arrive")
      this.ready[stream] = true
      this.settle()
      return
    }
    if (job === undefined || this.said[stream] !== "") return
    this.said[stream] = text
    job.ended(stream, job.expired)
    const exitCode = Number.parseInt(text, 10)
    Deferred.doneUnsafe(job.exit, Effect.succeed(exitCode))
    if (this.said.stdout === "" || this.said.stderr === "") return
    this.state = "settling"
    this.rounds = this.asked = 0
    this.last = job.nonce
    this.job = undefined
    if (this.said.stdout === this.said.stderr) Deferred.doneUnsafe(job.done, Effect.succeed(exitCode))
    else this.lose("the worker gave two exit codes", job)
  }

  /** Becomes idle when both outputs said so and no input is on its way. */
  settle(): void {
    if (!this.ready.stdout || !this.ready.stderr || this.feeding) return
    if (this.state !== "starting" && this.state !== "settling") return
    this.state = "idle"
    this.onIdle(this)
  }

  /** The lane cannot be used any more; what runs on it fails. */
  lose(reason: string, job: Job | undefined = this.job): void {
    if (this.state === "broken") return
    this.state = "broken"
    this.job = undefined
    if (job !== undefined) fail(job, reason)
    // A reader that was slowed down must see the end.
    this.ends.output.resume()
    this.ends.errors.resume()
    Deferred.doneUnsafe(this.broken, Effect.succeed(reason))
  }

  /** Sends a command. Interrupted in the middle, it leaves a lane that cannot be used. */
  send(job: Job): Effect.Effect<void, TransportError> {
    return Effect.suspend(() => {
      if (this.state === "broken") return Effect.sync(() => fail(job, "the lane was lost"))
      this.job = job
      this.state = "busy"
      this.expect(job.nonce)
      const { input, spool, text } = job.request
      const lines = text(this.number)
      const mode = input.mode
      const head = `${job.nonce} ${mode} ${lines.split("\n").length} ${spool?.length ?? 0}\n${lines}\n`
      const line = mode === "b" ? `${input.line}\n` : ""
      if (spool === undefined) return this.ends.input.write(head + line)
      return this.ends.input
        .write(head)
        .pipe(
          Effect.andThen(this.ends.input.write(spool)),
          Effect.andThen(line === "" ? Effect.void : this.ends.input.write(line))
        )
    }).pipe(Effect.onInterrupt(() => Effect.sync(() => this.lose("the command was cancelled while it was being sent"))))
  }
}
