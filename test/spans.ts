/** Collects the spans of Effects, in memory. */
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"

/** `collect` runs an Effect whose spans are added to `spans` as they begin. */
export const collectSpans = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return {
    spans,
    collect: Effect.provideService(Tracer.Tracer, tracer),
    /** All of a name. */
    named: (name: string) => spans.filter((span) => span.name === name),
    /** The name and the attributes of each. */
    seen: () => spans.map(({ attributes, name }) => [name, Object.fromEntries(attributes)] as const)
  }
}
