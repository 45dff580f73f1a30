import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as Impairment from "../../src/network/Impairment.ts"

const read = (options: unknown) => Impairment.fromOptions(options as Impairment.ImpairmentOptions)
const reasonOf = (options: unknown) => {
  const result = read(options)
  return Result.isFailure(result) ? result.failure.reason : "nothing is wrong with it"
}
const made = (options: Impairment.ImpairmentOptions) => Impairment.make(Result.getOrThrow(read(options)))

describe("an impairment", () => {
  it("has defaults that change nothing", () => {
    const nothing = { latency: 0, jitter: 0, loss: 0, duplicate: 0, corrupt: 0, reorder: 0 }
    assert.deepStrictEqual(made({}), { ...nothing, rate: undefined, seed: undefined })
  })

  it("has times in nanoseconds, shares from 0 to 1, and a rate in bits per second", () => {
    assert.deepStrictEqual(
      made({
        ...{ latency: "100 millis", jitter: Duration.millis(20), loss: "10 %", duplicate: 0.25, corrupt: "0.1%" },
        ...{ reorder: "100 %", rate: "2 Mbit/s", seed: 7, direction: "both" }
      }),
      {
        ...{ latency: 100_000_000, jitter: 20_000_000, loss: 0.1, duplicate: 0.25, corrupt: 0.001, reorder: 1 },
        ...{ rate: 2_000_000, seed: 7 }
      }
    )
    assert.strictEqual(made({ latency: 100 }).latency, 100_000_000)
  })

  for (const [share, value] of [
    [0, 0],
    [1, 1],
    ["0%", 0],
    ["100 %", 1],
    [" 12.5 % ", 0.125]
  ] as const) {
    it(`reads the share ${JSON.stringify(share)}`, () =>
      assert.strictEqual(made({ loss: share as Impairment.Share }).loss, value))
  }

  for (const [rate, value] of [
    [1000, 1000],
    ["1 kbit", 1000],
    ["64kbit/s", 64_000],
    ["1.5 Mbit/s", 1_500_000],
    ["10 GBIT", 10_000_000_000],
    ["2400 bit/s", 2400]
  ] as const) {
    it(`reads the rate ${JSON.stringify(rate)}`, () =>
      assert.strictEqual(made({ rate: rate as Impairment.Rate }).rate, value))
  }

  it("has shares and rates whose types refuse other texts", () => {
    const wrong: ReadonlyArray<Impairment.ImpairmentOptions> = [
      // @ts-expect-error: not a percentage
      { loss: "ten" },
      // @ts-expect-error: a number without a percent sign
      { duplicate: "10" },
      // @ts-expect-error: bytes
      { rate: "2 MB/s" }
    ]
    for (const options of wrong) assert.match(reasonOf(options), / must be /)
  })

  const share = 'must be a share from 0 to 1, or a percentage such as "10 %", got'
  const rate = 'rate must be bits per second from 1000 to 1 Tbit/s, such as "2 Mbit/s" or 2000000, got'
  const time = 'must be a duration of at least zero that ends, such as "5 seconds" or 5000 (milliseconds), got'
  for (const [options, words] of [
    [7, 'the impairment must be an object such as { latency: "100 millis", loss: "1 %" }, got 7'],
    [{ loss: 10 }, `loss ${share} 10; did you mean "10 %"?`],
    [{ loss: 100 }, `loss ${share} 100; did you mean "100 %"?`],
    [{ loss: 101 }, `loss ${share} 101`],
    [{ loss: -0.1 }, `loss ${share} -0.1`],
    [{ loss: Number.NaN }, `loss ${share} NaN`],
    [{ loss: "10" }, `loss ${share} "10"; did you mean "10 %"?`],
    [{ loss: "101 %" }, `loss ${share} "101 %"`],
    [{ loss: "-1 %" }, `loss ${share} "-1 %"`],
    [{ loss: "some" }, `loss ${share} "some"`],
    [{ loss: true }, `loss ${share} true`],
    [{ duplicate: 2 }, `duplicate ${share} 2; did you mean "2 %"?`],
    [{ corrupt: 50 }, `corrupt ${share} 50; did you mean "50 %"?`],
    [{ latency: 10, reorder: 25 }, `reorder ${share} 25; did you mean "25 %"?`],
    [{ rate: 0 }, `${rate} 0`],
    [{ rate: 999 }, `${rate} 999`],
    [{ rate: -1 }, `${rate} -1`],
    [{ rate: 1e13 }, `${rate} ${10_000_000_000_000}`],
    [{ rate: Number.NaN }, `${rate} NaN`],
    [{ rate: "fast" }, `${rate} "fast"`],
    [{ rate: "2 Mbyte/s" }, `${rate} "2 Mbyte/s"`],
    [{ rate: "2 MB/s" }, `${rate} "2 MB/s"`],
    [{ rate: "500 bit" }, `${rate} "500 bit"`],
    [{ latency: "soon" }, `latency ${time} "soon"`],
    [{ latency: -1 }, `latency ${time} -1`],
    [{ latency: Duration.infinity }, "latency must be a duration of at least zero that ends"],
    [{ latency: "61 seconds" }, 'latency must be at most a minute, got "61 seconds"'],
    [{ latency: "1 second", jitter: "2 minutes" }, 'jitter must be at most a minute, got "2 minutes"'],
    [{ latency: "10 millis", jitter: "20 millis" }, "jitter must be at most the latency (10ms), got 20ms"],
    [{ jitter: "1 milli" }, "jitter needs a latency of at least 1ms"],
    [{ reorder: "25 %" }, "reorder needs a latency: frames that are not delayed cannot overtake each other"],
    [{ direction: "up" }, 'direction must be "out", "in" or "both", got "up"'],
    [{ seed: -1 }, "seed must be a whole number of at least 0, got -1"],
    [{ seed: 1.5 }, "seed must be a whole number of at least 0, got 1.5"],
    [{ latancy: 10 }, 'unknown option "latancy"; did you mean "latency"?'],
    [{ delay: 10 }, 'unknown option "delay"; did you mean "latency"?'],
    [{ drop: 1 }, 'unknown option "drop"; did you mean "loss"?'],
    [{ corruption: 1 }, 'unknown option "corruption"; did you mean "corrupt"?'],
    [{ duplication: 1 }, 'unknown option "duplication"; did you mean "duplicate"?'],
    [{ bandwidth: 1 }, 'unknown option "bandwidth"; did you mean "rate"?']
  ] as const) {
    it(`is refused: ${JSON.stringify(options)}`, () => assert.include(reasonOf(options), words))
  }

  for (const [options, words] of [
    [{}, "nothing"],
    [{ latency: "100 millis", loss: "1 %" }, "100ms latency, 1 % loss"],
    [{ rate: "2 Mbit/s", direction: "in" }, "2000000 bit/s (in)"],
    [{ latency: 50, jitter: 5, direction: "out", seed: 3 }, "50ms latency, 5ms jitter"],
    [{ corrupt: 0.00015, direction: "both" }, "0.015 % corrupt (both)"]
  ] as const) {
    it(`is described as "${words}"`, () => {
      assert.strictEqual(Impairment.describe(Result.getOrThrow(read(options))), words)
    })
  }
})
