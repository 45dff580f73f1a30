/**
 * Pictures in terminals that can show them: by the protocols of kitty and iTerm2, or as sixels.
 *
 * The terminal itself is asked which of them it knows: kitty's query is answered by those that have its protocol, and the primary device attributes
 * (DA1) have a 4 where sixels work. iTerm2 and WezTerm are known by their names.
 *
 * **Example** (Show a screenshot, or say where it is)
 *
 * ```ts
 * const said = yield* Picture.show(yield* web.screenshot(), Seat.own())
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { PNG } from "pngjs"
import * as OutputFolder from "../../host/OutputFolder.ts"
import { quote } from "../../host/Quote.ts"
import { toSixels } from "../internal/sixels.ts"
import type { Seat } from "../Seat.ts"

/** How a terminal takes pictures. */
export type Protocol = "kitty" | "iterm2" | "sixel"

/** kitty's query for its graphics protocol, with a picture of one pixel, and then DA1, which every terminal answers. */
const query = "\u001b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\u001b\\\u001b[c"

/** The protocol that the answer to the query names; undefined while the answer is not complete, `none` if there is none. */
export const protocolIn = (answer: string): Protocol | "none" | undefined => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what terminals answer begins with escape
  const attributes = /\u001b\[\?([\d;]*)c/.exec(answer)?.[1]
  if (attributes === undefined) return undefined
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what terminals answer begins with escape
  if (/\u001b_Gi=31;OK/.test(answer)) return "kitty"
  return attributes.split(";").includes("4") ? "sixel" : "none"
}

/** How long the terminal may take to answer. */
const patience = "500 millis"

/** The protocol of a terminal; undefined if it has none, or does not say. */
export const protocolOf = (seat: Seat): Effect.Effect<Protocol | undefined> => {
  if (!seat.isTerminal || seat.env.TERM === "dumb") return Effect.succeed(undefined)
  const { LC_TERMINAL, TERM_PROGRAM, TMUX } = seat.env
  const isNamed = /^(iTerm\.app|WezTerm)$/.test(TERM_PROGRAM ?? "") || LC_TERMINAL === "iTerm2"
  if (isNamed && TMUX === undefined) return Effect.succeed("iterm2")
  return Effect.gen(function* () {
    const terminal = yield* seat.open
    yield* terminal.write(query)
    let answer = ""
    const found = yield* terminal.events.pipe(
      Stream.map((event) => {
        if (event._tag === "Input") answer += Buffer.from(event.bytes).toString("latin1")
        return protocolIn(answer)
      }),
      Stream.filter((protocol) => protocol !== undefined),
      Stream.runHead,
      Effect.timeoutOption(patience)
    )
    const protocol = found._tag === "Some" && found.value._tag === "Some" ? found.value.value : "none"
    return protocol === "none" ? undefined : protocol
  }).pipe(
    Effect.scoped,
    Effect.orElseSucceed(() => undefined)
  )
}

/** kitty takes at most this many characters at once. */
const chunk = 4096

/** What a terminal is sent to show a picture, which is a PNG. */
export const encode = (protocol: Protocol, png: Buffer): string => {
  switch (protocol) {
    case "kitty": {
      const parts = png.toString("base64").match(new RegExp(`.{1,${chunk}}`, "g")) ?? []
      return parts
        .map((part, index) => {
          const more = index === parts.length - 1 ? 0 : 1
          return `\u001b_G${index === 0 ? "a=T,f=100,q=2," : ""}m=${more};${part}\u001b\\`
        })
        .join("")
    }
    case "iterm2":
      return `\u001b]1337;File=inline=1;size=${png.length};preserveAspectRatio=1:${png.toString("base64")}\u0007`
    case "sixel":
      return toSixels(PNG.sync.read(png))
  }
}

/** Shows the picture of a file where the terminal can; gives where the file is. */
export const show = (file: string, seat: Seat): Effect.Effect<string> =>
  Effect.gen(function* () {
    const protocol = yield* protocolOf(seat)
    if (protocol !== undefined) {
      const picture = encode(protocol, yield* Effect.sync(() => Fs.readFileSync(file)))
      yield* Effect.callback<void>((resume) => void seat.output.write(`${picture}\n`, () => resume(Effect.void)))
    }
    return `the picture is ${quote(OutputFolder.shown(file))}`
  })
