/** Machines in a project's own vitest suite. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { Image } from "vmtest"
import { Machine, machines } from "vmtest/vitest"

class Web extends Machine<Web>()("web", { image: Image.tiny() }) {}

machines(Web)("the web server", (it) => {
  it.effect("serves a page", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.writeFile("/srv/index.html", "hello\n")
      yield* web.succeed("busybox httpd -h /srv")
      yield* web.waitForOpenPort(80)
      assert.strictEqual(yield* web.succeed("wget -q -O - http://web/"), "hello\n")
    })
  )
})
