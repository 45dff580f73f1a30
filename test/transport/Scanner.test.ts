import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { Scanner } from "../../src/transport/internal/scanner.ts"

const nonce = "0123456789abcdef0123456789abcdef"
const other = "fedcba9876543210fedcba9876543210"

/** What a scanner finds in bytes that arrive in these pieces. */
const scan = (pieces: ReadonlyArray<Buffer>, expected = nonce) => {
  const bytes: Array<Buffer> = []
  const marks: Array<{ readonly at: number; readonly text: string }> = []
  let at = 0
  const scanner = new Scanner({
    bytes: (found) => {
      bytes.push(Buffer.from(found))
      at += found.length
    },
    mark: (text) => {
      marks.push({ at, text })
    }
  })
  scanner.expect(expected)
  for (const piece of pieces) scanner.push(piece)
  return { bytes: Buffer.concat(bytes).toString("latin1"), marks }
}

/** Cuts a session at these places, whatever they are. */
const cut = (session: Buffer, places: ReadonlyArray<number>) => {
  const sorted = [...places].map((place) => Math.abs(place) % (session.length + 1)).sort((a, b) => a - b)
  return [0, ...sorted].map((from, i) => session.subarray(from, sorted[i] ?? session.length))
}

const session = Buffer.from(
  `late\x1e${nonce.slice(0, 20)}\x1e${other} 7 248\nout\x1e\x1e${nonce} xx\n\x1e${nonce}  \x1e${nonce} 12 243\nafter\x1e${nonce} R\n`,
  "latin1"
)
const whole = scan([session])

describe("the marks of a lane", () => {
  it("are found, and nothing else is taken for one", () => {
    assert.deepStrictEqual(
      whole.marks.map(({ text }) => text),
      ["12 243", "R"]
    )
    assert.strictEqual(
      whole.bytes,
      session.toString("latin1").replace(`\x1e${nonce} 12 243\n`, "").replace(`\x1e${nonce} R\n`, "")
    )
  })

  it("are found wherever two reads cut the session", () => {
    for (let i = 0; i <= session.length; i++) {
      for (let j = i; j <= session.length; j += 3) {
        assert.deepStrictEqual(scan([session.subarray(0, i), session.subarray(i, j), session.subarray(j)]), whole)
      }
    }
  })

  it("are found byte by byte", () => {
    assert.deepStrictEqual(scan([...session].map((byte) => Buffer.of(byte))), whole)
  })

  it("of a session that is cut off are never wrong", () => {
    for (let i = 0; i <= session.length; i++) {
      const { bytes, marks } = scan([session.subarray(0, i)])
      assert.isTrue(whole.bytes.startsWith(bytes))
      assert.deepStrictEqual(marks, whole.marks.slice(0, marks.length))
    }
  })

  it("keep bytes back only where they may begin one", () => {
    assert.strictEqual(scan([Buffer.from("abc")]).bytes, "abc")
    assert.strictEqual(scan([Buffer.from("abc\x1e")]).bytes, "abc")
    assert.strictEqual(scan([Buffer.from("abc\x1ex")]).bytes, "abc\x1ex")
  })

  it.prop(
    "lose no byte and add none, whatever comes in whatever pieces",
    [
      Schema.Array(
        Schema.Union([Schema.String, Schema.Literals(["\x1e", nonce, " ", "0 255\n", "R\n", `\x1e${nonce} 3 252\n`])])
      ),
      Schema.Array(Schema.Int)
    ],
    ([parts, places]) => {
      const bytes = Buffer.from(parts.join(""))
      const once = scan([bytes])
      assert.deepStrictEqual(scan(cut(bytes, places)), once)
      // Put back where they were found, the marks give the bytes that came, but for a beginning that is still held.
      let back = ""
      let from = 0
      for (const { at, text } of once.marks) {
        back += `${once.bytes.slice(from, at)}\x1e${nonce} ${text}\n`
        from = at
      }
      back += once.bytes.slice(from)
      assert.isTrue(bytes.toString("latin1").startsWith(back))
      assert.isBelow(bytes.length - back.length, nonce.length + 10)
    },
    { arbitrary: { runs: 500 } }
  )

  it.prop(
    "survive any mutation of a session: each mark found was sent",
    [Schema.Array(Schema.Tuple([Schema.Int, Schema.Int]))],
    ([mutations]) => {
      const mutated = Buffer.from(session)
      for (const [at, byte] of mutations) mutated[Math.abs(at) % mutated.length] = byte & 0xff
      for (const { text } of scan([mutated]).marks) {
        assert.isTrue(mutated.includes(`\x1e${nonce} ${text}\n`, "latin1"))
      }
    }
  )

  it("of another nonce count from the next byte on", () => {
    const marks: Array<string> = []
    const scanner = new Scanner({
      bytes: () => {},
      mark: (text) => {
        marks.push(text)
        scanner.expect(other)
      }
    })
    scanner.expect(nonce)
    scanner.push(Buffer.from(`\x1e${nonce} 1 254\n\x1e${nonce} 2 253\n\x1e${other} 3 252\n`))
    assert.deepStrictEqual(marks, ["1 254", "3 252"])
  })
})
