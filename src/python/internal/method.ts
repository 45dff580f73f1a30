/** A method that scripts call over the channel. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** Takes arguments as they came, and gives a value that JSON has. */
export type Method<Target> = (target: Target, args: unknown) => Effect.Effect<unknown, unknown>

/** A method with arguments of these types. */
export const method = <Target, const Fields extends Schema.Struct.Fields>(
  fields: Fields & { readonly [Key in keyof Fields]: Schema.Decoder<unknown> },
  run: (target: Target, args: Schema.Struct<Fields>["Type"]) => Effect.Effect<unknown, unknown>
): Method<Target> => {
  const decode = Schema.decodeUnknownEffect(Schema.Struct(fields) as Schema.Decoder<Schema.Struct<Fields>["Type"]>)
  return (target, args) => Effect.flatMap(decode(args), (decoded) => run(target, decoded))
}
