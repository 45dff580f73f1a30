/**
 * Protocols: what a server understands, declared once, for its callers and for itself.
 *
 * Everything here is also part of `GenServer`, where it is used.
 *
 * **Example** (Types alone, and schemas)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { GenServer } from "vmtest/actors"
 *
 * class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { key: Schema.String }) {}
 *
 * const StoreProtocol = GenServer.protocol({
 *   put: GenServer.Cast<readonly [key: string, value: number]>(),
 *   get: GenServer.Call({ payload: Schema.String, reply: Schema.Number, error: NotFound })
 * })
 *
 * const Store = GenServer.make(StoreProtocol, {
 *   init: () => GenServer.ok(new Map<string, number>()),
 *   handlers: {
 *     put: ([key, value], store) => GenServer.noReply(new Map(store).set(key, value)),
 *     get: (key, store) => {
 *       const value = store.get(key)
 *       return value === undefined ? Effect.fail(new NotFound({ key })) : GenServer.reply(value, store)
 *     }
 *   }
 * })
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const store = yield* GenServer.scoped(Store)
 *     yield* GenServer.cast(store, "put", ["a", 1])
 *     const missing = yield* Effect.flip(GenServer.call(store, "get", "b"))
 *     return [yield* GenServer.call(store, "get", "a"), missing._tag]
 *   })
 * )
 * // gives [1, "NotFound"]
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/** A request with a payload, a reply and declared errors. */
export interface Call<in out Payload, in out Reply, in out Error> {
  readonly _tag: "Call"
  readonly isError: ((error: unknown) => boolean) | undefined
  readonly "~types"?: (_: [Payload, Reply, Error]) => [Payload, Reply, Error]
}

/** A one-way message. */
export interface Cast<in out Payload> {
  readonly _tag: "Cast"
  readonly "~types"?: (_: Payload) => Payload
}

/** The messages of a server, by tag. */
export type Protocol = Readonly<Record<string, { readonly _tag: "Call" | "Cast" }>>

/**
 * Declares a request. With types alone every typed failure of the handler is a declared error, which the types ensure;
 * with schemas, an error that the schema does not accept crashes the server.
 */
export function Call<Payload = void, Reply = void, Error = never>(): Call<Payload, Reply, Error>
export function Call<
  P extends Schema.Top = Schema.Void,
  A extends Schema.Top = Schema.Void,
  E extends Schema.Top = Schema.Never
>(schemas: { readonly payload?: P; readonly reply?: A; readonly error?: E }): Call<P["Type"], A["Type"], E["Type"]>
export function Call(schemas?: { readonly error?: Schema.Top }): Call<unknown, unknown, unknown> {
  const isError =
    schemas === undefined ? undefined : schemas.error === undefined ? () => false : Schema.is(schemas.error)
  return { _tag: "Call", isError }
}

/** Declares a one-way message. */
export const Cast = <Payload = void>(): Cast<Payload> => ({ _tag: "Cast" })

/** Declares a protocol. */
export const protocol = <const P extends Protocol>(definition: P): P => definition

/** The tags of a protocol that are requests. */
export type CallTag<P> = {
  [K in keyof P]: P[K] extends Call<infer _P, infer _A, infer _E> ? K : never
}[keyof P] &
  string

/** The tags of a protocol that are one-way messages. */
export type CastTag<P> = { [K in keyof P]: P[K] extends Cast<infer _P> ? K : never }[keyof P] & string

/** What a request or message carries. */
export type PayloadOf<T> = T extends Call<infer P, infer _A, infer _E> ? P : T extends Cast<infer P> ? P : never

/** What a request is answered with. */
export type ReplyOf<T> = T extends Call<infer _P, infer A, infer _E> ? A : never

/** The errors that a request declares. */
export type ErrorOf<T> = T extends Call<infer _P, infer _A, infer E> ? E : never
