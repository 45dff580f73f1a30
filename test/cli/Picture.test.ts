import { PassThrough } from "node:stream"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { PNG } from "pngjs"
import { toSixels } from "../../src/cli/internal/sixels.ts"
import type * as Seat from "../../src/cli/Seat.ts"
import * as Picture from "../../src/cli/session/Picture.ts"
import * as Terminal from "../../src/host/Terminal.ts"

interface Pixels {
  readonly width: number
  readonly height: number
  readonly data: Uint8Array
}

/** A picture whose colours are among those of the palette. */
const picture = (width: number, height: number): Pixels => {
  const data = new Uint8Array(width * height * 4)
  for (let index = 0; index < width * height; index++) {
    data.set([51 * (index % 6), 51 * (Math.floor(index / 6) % 6), index % 2 === 0 ? 0 : 255, 255], index * 4)
  }
  return { width, height, data }
}

/** With names for control characters. */
const named = (text: string) => text.replaceAll("\u001b", "<ESC>").replaceAll("\u0007", "<BEL>")

/** What a terminal makes of sixels. */
const decoded = (text: string): Pixels => {
  const [, columns = "", rows = "", body = ""] = /^<ESC>Pq"1;1;(\d+);(\d+)([\s\S]*)<ESC>\\$/.exec(named(text)) ?? []
  const [width, height] = [Number(columns), Number(rows)]
  const data = new Uint8Array(width * height * 4)
  const palette = new Map<string, ReadonlyArray<number>>()
  let [x, top, colour] = [0, 0, ""]
  for (const [, number = "", rgb, count, sixel = "", control] of body.matchAll(
    /#(\d+)(?:;2;(\d+;\d+;\d+))?|(?:!(\d+))?([?-~])|([$-])/g
  )) {
    if (rgb !== undefined)
      palette.set(
        number,
        rgb.split(";").map((percent) => Math.round((Number(percent) * 255) / 100))
      )
    else if (number !== "") colour = number
    else if (control !== undefined) {
      x = 0
      if (control === "-") top += 6
    } else
      for (let times = Number(count ?? 1); times > 0; times--, x++) {
        for (let row = 0; row < 6; row++) {
          if (((sixel.charCodeAt(0) - 63) & (1 << row)) === 0) continue
          data.set([...(palette.get(colour) ?? []), 255], ((top + row) * width + x) * 4)
        }
      }
  }
  return { width, height, data }
}

/** A terminal that answers questions with a text. */
const seatOf = (
  answer: string,
  env: Readonly<Record<string, string>> = {}
): Seat.Seat & { readonly shown: () => string } => {
  const input = Object.assign(new PassThrough(), {
    isTTY: true,
    isRaw: true,
    setRawMode: (_: boolean): unknown => undefined
  })
  const output = Object.assign(new PassThrough(), { isTTY: true, columns: 80, rows: 24 })
  let said = ""
  output.on("data", (bytes: Buffer) => {
    if (said === "" && bytes.includes("\u001b[c")) input.push(answer)
    said += bytes.toString("latin1")
  })
  return {
    ...{ input, output, env, isTerminal: true, isOwn: false, shows: true, colors: true },
    open: Terminal.of(input, output, "xterm"),
    shown: () => said
  }
}

describe("sixels", () => {
  it("show the pixels of the picture, also where its height is no multiple of six", () => {
    for (const [width, height] of [
      [7, 5],
      [40, 6],
      [13, 20]
    ] as const) {
      const pixels = picture(width, height)
      assert.deepStrictEqual(decoded(toSixels(pixels)), pixels)
    }
  })
})

describe("the pictures of a terminal", () => {
  it.live("are those that it says it can show", () =>
    Effect.gen(function* () {
      const protocolOf = (answer: string, env?: Readonly<Record<string, string>>) =>
        Picture.protocolOf(seatOf(answer, env))
      assert.strictEqual(yield* protocolOf("\u001b_Gi=31;OK\u001b\\\u001b[?62;c"), "kitty")
      assert.strictEqual(yield* protocolOf("\u001b[?62;4;6c"), "sixel")
      assert.isUndefined(yield* protocolOf("\u001b[?1;2c"))
      assert.isUndefined(yield* protocolOf(""))
      assert.strictEqual(yield* protocolOf("", { TERM_PROGRAM: "iTerm.app" }), "iterm2")
      assert.isUndefined(yield* protocolOf("\u001b[?1;2c", { TERM_PROGRAM: "iTerm.app", TMUX: "/tmp/tmux" }))
    })
  )

  it("are whole, however long they are", () => {
    const png = PNG.sync.write(
      Object.assign(new PNG({ width: 90, height: 60 }), { data: Buffer.from(picture(90, 60).data) })
    )
    const kitty = Picture.encode("kitty", png)
    const parts = [...named(kitty).matchAll(/<ESC>_G([^;]*);([^<]*)<ESC>\\/g)]
    assert.strictEqual(parts[0]?.[1]?.includes("a=T,f=100"), true)
    assert.match(parts.at(-1)?.[1] ?? "", /m=0$/)
    assert.deepStrictEqual(Buffer.from(parts.map(([, , text]) => text).join(""), "base64"), png)
    const iterm = /inline=1;size=(\d+);[^:]*:([^<]*)<BEL>$/.exec(named(Picture.encode("iterm2", png)))
    assert.strictEqual(Number(iterm?.[1]), png.length)
    assert.deepStrictEqual(Buffer.from(iterm?.[2] ?? "", "base64"), png)
  })
})
