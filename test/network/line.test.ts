import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Impairment from "../../src/network/Impairment.ts"
import { withHeader } from "../../src/network/internal/frames.ts"
import { Line, mostWaiting } from "../../src/network/internal/line.ts"
import * as Random from "../../src/network/internal/random.ts"
import { Schedule } from "../../src/network/internal/schedule.ts"

const milli = 1_000_000

interface Arrival {
  /** Nanoseconds. */
  readonly at: number
  readonly index: number
  readonly frame: Buffer
}

/** A link at whose other end a test stands. */
const lineOf = (options: Impairment.ImpairmentOptions) => {
  const schedule = new Schedule()
  const impairment = Impairment.make(Result.getOrThrow(Impairment.fromOptions(options)))
  const line = new Line(impairment, Random.make(options.seed ?? 1), schedule)
  const arrived: Array<Arrival> = []
  let sent = 0
  let now = 0
  const send = (at = now, size = 100) => {
    until(at)
    const index = sent++
    const frame = Buffer.alloc(size, index & 0xff)
    return line.push(withHeader(frame), at, (segment) =>
      arrived.push({ at: now, index, frame: Buffer.from(segment.subarray(4)) })
    )
  }
  /** Lets time pass, from one arrival to the next. */
  const until = (end: number) => {
    for (let next = schedule.next; next !== undefined && next <= end; next = schedule.next) {
      now = Math.max(now, next)
      for (let due = schedule.take(now); due !== undefined; due = schedule.take(now)) due.deliver()
    }
    now = end
  }
  return { line, send, until, arrived, schedule, indexes: () => arrived.map(({ index }) => index) }
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

describe("a link with an impairment", () => {
  it("without options delivers everything at once", () => {
    const { arrived, indexes, send } = lineOf({})
    for (const at of upTo(10)) assert.strictEqual(send(at), "passed")
    assert.deepStrictEqual(indexes(), upTo(10))
    assert.deepStrictEqual(
      arrived.map(({ at }) => at),
      upTo(10)
    )
  })

  it("delays each frame by its latency, and keeps the times between them", () => {
    const { arrived, send, until } = lineOf({ latency: "100 millis" })
    for (const at of [0, 3, 50]) send(at * milli)
    until(99 * milli)
    assert.deepStrictEqual(arrived, [])
    until(200 * milli)
    assert.deepStrictEqual(
      arrived.map(({ at }) => at / milli),
      [100, 103, 150]
    )
  })

  it.prop(
    "varies the latency by at most the jitter, and never the order",
    [Schema.Array(Schema.Int), Schema.Int],
    ([gaps, seed]) => {
      const { arrived, indexes, send, until } = lineOf({
        ...{ latency: "50 millis", jitter: "30 millis", seed: Math.abs(seed) }
      })
      let at = 0
      const times = gaps.map((gap) => {
        at += (Math.abs(gap) % 20) * milli
        send(at)
        return at
      })
      until(at + 1000 * milli)
      assert.deepStrictEqual(indexes(), upTo(gaps.length))
      let last = 0
      for (const { at, index } of arrived) {
        const delay = at - times[index]!
        assert.isAtLeast(delay, 20 * milli)
        // One that would overtake arrives with the one before it.
        assert.isAtMost(delay, Math.max(80 * milli, last - times[index]!))
        last = at
      }
    }
  )

  for (const [option, count] of [
    ["loss", "lost"],
    ["duplicate", "duplicated"],
    ["corrupt", "corrupted"]
  ] as const) {
    it(`has the asked share of ${option}, of the same frames each time`, () => {
      const one = () => {
        const { arrived, line, send } = lineOf({ [option]: "10 %", seed: 7 })
        for (const index of upTo(10_000)) send(index)
        assert.approximately(line.counts[count], 1000, 100)
        return arrived.map(({ frame }) => frame.toString("hex")).join()
      }
      assert.strictEqual(one(), one())
    })
  }

  it("loses others with another seed", () => {
    const lost = (seed: number) => {
      const { indexes, send } = lineOf({ loss: 0.5, seed })
      for (const index of upTo(100)) send(index)
      return indexes()
    }
    assert.notDeepEqual(lost(1), lost(2))
  })

  it("says what became of a frame", () => {
    assert.strictEqual(lineOf({ loss: 1 }).send(), "lost")
    assert.strictEqual(lineOf({ latency: 5 }).send(), "passed")
  })

  it("flips one bit, never in the addresses or the type", () => {
    const { arrived, send } = lineOf({ corrupt: 1 })
    for (const index of upTo(500)) send(index)
    for (const { frame, index } of arrived) {
      let flipped = 0
      for (const [at, byte] of frame.entries()) {
        const difference = byte ^ (index & 0xff)
        if (difference !== 0) assert.isAtLeast(at, 14)
        flipped += difference.toString(2).replaceAll("0", "").length
      }
      assert.strictEqual(flipped, 1)
    }
  })

  it("has nothing to corrupt in a frame without a payload", () => {
    const { arrived, line, send } = lineOf({ corrupt: 1 })
    send(0, 14)
    assert.deepStrictEqual(arrived[0]?.frame, Buffer.alloc(14))
    assert.strictEqual(line.counts.corrupted, 0)
  })

  it("lets the asked share overtake those that wait", () => {
    const { arrived, indexes, line, send, until } = lineOf({ latency: "10 millis", reorder: "25 %" })
    for (const index of upTo(1000)) send(index * milli)
    until(2000 * milli)
    assert.strictEqual(arrived.length, 1000)
    assert.approximately(line.counts.reordered, 250, 50)
    assert.notDeepEqual(indexes(), upTo(1000))
    for (const { at, index } of arrived) assert.include([0, 10], at / milli - index)
  })

  it("carries as many bits as its rate, and loses what no longer fits", () => {
    // 8 ms for a frame of 1000 bytes.
    const { arrived, line, send, schedule, until } = lineOf({ rate: "1 Mbit/s" })
    const fates = upTo(mostWaiting + 10).map(() => send(0, 1000))
    assert.strictEqual(fates.filter((fate) => fate === "full").length, 10)
    assert.strictEqual(line.counts.lost, 10)
    until(1000 * milli)
    assert.strictEqual(arrived.length, 125)
    assert.strictEqual(send(1000 * milli, 1000), "passed")
    until(20_000 * milli)
    assert.strictEqual(arrived.length, mostWaiting + 1)
    assert.strictEqual(schedule.size, 0)
  })

  it("adds the latency to the time that the rate takes", () => {
    const { arrived, send, until } = lineOf({ rate: "1 Mbit/s", latency: "100 millis" })
    send(0, 1000)
    send(0, 1000)
    until(1000 * milli)
    assert.deepStrictEqual(
      arrived.map(({ at }) => at / milli),
      [108, 116]
    )
  })

  it("holds a bounded amount of memory, whatever the size of its frames", () => {
    const { line, send } = lineOf({ latency: "1 minute" })
    let passed = 0
    while (send(0, 60_000) === "passed") passed += 1
    assert.isAbove(passed, 1000)
    assert.isBelow(passed, 1119)
    assert.strictEqual(line.counts.lost, 1)
  })

  it("counts only what passes as corrupted or reordered", () => {
    const { line, send } = lineOf({ latency: "1 minute", rate: "1 kbit/s", corrupt: 1, reorder: 1 })
    const fates = upTo(mostWaiting + 10).map(() => send(0, 1000))
    assert.strictEqual(fates.filter((fate) => fate === "passed").length, mostWaiting)
    assert.deepStrictEqual(line.counts, { lost: 10, corrupted: mostWaiting, reordered: mostWaiting, duplicated: 0 })
  })

  it("counts a frame once that passes twice and overtakes others", () => {
    const { arrived, line, send } = lineOf({ latency: "10 millis", duplicate: 1, reorder: 1 })
    for (const index of upTo(10)) send(index)
    assert.lengthOf(arrived, 20)
    assert.deepStrictEqual(line.counts, { lost: 0, corrupted: 0, reordered: 10, duplicated: 10 })
  })
})
