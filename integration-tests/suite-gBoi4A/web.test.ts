import { Effect } from "effect"
import { Image } from "vmtest"
import { Machine, machines } from "vmtest/vitest"

class Web extends Machine<Web>()("web", { image: Image.tiny() }) {}

machines(Web)("the web server", (it) => {
  it.effect("fails", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.succeed("echo hello; false") // the failing line
    })
  )
  it.effect("waits", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.waitForFile("/nope", { timeout: "6 seconds" }) // the waiting line
    })
  )
  it.effect("has a time of its own", () => Effect.never, 100)
})
