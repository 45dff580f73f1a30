/**
 * Schemas of what arguments and declarations are made of: numbers within bounds, times, functions, objects of options.
 *
 * Each says with `expected` what it takes, in words that complete "must be …"; see `Decode`.
 *
 * **Example** (A field of a declaration, and what its refusal says)
 *
 * ```ts
 * const check = Decode.checker(Schema.Struct({ cpus: Fields.Count }))
 * check({ cpus: 0 })?.reason // "cpus must be a whole number of at least 1, got 0"
 * ```
 *
 * @since 0.1.0
 */
import { isUint8Array } from "node:util/types"
import * as ByteSize from "effect/ByteSize"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Transformation from "effect/SchemaTransformation"
import * as Stream from "effect/Stream"

/** A text that a pattern, or a function, takes. */
export const text = (expected: string, fits: RegExp | ((text: string) => boolean)) =>
  Schema.String.check(
    Schema.makeFilter((value: string) => (typeof fits === "function" ? fits(value) : fits.test(value)), { expected })
  )

/** A text that has something in it. */
export const filled = (expected: string) => text(expected, (value) => value !== "")

/** What reports call something: a test, a part of one. */
export const title = text("a string that is not blank", (value) => value.trim() !== "")

const bounds = (least: number, most: number): string =>
  most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`

/** A whole number within bounds, which belong to it. */
export const whole = (least: number, most: number = Number.MAX_SAFE_INTEGER, what = "a whole number") =>
  Schema.Number.check(
    Schema.makeFilter((value: number) => Number.isInteger(value) && value >= least && value <= most, {
      expected: `${what} ${bounds(least, most)}`
    })
  )

/** A number within bounds, which belong to it. */
export const between = (least: number, most: number = Number.MAX_SAFE_INTEGER) =>
  Schema.Number.check(
    Schema.makeFilter((value: number) => value >= least && value <= most, {
      expected: `a number ${bounds(least, most)}`
    })
  )

/** A port of TCP or UDP. */
export const Port = whole(1, 65535, "a whole number")

/** A number of things of at least one: of clicks, of processors. */
export const Count = whole(1)

/** Bytes, of this realm or another: those of the prompt of `vmtest resume` come from one of their own. */
export const Bytes = Schema.declare<Uint8Array>((value): value is Uint8Array => isUint8Array(value), {
  expected: "a Uint8Array"
})

/** A text or bytes. */
export const Content = Schema.Union([Schema.String, Bytes]).annotate({ expected: "a string or a Uint8Array" })

/** A Stream of bytes; what is in it shows when it is read. */
export const ByteStream = Schema.declare<Stream.Stream<Uint8Array>>(
  (value): value is Stream.Stream<Uint8Array> => Stream.isStream(value),
  { expected: "a Stream of bytes" }
)

/** An object of options, all of them optional; `example` is one. */
export const options = <const F extends Schema.Struct.Fields>(fields: F, example: string) =>
  Schema.Struct(fields).annotate({ expected: `an object of options, such as ${example}` })

/** A function; its arguments and result are checked by the compiler. */
export const callback = <F extends (...args: never) => unknown>(expected = "a function") =>
  Schema.declare<F>((value): value is F => Predicate.isFunction(value), { expected })

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  Predicate.isObject(value) && !Array.isArray(value) && !Effect.isEffect(value)

/** Any object. */
export const AnyObject = Schema.declare<Readonly<Record<string, unknown>>>(isRecord, { expected: "an object" })

/** An object of strings, such as environment variables. */
export const Texts = Schema.declare<Readonly<Record<string, string>>>(
  (value): value is Readonly<Record<string, string>> =>
    isRecord(value) && Object.values(value).every((one) => typeof one === "string"),
  { expected: 'an object of strings, such as { LANG: "C" }' }
)

const units = ["weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds"]

/** A time as Effect takes it, with two exceptions: not a number, and an object without a unit, which it takes for none. */
const durationOf = (value: unknown): Option.Option<Duration.Duration> => {
  if (Number.isNaN(value)) return Option.none()
  if (typeof value === "object" && !Array.isArray(value) && !Duration.isDuration(value)) {
    if (value === null || !units.some((unit) => unit in value)) return Option.none()
  }
  return Duration.fromInput(value as Duration.Input)
}

/** What a time may be. */
export interface TimeBounds {
  /** Whether it may be no time at all. Default false. */
  readonly zero?: boolean
  /** Whether it may have no end. Default false. */
  readonly endless?: boolean
}

/** A time: a number of milliseconds, a text such as `"5 seconds"`, or a Duration. */
export const time = ({ endless = false, zero = false }: TimeBounds = {}) =>
  Schema.declare<Duration.Input>(
    (value): value is Duration.Input =>
      Option.exists(
        durationOf(value),
        (time) =>
          (endless || Duration.isFinite(time)) &&
          (Duration.isGreaterThan(time, Duration.zero) || (zero && Duration.isZero(time)))
      ),
    {
      expected: `a duration ${zero ? "of at least zero" : "above zero"}${endless ? "" : " that ends"}, such as "5 seconds" or 5000 (milliseconds)`
    }
  )

const shownSize = (bytes: number) => ByteSize.format(ByteSize.fromInputUnsafe(bytes))

const expectedSize = (least: number, most: number): string =>
  `a size from ${shownSize(least)} to ${shownSize(most)}, such as "512 MiB" or a number of bytes`

/** A number of bytes, if it can be one exactly. */
const bytesOf = (input: unknown): number | undefined => {
  const bytes =
    typeof input === "number"
      ? Math.floor(input)
      : Option.getOrUndefined(Option.map(ByteSize.fromInput(input as ByteSize.Input), Number))
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** A size within bounds in bytes, which belong to it; decoded, a number of bytes: whole units, by default of one byte. */
export const size = ({
  least,
  most,
  unit = 1
}: {
  readonly least: number
  readonly most: number
  readonly unit?: number
}) =>
  Schema.declare<ByteSize.Input>(
    (value): value is ByteSize.Input => {
      const bytes = bytesOf(value)
      return bytes !== undefined && bytes >= least && bytes <= most
    },
    { expected: expectedSize(least, most) }
  ).pipe(
    Schema.decodeTo(
      Schema.Number.annotate({ expected: expectedSize(least, most) }),
      Transformation.transform<number, ByteSize.Input>({
        decode: (input) => Math.ceil((bytesOf(input) ?? least) / unit) * unit,
        encode: (bytes) => bytes
      })
    )
  )
