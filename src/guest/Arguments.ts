/**
 * What methods take: a schema for each, beside the methods it describes, and methods that refuse what does not fit.
 *
 * A signature names the parameters of a method in their order. A method of a noun is checked when the Effect or Stream that it gives is run:
 * nothing throws, and nothing starts with a wrong argument. A check costs about a microsecond.
 *
 * **Example**
 *
 * ```ts
 * export const parameters = Arguments.of<PauseMethods>({
 *   pause: Arguments.takes({ options: Schema.optional(Timeout.WaitOptions) })
 * })
 *
 * export const make = (guest: Guest): PauseMethods =>
 *   Arguments.checked(guest.name, parameters, { pause: (options: Timeout.WaitOptions) => pauseFor(guest, options) })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Decode from "../host/Decode.ts"
import { InvalidArgument } from "./MachineError.ts"

type Given = ReadonlyArray<unknown>

/** Schemas of parameters, which need nothing to decode. */
type Fields = Readonly<Record<string, Schema.ConstraintDecoder<unknown>>>

/** What one method takes, and gives. */
export interface Signature {
  /** The parameters by name, in their order. */
  readonly fields: Fields
  /** What is wrong with the arguments of a call. */
  readonly problem: (given: Given) => Decode.Problem | undefined
  readonly gives: "effect" | "defects" | "stream" | "methods"
}

interface Details {
  /** Which argument is which parameter. Default: by their order; what there is more is passed over, as by JavaScript itself. */
  readonly named?: (given: Given) => Readonly<Record<string, unknown>>
  /**
   * What the method gives when it is called. Default an Effect. `defects` is one whose type has no failure for a refusal, which is a defect
   * therefore; of `methods`, all refuse what was refused.
   */
  readonly gives?: Signature["gives"]
}

/** The signature of a method with these parameters. */
export const takes = (fields: Fields, { gives = "effect", named }: Details = {}): Signature => {
  const names = Object.keys(fields)
  const inOrder = (given: Given) => {
    const all: Record<string, unknown> = {}
    for (const [index, name] of names.entries()) all[name] = given[index]
    return all
  }
  const check = Decode.checker(Schema.Struct(fields), { unnamed: "options" })
  const arrange = named ?? inOrder
  return { fields, gives, problem: (given) => check(arrange(given)) }
}

type Method = (...given: ReadonlyArray<never>) => unknown

/** The names of the methods of an object. */
export type MethodsOf<A> = { [Key in keyof A]: A[Key] extends Method ? Key : never }[keyof A] & string

/** A signature for every method: the compiler says when one is missing. */
export type Signatures<A> = Readonly<Record<MethodsOf<A>, Signature>>

/** The signatures of the methods of a noun. */
export const of = <A>(signatures: Signatures<A>): Signatures<A> => signatures

/** The refusal of a problem. `machine` is empty where the method is none of a machine's. */
export const refusal = (machine: string, method: string, { path, reason, value }: Decode.Problem): InvalidArgument =>
  new InvalidArgument({
    machine,
    method,
    argument: Decode.nameOf(path, { unnamed: "options" }),
    value: typeof value === "number" || typeof value === "string" ? value : Decode.shown(value),
    reason
  })

type Callable = (...given: Given) => unknown

const refusing = (machine: string, name: string, method: Callable, { gives, problem }: Signature): Callable => {
  const refused = (given: Given): InvalidArgument | undefined => {
    const found = problem(given)
    return found === undefined ? undefined : refusal(machine, name, found)
  }
  switch (gives) {
    case "effect":
      return (...given) => Effect.suspend(() => refused(given) ?? (method(...given) as Effect.Effect<unknown, unknown>))
    case "defects":
      return (...given) =>
        Effect.suspend(() => {
          const error = refused(given)
          return error === undefined ? (method(...given) as Effect.Effect<unknown, unknown>) : Effect.die(error)
        })
    case "stream":
      return (...given) =>
        Stream.suspend((): Stream.Stream<unknown, unknown> => {
          const error = refused(given)
          return error === undefined ? (method(...given) as Stream.Stream<unknown, unknown>) : Stream.fail(error)
        })
    case "methods":
      return (...given) => {
        const error = refused(given)
        return error === undefined ? method(...given) : mapMethods(method() as object, () => () => Effect.fail(error))
      }
  }
}

const mapMethods = <A extends object>(all: A, change: (name: string, method: Callable) => Callable): A => ({
  ...all,
  ...Object.fromEntries(
    Object.entries(all).flatMap(([name, method]) =>
      typeof method === "function" ? [[name, change(name, method)]] : []
    )
  )
})

/**
 * Methods that refuse with an `InvalidArgument` what their signatures do not take. `prefix` comes before their names in messages: `spawn().`.
 */
export const checked = <A extends object>(machine: string, signatures: Signatures<A>, methods: A, prefix = ""): A => {
  const all: Readonly<Record<string, Signature>> = signatures
  return mapMethods(methods, (name, method) => {
    const signature = all[name]
    if (signature === undefined || Object.keys(signature.fields).length === 0) return method
    return refusing(machine, `${prefix}${name}`, method, signature)
  })
}
