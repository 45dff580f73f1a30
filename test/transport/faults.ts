/**
 * Recorded sessions with faults: what must hold whatever the peer does.
 *
 * Every step of a session ends inside its deadline, in a typed error that names machine and command, or in the right answer.
 * What the right answer is, is read from the bytes that did arrive by a reader that has nothing of the channel's code: the first
 * whole mark of the command on a stream, and the bytes before it.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Hang, inVirtualTime } from "./memory.ts"
import { type Change, type Fault, layout, type Recording, replay } from "./recording.ts"
import { type Outcome, qmpSession, shellSession, type Timed } from "./sessions.ts"

export type { Fault }

/** A run of a session with a fault that went as it must not. */
export class Wrong extends Schema.TaggedError<Wrong>()("Wrong", {
  step: Schema.Int,
  problem: Schema.String,
  outcome: Schema.Unknown
}) {}

/** How long, on the virtual clock, a step may take to an outcome of each kind; `booting` where the guest's shell is awaited. */
const deadlines: Record<string, number> = {
  CommandTimeout: 80_000,
  ShellLost: 80_000,
  CommandRejected: 150_000,
  TransportError: 80_000,
  ShellNotReady: 180_000,
  QmpError: 30_000,
  answer: 80_000
}

const normal = (value: unknown) => JSON.stringify(value)

type Streams = { readonly exitCode: number; readonly stdout: string; readonly stderr: string }

const isStreams = (answer: unknown): answer is Streams =>
  typeof answer === "object" && answer !== null && "exitCode" in answer && "stdout" in answer

/** The reader that has nothing of the channel's code. */
const readMark = (stream: string, nonce: string) => {
  for (const { 0: mark, 1: status, 2: check, index } of stream.matchAll(
    new RegExp(`\\x1e${nonce} (\\d{1,3}) (\\d{1,3})\\n`, "g")
  )) {
    if (mark !== "" && Number(status) + Number(check) === 255)
      return { exitCode: Number(status), text: stream.slice(0, index) }
  }
  return undefined
}

/** The nonce of each step, as the number that it has in the recording, and where its command is in it. */
const heads = (recording: Recording) =>
  recording.said.flatMap(({ by, on, text }, index) => {
    const [, n] = (by === "host" && on === "input" && /^\{(\d+)\} [nbs] /.exec(text)) || []
    // The shell asks by itself how users are changed.
    return n === undefined || text.includes("setpriv --reuid root") ? [] : [{ n: Number(n), index }]
  })

const judge = (
  outcomes: ReadonlyArray<Timed>,
  recording: Recording,
  arrived: (step: number, on: string) => { readonly exitCode: number; readonly text: string } | undefined
): Wrong | undefined => {
  const wrong = (step: number, problem: string) => new Wrong({ step, problem, outcome: outcomes[step] })
  for (const [step, { outcome, took }] of outcomes.entries()) {
    const kind = "error" in outcome ? outcome.error : "answer"
    const deadline = deadlines[kind]
    if (deadline === undefined) return wrong(step, "an error that is none of the channel's")
    if (took > deadline) return wrong(step, `took ${took} ms`)
    const expected = recording.outcomes[step] as Outcome
    if (normal(outcome) === normal(expected)) continue
    if ("error" in outcome) {
      if (outcome.machine !== "vm") return wrong(step, "names no machine")
      if (outcomes.length > 1 && outcome.command === "") return wrong(step, "names no command")
      if (outcome.error === "CommandRejected" && !["Busy", "Closed"].includes(outcome.reason)) {
        return wrong(step, "a rejection for another reason")
      }
      continue
    }
    const { answer } = outcome
    const out = arrived(step, "output")
    const err = arrived(step, "errors")
    if (!isStreams(answer) || out === undefined || err === undefined) return wrong(step, "an answer that was not sent")
    const status = "answer" in expected && isStreams(expected.answer) ? expected.answer.exitCode : 125
    if (answer.exitCode !== status || out.exitCode !== status || err.exitCode !== status) {
      return wrong(step, "another exit code")
    }
    if (answer.stdout !== out.text || answer.stderr !== err.text) return wrong(step, "other bytes than arrived")
  }
  return undefined
}

const died = (step: number) => (defect: unknown) =>
  Effect.fail(
    new Wrong({ step, problem: defect instanceof Hang ? `a hang: ${defect.message}` : "a defect", outcome: defect })
  )

/** Runs the recorded shell session against a peer with a fault; fails with {@link Wrong}. */
export const shellUnder = (recording: Recording, fault?: Fault): Effect.Effect<ReadonlyArray<Timed>, Wrong> =>
  Effect.gen(function* () {
    const peer = replay(recording, fault)
    const outcomes = yield* inVirtualTime(shellSession(peer.transport), "1 hour").pipe(Effect.catchDefect(died(-1)))
    const begun = heads(recording)
    const problem = judge(outcomes, recording, (step, on) => {
      const head = begun[step]
      const nonce = head === undefined ? undefined : peer.name(head.n)
      if (head === undefined || nonce === undefined) return undefined
      const bytes = peer.sent.filter((one) => one.on === on && one.index > head.index).map((one) => one.bytes)
      return readMark(Buffer.concat(bytes).toString("latin1"), nonce)
    })
    return problem === undefined ? outcomes : yield* problem
  })

/** What the lines of QMP that arrived say was answered to the id with this number. */
const answers = (lines: ReadonlyArray<string>, id: string | undefined): ReadonlyArray<unknown> =>
  lines.flatMap((line) => {
    try {
      const message: unknown = JSON.parse(line)
      return typeof message === "object" && message !== null && "id" in message && message.id === id ? [message] : []
    } catch {
      return []
    }
  })

/** Runs the recorded QMP session against a peer with a fault; fails with {@link Wrong}. */
export const qmpUnder = (recording: Recording, fault?: Fault): Effect.Effect<ReadonlyArray<Timed>, Wrong> =>
  Effect.gen(function* () {
    const peer = replay(recording, fault)
    const outcomes = yield* inVirtualTime(qmpSession(peer.opening("qmp")), "1 hour").pipe(Effect.catchDefect(died(-1)))
    const said = Buffer.concat(peer.sent.map(({ bytes }) => bytes)).toString("utf8")
    const lines = said.split("\n")
    for (const [step, { outcome, took }] of outcomes.entries()) {
      const wrong = (problem: string) => new Wrong({ step, problem, outcome })
      if (took > (deadlines.QmpError ?? 0)) return yield* wrong(`took ${took} ms`)
      const expected = recording.outcomes[step]
      if (outcomes.length > 1 && normal(outcome) === normal(expected)) continue
      if ("error" in outcome) {
        if (outcome.machine !== "vm") return yield* wrong("names no machine")
        if (!["QmpError", "TransportError"].includes(outcome.error)) return yield* wrong("no error of QMP")
        // What QEMU is said to have refused, it must have refused.
        if (!["Timeout", "BadReply", "HumanMonitor"].includes(outcome.reason) && outcome.error === "QmpError") {
          if (
            !answers(lines, peer.name(step)).some((one) => JSON.stringify(one).includes(JSON.stringify(outcome.reason)))
          ) {
            return yield* wrong("an error that was not sent")
          }
        }
        continue
      }
      // The version comes with the greeting, an event without an id; all else must have been sent for this command.
      const text = JSON.stringify(outcome.answer) ?? "{}"
      const sources = step === 0 || step === outcomes.length - 1 ? [] : answers(lines, peer.name(step))
      const given = sources.map((one) => (one as { readonly return?: unknown }).return)
      const same = (one: unknown) => {
        const sent = JSON.stringify(one)
        if (typeof one === "object" && one !== null && typeof outcome.answer === "object" && outcome.answer !== null) {
          return Object.entries(outcome.answer).every(
            ([key, value]) => JSON.stringify((one as Record<string, unknown>)[key]) === JSON.stringify(value)
          )
        }
        return sent === text || outcome.answer === undefined
      }
      if (step === 0 ? /^"\d+\.\d+\.\d+"$/.test(text) : given.some(same)) continue
      return yield* wrong("an answer that was not sent")
    }
    return outcomes
  })

/** One thing that a peer does wrong. Places are taken modulo the length of the session. */
export const Mutation = Schema.Union([
  Schema.Struct({
    do: Schema.Literal("set"),
    at: Schema.Natural,
    byte: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
  }),
  Schema.Struct({ do: Schema.Literal("insert"), at: Schema.Natural, text: Schema.String }),
  Schema.Struct({ do: Schema.Literals(["delete", "repeat"]), at: Schema.Natural, count: Schema.Natural }),
  Schema.Struct({ do: Schema.Literal("split"), at: Schema.Natural }),
  Schema.Struct({ do: Schema.Literal("close"), at: Schema.Natural, which: Schema.Natural }),
  Schema.Struct({ do: Schema.Literals(["freeze", "die"]), at: Schema.Natural })
])

export type Mutation = typeof Mutation.Type

const names = ["bootstrap", "input", "output", "errors", "qmp"]

/** A peer that does these things. */
export const mutate = (recording: Recording, mutations: ReadonlyArray<Mutation>): Fault => {
  const { entries, total } = layout(recording)
  const places = mutations.map((mutation) => ({ mutation, at: mutation.at % total }))
  return (bytes, index) => {
    const entry = entries.find((one) => one.index === index)
    if (entry === undefined) return { pieces: [bytes] }
    let pieces: ReadonlyArray<Buffer> = [bytes]
    let end: Change["end"]
    const close: Array<string> = []
    const here = places.filter(({ at }) => at >= entry.base && at < entry.end).sort((a, b) => b.at - a.at)
    for (const { at, mutation } of here) {
      // From the last place to the first, so that the places before stay where they are: all are in the first piece.
      const [first = Buffer.alloc(0), ...rest] = pieces
      const place = at - entry.base
      const before = first.subarray(0, place)
      const after = first.subarray(place)
      switch (mutation.do) {
        case "set":
          pieces = [Buffer.concat([before, Buffer.of(mutation.byte), after.subarray(1)]), ...rest]
          break
        case "insert":
          pieces = [Buffer.concat([before, Buffer.from(mutation.text), after]), ...rest]
          break
        case "delete":
          pieces = [Buffer.concat([before, after.subarray(1 + (mutation.count % 64))]), ...rest]
          break
        case "repeat":
          pieces = [Buffer.concat([before, after.subarray(0, 1 + (mutation.count % 64)), after]), ...rest]
          break
        case "split":
          pieces = [before, after, ...rest]
          break
        case "close":
          close.push(entry.on === "qmp" ? "qmp" : (names[mutation.which % 4] ?? ""))
          break
        default:
          pieces = [before]
          end = { close: mutation.do === "die" ? "all" : "none" }
      }
    }
    return { pieces, end, close }
  }
}

/** A peer that says the first bytes of its part, and then nothing; it closes its connections, or just stands still. */
export const cutAt = (recording: Recording, bytes: number, how: "dies" | "freezes"): Fault => {
  const { entries } = layout(recording)
  return (said, index) => {
    const entry = entries.find((one) => one.index === index)
    if (entry === undefined || entry.end <= bytes) return { pieces: [said] }
    return {
      pieces: [said.subarray(0, Math.max(0, bytes - entry.base))],
      end: { close: how === "dies" ? "all" : "none" }
    }
  }
}

/** A peer that closes one of its connections after it said what has this number, and goes on. */
export const closeAfter =
  (number: number, connection: string): Fault =>
  (said, index) => ({ pieces: [said], close: index === number ? [connection] : [] })

/** Every step of a recording after which a connection can close, and every connection. */
export const closings = (recording: Recording): ReadonlyArray<readonly [number: number, connection: string]> => {
  const connections = recording.peer === "QEMU" ? ["qmp"] : names.slice(0, 4)
  return layout(recording).entries.flatMap(({ index }) => connections.map((name) => [index, name] as const))
}

/** Every digit that the peer says, nonces apart, as another digit: exit codes, ids, numbers of an answer. */
export const digits = (recording: Recording): ReadonlyArray<Fault> =>
  layout(recording).entries.flatMap(({ index }) => {
    // Filled in, a nonce is longer than its place in the recording; it has none of these digits' neighbours.
    const text = (recording.said[index]?.text ?? "").replaceAll(/\{\d+\}/g, "x".repeat(32))
    return [...text.matchAll(/\d/g)].map(
      ({ 0: digit, index: at }): Fault =>
        (said, number) => {
          if (number !== index) return { pieces: [said] }
          const damaged = Buffer.from(said)
          damaged[at] = 0x30 + ((Number(digit) + 1) % 10)
          return { pieces: [damaged] }
        }
    )
  })

/** Runs a recorded session of either kind against a peer with a fault. */
export const under = (recording: Recording, fault?: Fault): Effect.Effect<ReadonlyArray<Timed>, Wrong> =>
  (recording.peer === "QEMU" ? qmpUnder : shellUnder)(recording, fault)
