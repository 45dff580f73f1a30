import { assert, describe, it } from "@effect/vitest"
import * as Wire from "../../src/cli/internal/wire.ts"

describe("frames between two processes", () => {
  it("arrive whole, in whatever pieces they come", () => {
    const sent = Buffer.concat([
      Wire.message({ ask: "overview" }),
      Wire.bytes(Buffer.from([0, 255, 3])),
      Wire.bytes(""),
      Wire.message("ä")
    ])
    for (const size of [1, 2, 7, sent.length]) {
      const frames = new Wire.Frames()
      const taken: Array<Wire.Frame> = []
      for (let at = 0; at < sent.length; at += size) taken.push(...(frames.take(sent.subarray(at, at + size)) ?? []))
      assert.deepStrictEqual(
        taken.map((frame) => (frame._tag === "Message" ? frame.message : [...frame.bytes])),
        [{ ask: "overview" }, [0, 255, 3], [], "ä"]
      )
    }
  })

  it("are refused where they are of another protocol", () => {
    assert.isUndefined(new Wire.Frames().take(Buffer.from("GET / HTTP/1.1\r\n")))
    assert.isUndefined(new Wire.Frames().take(Buffer.from([0x4a, 0, 0, 0, 1, 0x7b])))
    assert.isUndefined(new Wire.Frames().take(Buffer.from([0x42, 255, 255, 255, 255])))
  })
})
