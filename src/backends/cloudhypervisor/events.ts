/** What a Cloud Hypervisor reports of itself (`--event-monitor`): JSON objects over several lines, with an empty line after each. */
import type { Readable } from "node:stream"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const Event = Schema.fromJsonString(Schema.Struct({ source: Schema.String, event: Schema.String }))
const decode = Schema.decodeUnknownOption(Event)

/** Calls back for each event, as `vm rebooting`. What is not an event is left out. */
export const listen = (source: Readable, each: (event: string) => void): void => {
  const decoder = new TextDecoder()
  let rest = ""
  source.on("data", (chunk: Buffer) => {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n\n")
    rest = parts.pop() ?? ""
    for (const part of parts) {
      const found = Option.getOrUndefined(decode(part))
      if (found !== undefined) each(`${found.source} ${found.event}`)
    }
  })
}
