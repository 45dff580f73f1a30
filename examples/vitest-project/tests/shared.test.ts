/** Two machines that the tests of a block share: what a test leaves, the next one finds. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { Image } from "vmtest"
import { Machine, machines } from "vmtest/vitest"

class Web extends Machine<Web>()("web", { image: Image.tiny() }) {}
class Client extends Machine<Client>()("client", { image: Image.tiny() }) {}

machines(Web, Client)("a web server", (it) => {
  it.effect("starts", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.writeFile("/srv/index.html", "hello\n")
      yield* web.succeed("busybox httpd -h /srv")
      yield* web.waitForOpenPort(80)
    })
  )
  it.effect("serves a page to another machine", () =>
    Effect.gen(function* () {
      const client = yield* Client
      assert.strictEqual(yield* client.succeed("wget -q -O - http://web/"), "hello\n")
    })
  )
})
