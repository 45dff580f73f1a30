import { Effect } from "effect"
import { ExitReason, Process } from "vmtest/actors"

export const program = Process.run(
  Effect.gen(function* () {
    const me = yield* Process.self
    yield* Process.trapExit(true)
    const echo = yield* Process.spawnLink(
      Effect.gen(function* () {
        const word = yield* Process.receive()
        yield* Process.send(me, `heard ${word}`)
        return yield* Process.exit(ExitReason.custom("tired"))
      })
    )
    yield* Process.monitor(echo)
    yield* Process.send(echo, "hello")
    const answer = yield* Process.receive()
    // Messages are taken in any order: the first that fits.
    const down = yield* Process.receive((message) => (Process.isDown(message) ? message : undefined))
    const exit = yield* Process.receive((message) => (Process.isExit(message) ? message : undefined))
    return [answer, ExitReason.format(down.reason), ExitReason.format(exit.reason)]
  })
)

export const expected = ["heard hello", "tired", "tired"]
