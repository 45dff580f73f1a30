import { Effect, Schema } from "effect"
import { GenServer } from "vmtest/actors"

export class TooMuch extends Schema.TaggedError<TooMuch>()("TooMuch", { by: Schema.Number }) {}

// Declared once: what can be asked, what comes back, which errors are answers.
const CounterProtocol = GenServer.protocol({
  add: GenServer.Call({ payload: Schema.Number, reply: Schema.Number, error: TooMuch }),
  reset: GenServer.Cast()
})

const Counter = GenServer.make(CounterProtocol, {
  init: (start: number) => GenServer.ok(start),
  handlers: {
    // A result, or an Effect of one. A declared error answers the caller, and the server lives.
    add: (by, n) => (by > 9 ? Effect.fail(new TooMuch({ by })) : GenServer.reply(n + by, n + by)),
    reset: () => GenServer.noReply(0)
  }
})

export const program = Effect.scoped(
  Effect.gen(function* () {
    const counter = yield* GenServer.scoped(Counter, [1])
    const three = yield* GenServer.call(counter, "add", 2)
    // The error of a call is the union of what it declares and of the ways in which any call can end.
    const refused = yield* GenServer.call(counter, "add", 10).pipe(
      Effect.catchTag("TooMuch", ({ by }) => Effect.succeed(`${by} is too much`))
    )
    yield* GenServer.cast(counter, "reset")
    return [three, refused, yield* GenServer.call(counter, "add", 1)]
  })
)

export const expected = [3, "10 is too much", 1]
