/**
 * Commands whose output is collected.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { BytesResult, CollectOptions, CommandEvent, ExecuteOptions } from "../Shell.ts"
import { CommandRejected, type ShellError } from "../ShellError.ts"
import * as Jobs from "./jobs.ts"
import { nonce } from "./nonce.ts"
import * as Request from "./request.ts"
import * as Run from "./run.ts"
import { Said } from "./said.ts"

/** The most that a collected command may say: strings of V8 end at 512 MiB. */
export const mostCollected = 256 * 1024 * 1024

/** What the error about a command that said too much tells of each stream: the last of it, so much. */
const mostTold = 64 * 1024

const tooLarge = (machine: string, command: string, most: number, said: Said) => {
  const detail = `its output was larger than ${most / 1024 / 1024} MiB; use executeStream for output of any length`
  return new CommandRejected({ machine, command, reason: "OutputTooLarge", detail, ...said.text(mostTold) })
}

/** Runs a command to its end, and keeps up to `most` bytes of its output. */
export const collect = Effect.fnUntraced(function* (
  jobs: Jobs.Jobs,
  command: string,
  execute: ExecuteOptions,
  most: number,
  onStart: () => void = () => {}
): Effect.fn.Return<BytesResult, ShellError> {
  const { machine } = jobs
  const request = yield* jobs.prepare(command, execute, false)
  const token = yield* nonce
  const said = new Said(most)
  const tooMuch = Deferred.makeUnsafe<never, CommandRejected>()
  const take = (stream: "stdout" | "stderr") => (bytes: Buffer) => {
    if (said.add(stream, bytes)) return
    Deferred.doneUnsafe(tooMuch, Effect.fail(tooLarge(machine, command, most, said)))
  }
  const running = jobs.begin(
    request,
    said,
    () => {
      onStart()
      return jobs.job(request, token, said, { stdout: take("stdout"), stderr: take("stderr"), ended: () => {} })
    },
    Jobs.source(request)
  )
  const exitCode = yield* Effect.raceFirst(
    Run.complete(running, request.timeout, jobs.timedOut(request, said)),
    Deferred.await(tooMuch)
  )
  if (exitCode === Request.notRun) {
    const error = Request.refused(machine, request, token, said.text().stderr, execute)
    if (error !== undefined) return yield* error
  }
  return { exitCode, stdout: said.bytes("stdout"), stderr: said.bytes("stderr") }
})

/** As {@link collect}, and tells what comes while it comes. */
export const collectAloud = Effect.fnUntraced(function* (
  machine: string,
  command: string,
  events: (late: Deferred.Deferred<never, ShellError>) => Stream.Stream<CommandEvent, ShellError>,
  tell: NonNullable<CollectOptions["stream"]>
): Effect.fn.Return<BytesResult, ShellError> {
  const said = new Said(mostCollected)
  const late = Deferred.makeUnsafe<never, ShellError>()
  let exitCode = 0
  yield* Stream.runForEach(events(late), (event): Effect.Effect<void, ShellError> => {
    if (event._tag === "Exit") {
      exitCode = event.exitCode
      return Effect.void
    }
    const fits = said.add(event._tag === "Stdout" ? "stdout" : "stderr", Buffer.from(event.bytes))
    // The listener's time counts as the command's.
    return fits
      ? Effect.raceFirst(tell(event), Deferred.await(late))
      : Effect.fail(tooLarge(machine, command, mostCollected, said))
  })
  return { exitCode, stdout: said.bytes("stdout"), stderr: said.bytes("stderr") }
})
