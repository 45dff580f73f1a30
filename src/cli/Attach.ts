/**
 * `vmtest attach [RUN]`: joins the session of a paused test, or of a prompt, in another process.
 *
 * **Example** (Use the machines of a test that failed)
 *
 * ```sh
 * vmtest run --pause-on-failure web.ts > log 2>&1 &
 * vmtest attach
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Terminal } from "../host/Terminal.ts"
import type { Invocation } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import type { Channel } from "./internal/channel.ts"
import { variables } from "./internal/remoteSeat.ts"
import * as Seat from "./Seat.ts"
import { complain, type Work } from "./Subcommand.ts"
import * as Runs from "./session/Runs.ts"

/** There is no session to attach to, or several. */
export class CannotAttach extends Schema.TaggedError<CannotAttach>()("CannotAttach", {
  reason: Schema.String
}) {
  override get message() {
    return `could not attach: ${this.reason}`
  }
}

const isRun = (wanted: string, { overview, socket }: Runs.Run): boolean =>
  [overview.run, String(overview.pid), NodePath.dirname(socket)].includes(wanted)

/** The run that was asked for, or the only one with a session. */
const choose = Effect.fnUntraced(function* (wanted: string | undefined) {
  const all = yield* Runs.all
  const refuse = (reason: string) => new CannotAttach({ reason })
  const described = ({ overview: { attachable, run } }: Runs.Run) =>
    `${run} (${attachable.map(({ name }) => JSON.stringify(name)).join(", ") || "no session"})`
  if (wanted !== undefined) {
    const found = all.find((run) => isRun(wanted, run))
    if (found !== undefined) return found
    const there = all.length === 0 ? "no vmtest is running" : `there are ${all.map(described).join(", ")}`
    return yield* refuse(`there is no run ${JSON.stringify(wanted)}; ${there}`)
  }
  const open = all.filter(({ overview }) => overview.attachable.length > 0)
  const [only, ...others] = open
  if (only === undefined)
    return yield* refuse(
      "no run has a session; 'vmtest run --pause-on-failure' keeps the machines of a failed test for one"
    )
  if (others.length > 0)
    return yield* refuse(`several runs have sessions; choose one: ${open.map(described).join(", ")}`)
  return only
})

/** Hands keys and sizes over, without end. */
const fromTerminal = (terminal: Terminal, channel: Channel) =>
  Stream.runForEach(terminal.events, (event) =>
    event._tag === "Input"
      ? Effect.sync(() => channel.write(event.bytes))
      : channel.send({ say: "resized", ...event.size })
  ).pipe(Effect.andThen(channel.send({ say: "end" })), Effect.andThen(Effect.never))

const fromPipe = (input: NodeJS.ReadableStream, channel: Channel) =>
  Effect.callback<void>((resume) => {
    input.on("data", (bytes: Buffer) => channel.write(bytes))
    input.on("end", () => resume(Effect.void))
    input.resume()
  }).pipe(Effect.andThen(channel.send({ say: "end" })), Effect.andThen(Effect.never))

/** Shows what the session shows, until it is left. */
const shown = (channel: Channel, output: NodeJS.WritableStream) =>
  Effect.gen(function* () {
    for (;;) {
      const frame = yield* channel.next
      if (frame === undefined) return { reason: "the run has ended", failures: 0 }
      if (frame._tag === "Bytes")
        yield* Effect.callback<void>((resume) => void output.write(frame.bytes, () => resume(Effect.void)))
      else {
        const answer = Runs.answerIn(frame)
        if (answer?._tag === "Left") return answer
      }
    }
  })

const talk = Effect.fnUntraced(function* (run: Runs.Run, test: string | undefined) {
  const seat = Seat.own()
  const channel = yield* Runs.connect(run.socket)
  if (channel === undefined) return yield* new CannotAttach({ reason: `the run ${run.overview.run} has ended` })
  const terminal = seat.isTerminal
    ? yield* Effect.mapError(seat.open, ({ reason }) => new CannotAttach({ reason }))
    : undefined
  const env = Object.fromEntries(
    variables.flatMap((name) => (seat.env[name] === undefined ? [] : [[name, seat.env[name]]]))
  )
  yield* channel.send({
    ask: "attach",
    ...(test === undefined ? {} : { name: test }),
    ...(terminal === undefined ? {} : { terminal: { ...terminal.size, env } })
  })
  const answer = yield* Runs.answerOf(channel)
  if (answer?._tag !== "Attached") {
    const reason = answer?._tag === "Refused" ? answer.reason : "the run does not answer"
    return yield* new CannotAttach({ reason: `${run.overview.run}: ${reason}` })
  }
  const say = terminal === undefined ? complain : (line: string) => terminal.write(`vmtest: ${line}\r\n`)
  yield* say(`attached to ${JSON.stringify(answer.name)}; .help lists commands, .detach or Ctrl-D leaves`)
  const keys = terminal === undefined ? fromPipe(seat.input, channel) : fromTerminal(terminal, channel)
  return yield* Effect.raceFirst(shown(channel, seat.output), keys)
}, Effect.scoped)

/** Exit code 1 if a line from a pipe failed; 2 if there is no session to join. */
export const attach = ({ run, test }: Extract<Invocation, { readonly _tag: "Attach" }>): Work =>
  Effect.gen(function* () {
    const left = yield* talk(yield* choose(run), test)
    yield* complain(left.reason)
    return process.stdin.isTTY === true || left.failures === 0 ? ExitCode.passed : ExitCode.failed
  }).pipe(Effect.catch((error) => Effect.as(complain(error.message), ExitCode.unusable)))
