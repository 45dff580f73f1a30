import { Effect, Ref } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { Image, test } from "vmtest"

/** A client and the API that it depends on: the API is this test's own, and answers, is late, fails and cannot be reached when the test wants it. */
export default test(
  "a fake upstream",
  { machines: { client: { image: Image.tiny(), memory: "128 MiB" } } },
  ({ client }, driver) =>
    Effect.gen(function* () {
      const answer = yield* Ref.make<"answers" | "fails">("answers")
      const asked = yield* Ref.make<ReadonlyArray<string>>([])
      const api = yield* driver.hostService({
        name: "api",
        port: 80,
        handler: Effect.gen(function* () {
          const { url } = yield* HttpServerRequest.HttpServerRequest
          yield* Ref.update(asked, (urls) => [...urls, url])
          return (yield* Ref.get(answer)) === "answers"
            ? yield* HttpServerResponse.json({ price: 42 })
            : HttpServerResponse.empty({ status: 503 })
        })
      })
      yield* client.succeed("wget -q -O - http://api/price | grep -F 42")

      yield* Ref.set(answer, "fails")
      yield* client.fail("wget -q -O - http://api/price")
      yield* Ref.set(answer, "answers")

      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* api.link().impair({ latency: "3 seconds" })
          yield* client.fail("timeout 2 wget -q -O - http://api/late")
        })
      )

      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* driver.network(1).partition(client, api)
          yield* client.fail("timeout 2 wget -q -O - http://api/lost")
        })
      )
      yield* client.succeed("wget -q -O - http://api/price")

      const urls = yield* Ref.get(asked)
      if (urls.filter((url) => url === "/price").length !== 3)
        return yield* Effect.fail(`unexpected: ${urls.join(", ")}`)
    })
)
