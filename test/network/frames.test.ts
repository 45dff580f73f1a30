import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as AddressTable from "../../src/network/internal/addressTable.ts"
import * as Frames from "../../src/network/internal/frames.ts"
import * as Random from "../../src/network/internal/random.ts"
import { Schedule } from "../../src/network/internal/schedule.ts"

/** Cuts bytes into pieces at places that are any numbers. */
const cut = (bytes: Buffer, places: ReadonlyArray<number>): ReadonlyArray<Buffer> => {
  const ends = [...new Set(places.map((place) => Math.abs(place) % (bytes.length + 1)))].toSorted((a, b) => a - b)
  return [0, ...ends].map((from, index) => bytes.subarray(from, ends[index] ?? bytes.length))
}

describe("frames", () => {
  it.prop(
    "are whole again, whatever pieces they arrive in",
    [Schema.Array(Schema.Uint8Array), Schema.Array(Schema.Int)],
    ([frames, places]) => {
      const bytes = Buffer.concat(frames.map(Frames.withHeader))
      const joiner = new Frames.Joiner()
      const got: Array<Buffer> = []
      for (const piece of cut(bytes, places)) {
        const whole = joiner.push(piece)
        if (typeof whole === "string") return assert.fail(whole)
        // Each piece that it gives ends with a whole frame.
        let at = 0
        while (at < whole.length) at += Frames.headerSize + whole.readUInt32BE(at)
        assert.strictEqual(at, whole.length)
        got.push(whole)
      }
      assert.deepStrictEqual(Buffer.concat(got), bytes)
    },
    { arbitrary: { runs: 300 } }
  )

  it("are refused when their length cannot be true", () => {
    const joiner = new Frames.Joiner()
    assert.strictEqual(
      joiner.push(Buffer.from("GET / HTTP/1.1\r\n")),
      "a frame of 1195725856 bytes arrived; the longest has 69632"
    )
  })

  it("have addresses", () => {
    const frame = Buffer.from("33330000000152540012010708000000", "hex")
    assert.strictEqual(Frames.destinationOf(frame, 0), 0x333300000001)
    assert.strictEqual(Frames.sourceOf(frame, 0), 0x525400120107)
    for (const [address, one] of [
      [0x333300000001, false],
      [0xffffffffffff, false],
      [0x01005e000001, false],
      [0x525400120107, true],
      [0xfe0000000000, true]
    ] as const) {
      assert.strictEqual(Frames.isUnicast(address), one, address.toString(16))
    }
  })
})

describe("a table of addresses", () => {
  it("has the port of the last frame from each", () => {
    const table = new AddressTable.AddressTable<string>()
    assert.isUndefined(table.find(1))
    table.learn(1, "a")
    table.learn(2, "b")
    table.learn(1, "b")
    assert.deepStrictEqual([table.find(1), table.find(2), table.find(3)], ["b", "b", undefined])
  })

  it("forgets the oldest when a guest makes addresses up", () => {
    const table = new AddressTable.AddressTable<string>()
    for (let address = 0; address < 8192; address += 1) table.learn(address, "a")
    table.learn(0, "b")
    for (let address = 10_000; address < 10_100; address += 1) table.learn(address, "c")
    assert.deepStrictEqual(
      [table.find(0), table.find(1), table.find(100), table.find(101), table.find(10_099)],
      ["b", undefined, undefined, "a", "c"]
    )
  })
})

describe("a schedule", () => {
  it.prop(
    "gives what is due in the order of times, and of the same time in the order of its additions",
    [Schema.Array(Schema.Int)],
    ([times]) => {
      const schedule = new Schedule()
      const order: Array<readonly [time: number, index: number]> = []
      const modest = times.map((time) => Math.abs(time) % 10)
      for (const [index, at] of modest.entries()) {
        schedule.add({ at, deliver: () => order.push([at, index]) })
        assert.strictEqual(schedule.next, Math.min(...modest.slice(0, index + 1)))
      }
      for (const now of [4, 10]) {
        for (let due = schedule.take(now); due !== undefined; due = schedule.take(now)) due.deliver()
        assert.isTrue(order.every(([at]) => at <= now))
        assert.strictEqual(schedule.size, modest.filter((at) => at > now).length)
      }
      assert.deepStrictEqual(
        order,
        modest.map((at, index) => [at, index] as const).toSorted(([a, i], [b, j]) => a - b || i - j)
      )
    },
    { arbitrary: { runs: 300 } }
  )
})

describe("random numbers", () => {
  const first = (seed: string | number) => Array.from({ length: 1000 }, Random.make(seed))

  it("are the same for the same seed, and others for another", () => {
    assert.deepStrictEqual(first(7), first(7))
    assert.notDeepEqual(first(7), first(8))
  })

  it("are even, and from 0 to 1", () => {
    const numbers = first("web eth1 out")
    assert.isTrue(numbers.every((number) => number >= 0 && number < 1))
    for (let tenth = 0; tenth < 10; tenth += 1) {
      const share = numbers.filter((number) => Math.floor(number * 10) === tenth).length / 1000
      assert.isAbove(share, 0.07)
      assert.isBelow(share, 0.13)
    }
  })
})
