/**
 * What can go wrong on a network cable: latency, jitter, loss, duplicates, corruption, reordering, and a limited rate.
 *
 * The words are those of `tc netem`. A share is a number from 0 to 1 or a percentage such as `"10 %"`. What happens to which frame is decided by a
 * seed, so two runs that send the same frames lose the same ones.
 *
 * **Example** (A slow and lossy link)
 *
 * ```ts
 * yield* web.link("eth1").impair({ latency: "100 millis", jitter: "10 millis", loss: "1 %", rate: "2 Mbit/s" })
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as Transformation from "effect/SchemaTransformation"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"

type Blank = "" | " "

/** `"10 %"` and `0.1` are the same. */
export type Share = number | `${number}${Blank}%`

type Thousands = "" | "k" | "K" | "M" | "G"

/** Bits per second, as a number or with a unit: `"2 Mbit/s"`, `"64 kbit"`; a k is 1000. */
export type Rate = number | `${number}${Blank}${Thousands}bit${"" | "/s" | "ps"}`

const shareOf = (value: unknown): number | undefined => {
  if (typeof value === "number") return value >= 0 && value <= 1 ? value : undefined
  const percentage = typeof value === "string" ? /^\s*(\d+(?:\.\d+)?)\s*%\s*$/.exec(value)?.[1] : undefined
  const share = Number(percentage) / 100
  return percentage !== undefined && share <= 1 ? share : undefined
}

const shareProblem = (value: unknown) => {
  if (shareOf(value) !== undefined) return undefined
  const isNumber = typeof value === "number" || (typeof value === "string" && /^\d+(\.\d+)?$/.test(value))
  const percentage = isNumber && Number(value) > 1 && Number(value) <= 100 ? `; did you mean "${value} %"?` : ""
  return `must be a share from 0 to 1, or a percentage such as "10 %", got ${Decode.shown(value)}${percentage}`
}

const units: Readonly<Record<string, number>> = { "": 1, k: 1e3, m: 1e6, g: 1e9 }

const rateOf = (value: unknown): number | undefined => {
  const [, amount, unit = ""] =
    typeof value === "string" ? (/^\s*(\d+(?:\.\d+)?)\s*([kmg]?)bit(?:\/s|ps)?\s*$/i.exec(value) ?? []) : []
  const rate = typeof value === "number" ? value : Number(amount) * (units[unit.toLowerCase()] ?? Number.NaN)
  return rate >= leastRate && rate <= mostRate ? rate : undefined
}

/** One full frame takes twelve seconds at a kilobit per second; less is a cable that is pulled. */
const leastRate = 1000
const mostRate = 1e12

/** Decodes what `parse` can read; `problem` says what is wrong with the rest. */
const read = <Encoded>(
  parse: (value: unknown) => number | undefined,
  expected: string,
  problem?: (value: unknown) => string | undefined
) =>
  Schema.declare<Encoded>((_value): _value is Encoded => true, { expected })
    .check(
      Schema.makeFilter(
        (value: unknown) =>
          problem?.(value) ??
          (parse(value) === undefined ? `must be ${expected}, got ${Decode.shown(value)}` : undefined)
      )
    )
    .pipe(
      Schema.decodeTo(
        Schema.Number,
        Transformation.transform<number, Encoded>({
          decode: (value) => parse(value) ?? 0,
          encode: (value) => value as Encoded
        })
      )
    )

const AShare = read<Share>(shareOf, 'a share from 0 to 1, or a percentage such as "10 %"', shareProblem)
const ARate = read<Rate>(rateOf, 'bits per second from 1000 to 1 Tbit/s, such as "2 Mbit/s" or 2000000')
const Time = Fields.time({ zero: true })

/** A minute is longer than any link, and holds its frames in memory. */
const longestDelay = Duration.minutes(1)

const withinMinute = Time.check(
  Schema.makeFilter((value: Duration.Input) =>
    Duration.isLessThanOrEqualTo(Duration.fromInputUnsafe(value), longestDelay)
      ? undefined
      : `must be at most a minute, got ${Decode.shown(value)}`
  )
)

/** What happens to the frames of a link. */
export const ImpairmentOptions = Schema.Struct({
  /** How much later each frame arrives. Default none. */
  latency: Schema.optional(withinMinute),
  /** By how much the latency varies, up or down, evenly; at most the latency. Frames keep their order. Default none. */
  jitter: Schema.optional(withinMinute),
  /** The share of frames that are lost. Default 0. */
  loss: Schema.optional(AShare),
  /** The share of frames that arrive twice. Default 0. */
  duplicate: Schema.optional(AShare),
  /** The share of frames that arrive with one bit flipped, after their Ethernet header. Default 0. */
  corrupt: Schema.optional(AShare),
  /** The share of frames that are not delayed, and so overtake those before them; it needs a `latency`. Default 0. */
  reorder: Schema.optional(AShare),
  /** Bits per second that the link carries at most; 1000 frames wait, further ones are lost. Default unlimited. */
  rate: Schema.optional(ARate),
  /**
   * Which frames: those that the machine sends (`"out"`, the default, as `tc netem` on its own card would), those that it receives (`"in"`), or both.
   */
  direction: Schema.optional(Schema.Literals(["out", "in", "both"]).annotate({ expected: '"out", "in" or "both"' })),
  /** Decides which frames are lost, duplicated, corrupted or reordered. Default: the same for each run; it differs between the cards of a test. */
  seed: Schema.optional(Fields.whole(0))
})
  .check(
    Schema.makeFilter(
      ({
        jitter,
        latency = 0,
        reorder = 0
      }: {
        readonly jitter?: Duration.Input | undefined
        readonly latency?: Duration.Input | undefined
        readonly reorder?: number | undefined
      }) => {
        const delay = Duration.fromInputUnsafe(latency)
        if (jitter !== undefined && Duration.isGreaterThan(Duration.fromInputUnsafe(jitter), delay)) {
          const given = Duration.format(Duration.fromInputUnsafe(jitter))
          const issue = Duration.isZero(delay)
            ? `needs a latency of at least ${given}`
            : `must be at most the latency (${Duration.format(delay)}), got ${given}`
          return { path: ["jitter"], issue }
        }
        return reorder > 0 && Duration.isZero(delay)
          ? { path: ["reorder"], issue: "needs a latency: frames that are not delayed cannot overtake each other" }
          : undefined
      }
    )
  )
  .annotate({
    expected: 'an object such as { latency: "100 millis", loss: "1 %" }',
    aliases: { delay: "latency", drop: "loss", corruption: "corrupt", bandwidth: "rate", duplication: "duplicate" }
  })

/** What happens to the frames of a link, as a script gives it. */
export interface ImpairmentOptions extends Schema.Codec.Encoded<typeof ImpairmentOptions> {}

/** An impairment of one direction with all defaults filled in. */
export interface Impairment {
  /** Nanoseconds. */
  readonly latency: number
  /** Nanoseconds. */
  readonly jitter: number
  /** Shares from 0 to 1. */
  readonly loss: number
  readonly duplicate: number
  readonly corrupt: number
  readonly reorder: number
  /** Bits per second; undefined for no limit. */
  readonly rate: number | undefined
  readonly seed: number | undefined
}

const decode = Decode.decoder(ImpairmentOptions, { whole: "the impairment" })

/** Reads the options of a script. */
export const fromOptions = (options: ImpairmentOptions) => decode(options)

const nanosOf = (time: Duration.Input | undefined): number =>
  time === undefined ? 0 : Number(Duration.toNanosUnsafe(Duration.fromInputUnsafe(time)))

/** The impairment that decoded options are. */
export const make = (options: typeof ImpairmentOptions.Type): Impairment => ({
  latency: nanosOf(options.latency),
  jitter: nanosOf(options.jitter),
  loss: options.loss ?? 0,
  duplicate: options.duplicate ?? 0,
  corrupt: options.corrupt ?? 0,
  reorder: options.reorder ?? 0,
  rate: options.rate,
  seed: options.seed
})

/** In words, for reports: `100ms latency, 1 % loss`. */
export const describe = ({ direction, seed, ...options }: typeof ImpairmentOptions.Type): string => {
  const parts = Object.entries(options).flatMap(([name, value]) => {
    if (value === undefined) return []
    if (name === "rate") return [`${value} bit/s`]
    if (name === "latency" || name === "jitter") {
      return [`${Duration.format(Duration.fromInputUnsafe(value as Duration.Input))} ${name}`]
    }
    return [`${Math.round(Number(value) * 1e6) / 1e4} % ${name}`]
  })
  const what = parts.length === 0 ? "nothing" : parts.join(", ")
  return direction === undefined || direction === "out" ? what : `${what} (${direction})`
}
