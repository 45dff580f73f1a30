import { Effect, Stream } from "effect"
import { DynamicSupervisor, GenServer, Process, Registry, Task } from "vmtest/actors"

const Rooms = Registry.unique<string>("rooms")

const Room = GenServer.make(GenServer.protocol({ say: GenServer.Call<string, number>() }), {
  init: () => GenServer.ok(0),
  handlers: { say: (_, said) => GenServer.reply(said + 1, said + 1) }
})

const room = (name: string) => Registry.via(Rooms, name)

export const program = Effect.scoped(
  Process.run(
    Effect.gen(function* () {
      yield* Registry.startLink(Rooms)
      const sup = yield* DynamicSupervisor.scoped({ maxChildren: 100 })
      for (const name of ["red", "blue"]) {
        yield* DynamicSupervisor.startChild(sup, {
          id: name,
          restart: "transient",
          start: GenServer.startLink(Room, [], { name: room(name) })
        })
      }
      const red = GenServer.name(Room, room("red"))
      // Many calls at a time, each a task of its own, their results in order.
      const counts = yield* Task.asyncStream(["a", "b", "c"], (word) => GenServer.call(red, "say", word), {
        maxConcurrency: 2
      }).pipe(Stream.runCollect)
      return [counts.length, yield* GenServer.call(red, "say", "d")]
    })
  )
)

export const expected = [3, 4]
