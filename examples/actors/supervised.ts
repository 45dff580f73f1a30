import { Effect } from "effect"
import { GenServer, Process, Supervisor } from "vmtest/actors"

const Cache = GenServer.make(
  GenServer.protocol({
    put: GenServer.Cast<readonly [key: string, value: string]>(),
    get: GenServer.Call<string, string | undefined>(),
    spoil: GenServer.Cast()
  }),
  {
    init: () => GenServer.ok(new Map<string, string>()),
    handlers: {
      put: ([key, value], entries) => GenServer.noReply(new Map(entries).set(key, value)),
      get: (key, entries) => GenServer.reply(entries.get(key), entries),
      spoil: () => Effect.die(new Error("a bug"))
    }
  }
)
const cache = GenServer.name(Cache, "cache")

export const program = Effect.scoped(
  Effect.gen(function* () {
    yield* Supervisor.scoped({
      strategy: "restForOne",
      intensity: 3,
      period: "10 seconds",
      children: [
        Supervisor.server("cache", Cache, [], { name: "cache" }),
        // Started after the cache, and restarted with it.
        Supervisor.child("warmer", Effect.andThen(GenServer.cast(cache, "put", ["color", "blue"]), Effect.never))
      ]
    })
    yield* GenServer.cast(cache, "put", ["shape", "round"])
    const before = yield* GenServer.call(cache, "get", "shape")
    const first = yield* Process.whereis("cache")
    yield* GenServer.cast(cache, "spoil")
    if (first !== undefined) yield* Process.awaitExit(first)
    yield* Effect.sleep("10 millis")
    return [before, yield* GenServer.call(cache, "get", "shape"), yield* GenServer.call(cache, "get", "color")]
  })
)

export const expected = ["round", undefined, "blue"]
