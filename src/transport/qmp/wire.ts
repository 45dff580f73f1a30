/**
 * The lines of QMP. What is not JSON, or of no shape that QMP has, is passed over: a reply that never comes is found by
 * the deadline of its command.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/** QEMU's first line. */
export interface Greeting {
  readonly _tag: "Greeting"
  readonly version: string
}

/** The answer to one command. */
export type Reply =
  | { readonly _tag: "Return"; readonly id: string; readonly value: unknown }
  | { readonly _tag: "Error"; readonly id: string; readonly class: string; readonly desc: string }

/** Something that happened. */
export interface Event {
  readonly _tag: "Event"
  readonly event: string
  readonly data: unknown
  readonly timestamp: number
}

export type Message = Greeting | Reply | Event

/** No message of QEMU comes near this; a longer line is dropped, so that garbage cannot fill the memory. */
const longestLine = 64 * 1024 * 1024

const Line = Schema.fromJsonString(
  Schema.Union([
    Schema.Struct({
      QMP: Schema.Struct({
        version: Schema.Struct({
          qemu: Schema.Struct({ major: Schema.Int, minor: Schema.Int, micro: Schema.Int })
        })
      })
    }),
    Schema.Struct({
      event: Schema.String,
      data: Schema.optionalKey(Schema.Unknown),
      timestamp: Schema.Struct({ seconds: Schema.Number, microseconds: Schema.Number })
    }),
    Schema.Struct({ error: Schema.Struct({ class: Schema.String, desc: Schema.String }), id: Schema.String }),
    Schema.Struct({ return: Schema.Unknown, id: Schema.String })
  ])
)

const decodeLine = Schema.decodeUnknownOption(Line)

/** Reads one line, if it is one of QMP's. */
export const decode = (line: string): Option.Option<Message> =>
  Option.map(decodeLine(line), (message): Message => {
    if ("QMP" in message) {
      const { major, micro, minor } = message.QMP.version.qemu
      return { _tag: "Greeting", version: `${major}.${minor}.${micro}` }
    }
    if ("event" in message) {
      const { seconds, microseconds } = message.timestamp
      return {
        _tag: "Event",
        event: message.event,
        data: message.data,
        timestamp: seconds * 1000 + microseconds / 1000
      }
    }
    if ("error" in message) return { _tag: "Error", id: message.id, ...message.error }
    return { _tag: "Return", id: message.id, value: message.return }
  })

/** Cuts chunks into lines and hands on the messages. */
export const reader = (receive: (message: Message) => void): ((chunk: Buffer) => void) => {
  let held: Array<Buffer> = []
  let size = 0
  /** whether the line that is being read was too long, its end then too */
  let skipping = false
  return (chunk) => {
    let from = 0
    for (;;) {
      const end = chunk.indexOf(0x0a, from)
      if (end === -1) break
      const message = skipping
        ? Option.none()
        : decode(Buffer.concat([...held, chunk.subarray(from, end)]).toString("utf8"))
      held = []
      size = 0
      skipping = false
      from = end + 1
      if (Option.isSome(message)) receive(message.value)
    }
    const rest = chunk.subarray(from)
    size += rest.length
    if (skipping || size > longestLine) {
      held = []
      size = 0
      skipping = true
    } else if (rest.length > 0) held.push(rest)
  }
}
