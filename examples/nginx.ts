import { Effect } from "effect"
import { Image, test } from "vmtest"

export default test(
  "a page is served",
  {
    machines: {
      server: { image: Image.debian({ packages: ["nginx-light"] }), memory: "512 MiB", cpus: 1 },
      client: { image: Image.debian({ packages: ["curl"] }) }
    },
    timeout: "5 minutes"
  },
  ({ client, server }, driver) =>
    Effect.gen(function* () {
      yield* server.waitForUnit("nginx.service")
      yield* server.waitForOpenPort(80)
      const page = yield* client.succeed("curl -sf http://server/")
      if (!page.includes("nginx")) return yield* Effect.fail(`unexpected page: ${page}`)
      yield* driver.subtest("a missing page is a 404", client.fail("curl -sf http://server/nope"))
    })
)
