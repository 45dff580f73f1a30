import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { PNG } from "pngjs"
import { codePage } from "../../src/guest/CodePage.ts"
import { encode, pictureOf } from "../../src/screen/internal/apng.ts"
import { type Frame, fromPng, fromPpm, hashOf, toPng } from "../../src/screen/internal/frame.ts"
import { keyNames, nearestKeys } from "../../src/screen/internal/keys.ts"
import { bandsOf, fromTable, joined, polarityOf } from "../../src/screen/internal/ocr.ts"
import { compare, locator, masked } from "../../src/screen/internal/pictureDiff.ts"
import { findIn } from "../../src/screen/internal/reader.ts"
import * as TextMode from "../../src/screen/internal/textMode.ts"
import { glyphs } from "../../src/screen/internal/vgaFont.ts"
import { fromXwd } from "../../src/screen/internal/xwd.ts"
import * as KeyboardLayout from "../../src/screen/KeyboardLayout.ts"

type Colour = readonly [number, number, number]

const plain = (width: number, height: number, [red, green, blue]: Colour): Frame => {
  const data = new Uint8Array(width * height * 4)
  for (let at = 0; at < data.length; at += 4) data.set([red, green, blue, 255], at)
  return { width, height, data }
}

const put = (frame: Frame, x: number, y: number, [red, green, blue]: Colour) =>
  frame.data.set([red, green, blue, 255], (y * frame.width + x) * 4)

interface Cell {
  readonly character: string
  readonly ink?: Colour
  readonly paper?: Colour
  readonly cursor?: boolean
}

const grey: Colour = [170, 170, 170]
const black: Colour = [0, 0, 0]

/** A text screen as a VGA draws it: cells 9 pixels wide, the ninth column paper save for lines of boxes. */
const draw = (columns: number, lines: ReadonlyArray<ReadonlyArray<Cell>>, cellWidth = 9): Frame => {
  const frame = plain(columns * cellWidth, lines.length * 16, black)
  for (const [row, line] of lines.entries()) {
    for (const [column, { character, cursor = false, ink = grey, paper = black }] of line.entries()) {
      const code = codePage.indexOf(character, character === " " ? 32 : 0)
      for (let y = 0; y < 16; y++) {
        const bits = glyphs[code * 16 + y] ?? 0
        for (let x = 0; x < cellWidth; x++) {
          const lit = x < 8 ? (bits >> (7 - x)) & 1 : code >= 0xc0 && code < 0xe0 && bits & 1
          const colour = lit || (cursor && (y === 13 || y === 14)) ? ink : paper
          put(frame, column * cellWidth + x, row * 16 + y, colour)
        }
      }
    }
  }
  return frame
}

const line = (text: string, style: Omit<Cell, "character"> = {}): ReadonlyArray<Cell> =>
  [...text].map((character) => ({ character, ...style }))

describe("a text screen", () => {
  const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index)).join("")

  it("is read exactly: every printable character, in both cell sizes", () => {
    for (const width of [9, 8]) {
      const frame = draw(96, [line(`${printable.slice(1)}`)], width)
      assert.strictEqual(TextMode.read(frame)?.text, printable.slice(1).trimEnd())
    }
  })

  it("is read in any colours, reversed, and under the cursor", () => {
    const frame = draw(20, [
      line("red", { ink: [170, 0, 0] }),
      line("reversed", { ink: black, paper: grey }),
      line("on blue", { ink: [255, 255, 85], paper: [0, 0, 170] }),
      [...line("ag"), { character: "x", cursor: true }, ...line("b"), { character: " ", cursor: true }]
    ])
    assert.strictEqual(TextMode.read(frame)?.text, "red\nreversed\non blue\nagxb")
  })

  it("has boxes and umlauts, and blank lines only where they separate something", () => {
    const frame = draw(10, [line("┌──┐"), line(""), line("Übel"), line(" "), line("")])
    assert.strictEqual(TextMode.read(frame)?.text, "┌──┐\n\nÜbel")
  })

  it("has full blocks where letters of their colour are, and blanks in reverse video where it is that of paper", () => {
    const reverse = { ink: black, paper: grey } as const
    const white: Colour = [255, 255, 255]
    const blue: Colour = [0, 0, 170]
    const frame = draw(24, [
      line("[████░░░   ] 50%"),
      [...line("mark "), ...line("  bar  ", reverse), ...line("end")],
      line("          ", reverse),
      line("█"),
      [...line("a window ", reverse), ...line("  ", { paper: white }), ...line("  ", { ink: grey, paper: black })],
      [...line("title", { ink: blue, paper: grey }), ...line("      ", { ink: grey, paper: blue }), ...line("on")],
      line("a plain line")
    ])
    assert.strictEqual(
      TextMode.read(frame)?.text,
      ["[████░░░   ] 50%", "mark   bar  end", "", "", "a window", "title██████on", "a plain line"].join("\n")
    )
    // A ground of one colour is no block, whatever is written in it.
    const desk = draw(24, [
      ...Array.from({ length: 4 }, () => line(" ".repeat(24), { paper: blue })),
      [
        ...line(" ".repeat(6), { paper: blue }),
        ...line("title", { ink: blue, paper: grey }),
        ...line(" ".repeat(13), { paper: blue })
      ]
    ])
    assert.strictEqual(TextMode.read(desk)?.text, "\n\n\n\n      title")
  })

  it("is not seen in graphics, and is seen empty", () => {
    const noise = plain(720, 400, black)
    for (let at = 0; at < noise.data.length; at++) noise.data[at] = (at * 2654435761) >>> 24
    assert.isUndefined(TextMode.read(noise))
    assert.strictEqual(TextMode.read(plain(720, 400, black))?.text, "")
  })

  it("says where its texts are, a match over several lines included", () => {
    const reading = TextMode.read(draw(20, [line("  yes no"), line("no")])) ?? { text: "", boxes: [] }
    assert.deepStrictEqual(findIn("no", reading), [
      { text: "no", box: { x: 54, y: 0, width: 18, height: 16 } },
      { text: "no", box: { x: 0, y: 16, width: 18, height: 16 } }
    ])
    assert.deepStrictEqual(findIn(/yes.*$/gs, reading)[0]?.box, { x: 0, y: 0, width: 72, height: 32 })
    assert.deepStrictEqual(findIn("n.", reading), [])
    assert.deepStrictEqual(findIn(/x*/, reading), [])
  })
})

describe("what tesseract says", () => {
  const head = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext"
  it("becomes lines of words, with a box for each character in pixels of the screen", () => {
    const table = [
      head,
      "4\t1\t1\t1\t1\t0\t0\t0\t200\t20\t-1\t",
      "5\t1\t1\t1\t1\t1\t20\t40\t40\t20\t96.1\tab",
      "5\t1\t1\t1\t1\t2\t80\t40\t60\t20\t91.0\tc\td",
      "5\t1\t1\t1\t2\t1\t20\t80\t20\t20\t91.0\tx",
      "5\t1\t1\t1\t2\t2\t20\t80\t20\t20\t95\t "
    ].join("\n")
    const reading = fromTable(table)
    assert.strictEqual(reading.text, "ab c\td\nx")
    assert.strictEqual(reading.boxes.length, reading.text.length)
    assert.deepStrictEqual(findIn("b", reading)[0]?.box, { x: 20, y: 20, width: 10, height: 10 })
    assert.strictEqual(fromTable(head).text, "")
  })

  it("is asked of two halves, parted where no text is cut, and put together", () => {
    const frame = draw(10, [line("one"), line("two"), line("three"), line("four")])
    const parts = bandsOf(frame)
    assert.deepStrictEqual(
      parts.map(({ frame: { height }, top }) => [top, height]),
      [
        [0, 32],
        [32, 32]
      ]
    )
    assert.deepStrictEqual(
      parts.map(({ frame: band }) => TextMode.read(band)?.text),
      ["one\ntwo", "three\nfour"]
    )
    const bars = plain(20, 40, black)
    for (let y = 0; y < 40; y++) put(bars, 7, y, grey)
    assert.strictEqual(bandsOf(bars).length, 1)
    const at = (y: number) => ({ x: 1, y, width: 1, height: 1 })
    const reading = joined([
      { top: 0, reading: { text: "", boxes: [] } },
      { top: 10, reading: { text: "a", boxes: [at(0)] } },
      { top: 20, reading: { text: "b", boxes: [at(1)] } }
    ])
    assert.deepStrictEqual(reading, { text: "a\nb", boxes: [at(10), undefined, at(21)] })
  })

  it("is asked of dark letters on light, whichever way the screen is", () => {
    assert.strictEqual(polarityOf(plain(100, 100, [250, 250, 240])), "dark-on-light")
    assert.strictEqual(polarityOf(plain(100, 100, [20, 0, 30])), "light-on-dark")
  })
})

describe("a picture", () => {
  const frame = plain(5, 4, [1, 2, 3])
  put(frame, 2, 1, [200, 100, 50])

  it("comes from a PPM, with its comments, and not from half of one", () => {
    const pixels = Buffer.alloc(5 * 4 * 3)
    for (let pixel = 0; pixel < 20; pixel++)
      frame.data.subarray(pixel * 4, pixel * 4 + 3).forEach((value, part) => {
        pixels[pixel * 3 + part] = value
      })
    const bytes = Buffer.concat([Buffer.from("P6\n# QEMU\n5 4\n255\n"), pixels])
    assert.deepStrictEqual(fromPpm(bytes), frame)
    assert.isUndefined(fromPpm(bytes.subarray(0, -1)))
    assert.isUndefined(fromPpm(Buffer.from("P5\n5 4\n255\n")))
    assert.isUndefined(fromPpm(Buffer.alloc(0)))
  })

  it("goes to PNG and back unchanged", () => {
    const again = fromPng(toPng(frame))
    assert.strictEqual(hashOf({ ...again, data: Uint8Array.from(again.data) }), hashOf(frame))
  })

  it("differs from another in so many pixels, unless those are masked", () => {
    const other = { ...frame, data: Uint8Array.from(frame.data) }
    put(other, 4, 3, [255, 255, 255])
    assert.strictEqual(compare(frame, other, 0.1).pixels, 1)
    assert.strictEqual(compare(frame, frame, 0).pixels, 0)
    const masks = [{ x: 3.5, y: 3, width: 100, height: 100 }]
    assert.strictEqual(compare(masked(frame, masks), masked(other, masks), 0).pixels, 0)
  })

  it.effect("is found in another, within a tolerance", () =>
    Effect.gen(function* () {
      const screen = plain(50, 40, [1, 2, 3])
      put(screen, 32, 21, [200, 100, 50])
      assert.deepStrictEqual(yield* locator(frame, 0, 0)(screen), { x: 30, y: 20, width: 5, height: 4 })
      put(screen, 33, 21, [255, 255, 255])
      assert.isUndefined(yield* locator(frame, 0.1, 0)(screen))
      // One pixel may differ, and that is all the picture has: it is found where nothing is.
      assert.deepStrictEqual((yield* locator(frame, 0.1, 1)(screen))?.x, 0)
      assert.isUndefined(yield* locator(screen, 1, 0)(frame))
    })
  )

  /** A picture in which no two places look alike. */
  const patterned = (width: number, height: number) => {
    const picture = plain(width, height, black)
    let state = 1
    for (let at = 0; at < picture.data.length; at++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      picture.data[at] = state >>> 24
    }
    return picture
  }

  it.effect("is found with as many pixels wrong as may be, wherever those are, and not with one more", () =>
    Effect.gen(function* () {
      const screen = patterned(300, 200)
      const wanted = plain(100, 80, black)
      for (let y = 0; y < 80; y++) {
        const row = ((y + 70) * 300 + 120) * 4
        wanted.data.set(screen.data.subarray(row, row + 400), y * 400)
      }
      const place = { x: 120, y: 70, width: 100, height: 80 }
      const allowed = 800
      for (const where of [
        (index: number) => [index % 100, Math.floor(index / 100)],
        (index: number) => [index % 10, Math.floor(index / 10)],
        (index: number) => [(index * 10) % 100, Math.floor(index / 10)]
      ]) {
        const wrong = { ...wanted, data: Uint8Array.from(wanted.data) }
        const spoil = (index: number) => {
          const [x = 0, y = 0] = where(index)
          const at = (y * 100 + x) * 4
          for (let part = 0; part < 3; part++) wrong.data[at + part] = (wrong.data[at + part] ?? 0) ^ 0x80
        }
        for (let index = 0; index < allowed; index++) spoil(index)
        assert.deepStrictEqual(yield* locator(wrong, 0.1, allowed)(screen), place)
        assert.isUndefined(yield* locator(wrong, 0.1, allowed - 1)(screen))
      }
    })
  )

  it.live("lets others have their turn while it is looked for, and gives up when nobody waits any more", () =>
    Effect.gen(function* () {
      // Every place is nearly right, which is the most that a place can cost: all of them take many seconds.
      const screen = plain(1600, 1200, grey)
      const wanted = plain(200, 150, grey)
      for (let pixel = 0; pixel < 900; pixel++) put(wanted, (pixel * 7) % 200, Math.floor(pixel / 6), black)
      const looking = yield* Effect.forkChild(locator(wanted, 0.1, 600)(screen))
      yield* Effect.sleep("100 millis")
      assert.isUndefined(looking.pollUnsafe())
      yield* Fiber.interrupt(looking)
    })
  )

  it("becomes a film that other programs can read", () => {
    const film = encode([
      { ...pictureOf(plain(6, 4, grey)), millis: 200 },
      { ...pictureOf(frame), millis: 100_000 }
    ])
    const acTL = film.indexOf("acTL")
    assert.strictEqual(film.readUInt32BE(acTL + 4), 3)
    const first = PNG.sync.read(film)
    assert.deepStrictEqual([first.width, first.height], [6, 4])
  })

  it("comes from X, whatever order its bytes are in", () => {
    for (const little of [true, false]) {
      const header = Buffer.alloc(104)
      const words = [104, 7, 2, 24, 2, 1, 0, little ? 0 : 1, 32, 0, 32, 32, 8, 4, 0xff0000, 0xff00, 0xff, 8, 0, 0]
      for (const [index, word] of words.entries()) header.writeUInt32BE(word, index * 4)
      const bytes = little ? [0x30, 0x20, 0x10, 0] : [0, 0x10, 0x20, 0x30]
      const picture = Buffer.concat([header, Buffer.from([...bytes, ...bytes])])
      assert.deepStrictEqual(fromXwd(picture)?.data, Uint8Array.from([16, 32, 48, 255, 16, 32, 48, 255]))
      assert.isUndefined(fromXwd(picture.subarray(0, -1)))
    }
    assert.isUndefined(fromXwd(Buffer.from("no picture")))
  })
})

describe("keys", () => {
  it("make every printable character of every layout, and each exists", () => {
    for (const layout of KeyboardLayout.names) {
      const all = KeyboardLayout.charactersOf(layout)
      for (let code = 32; code < 127; code++) assert.include(all, String.fromCharCode(code), layout)
      const combinations = all.map((character) => KeyboardLayout.combinationsOf(layout, character) ?? [])
      for (const keys of combinations.flat(2)) assert.isTrue(keyNames.has(keys), keys)
      assert.strictEqual(new Set(combinations.map((one) => JSON.stringify(one))).size, all.length, layout)
    }
  })

  it("that do not exist have neighbours", () => {
    assert.strictEqual(nearestKeys("delet")[0], "delete")
    assert.strictEqual(nearestKeys("Enter")[0], "ret")
    assert.strictEqual(nearestKeys("CTRL")[0], "ctrl")
    assert.strictEqual(nearestKeys("f13").length, 3)
  })
})
