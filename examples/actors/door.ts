import { Data, Effect, Fiber } from "effect"
import { GenStatem } from "vmtest/actors"

class WrongCode extends Data.TaggedError("WrongCode")<{ readonly tries: number }> {}

// A state is a tag with its data; handlers of a state see the data of that state.
type Door = { readonly _tag: "Locked"; readonly tries: number } | { readonly _tag: "Open" }

const DoorProtocol = GenStatem.protocol({
  unlock: GenStatem.Call<string, void, WrongCode>(),
  walkThrough: GenStatem.Call<void, string>(),
  lock: GenStatem.StateTimeout()
})

const Door = GenStatem.make<Door>()(DoorProtocol, {
  init: () => GenStatem.ok({ _tag: "Locked", tries: 0 }),
  states: {
    Locked: {
      handlers: {
        unlock: (code, { tries }, from) =>
          code === "1234"
            ? GenStatem.nextState({ _tag: "Open" }, GenStatem.reply(from))
            : GenStatem.keepState(
                { _tag: "Locked", tries: tries + 1 },
                GenStatem.failReply(from, new WrongCode({ tries: tries + 1 }))
              ),
        // Answered when the door is open.
        walkThrough: () => GenStatem.keepStateAndData(GenStatem.postpone)
      }
    },
    Open: {
      enter: () => GenStatem.keepStateAndData(GenStatem.startTimeout("lock", "10 seconds")),
      handlers: {
        unlock: (_code, _door, from) => GenStatem.keepStateAndData(GenStatem.reply(from)),
        walkThrough: (_, _door, from) => GenStatem.keepStateAndData(GenStatem.reply(from, "inside")),
        lock: () => GenStatem.nextState({ _tag: "Locked", tries: 0 })
      }
    }
  }
})

export const program = Effect.scoped(
  Effect.gen(function* () {
    const door = yield* GenStatem.scoped(Door)
    const visitor = yield* Effect.forkChild(GenStatem.call(door, "walkThrough"), { startImmediately: true })
    const wrong = yield* GenStatem.call(door, "unlock", "0000").pipe(
      Effect.catchTag("WrongCode", ({ tries }) => Effect.succeed(`${tries} try`))
    )
    yield* GenStatem.call(door, "unlock", "1234")
    return [wrong, yield* Fiber.join(visitor)]
  })
)

export const expected = ["1 try", "inside"]
