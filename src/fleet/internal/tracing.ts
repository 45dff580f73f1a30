/** One trace over client, worker and the process that runs the tests: the span's names go along with a job. */
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"

/** What a span is known by elsewhere. */
export interface Trace {
  readonly traceId: string
  readonly spanId: string
  readonly sampled: boolean
}

/** The span that runs now, for others to be below it; undefined if there is none. */
export const current: Effect.Effect<Trace | undefined> = Effect.currentSpan.pipe(
  Effect.map(({ sampled, spanId, traceId }): Trace | undefined => ({ traceId, spanId, sampled })),
  Effect.orElseSucceed(() => undefined)
)

/** The options of a span that is below one of elsewhere. */
export const below = (trace: Trace | undefined): { readonly parent?: Tracer.AnySpan } =>
  trace === undefined ? {} : { parent: Tracer.externalSpan(trace) }

/** Has the spans of an effect below one of elsewhere. */
export const under =
  (trace: Trace | undefined) =>
  <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>> | Effect.Effect<A, E, R> =>
    trace === undefined ? effect : Effect.withParentSpan(effect, Tracer.externalSpan(trace))
