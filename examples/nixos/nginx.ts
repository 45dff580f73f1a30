/** Pages, entity tags, and a changed configuration. Ported from NixOS's `nginx` and `nginx-etag` tests. */
import assert from "node:assert/strict"
import { Effect } from "effect"
import { Image, test } from "vmtest"

const image = Image.debian({
  packages: ["nginx-light", "curl"],
  files: {
    "/srv/www/index.html": "hello world\n",
    "/etc/nginx/sites-enabled/default": "server {\n  listen 80;\n  root /srv/www;\n}\n"
  }
})

/** A second site, which a reload adds. */
const another = `server {
  listen 8080;
  return 200 "another\\n";
}
`

export default test(
  "nginx reloads its configuration",
  { machines: { server: { image, memory: "384 MiB" } }, timeout: "10 minutes" },
  ({ server }, driver) =>
    Effect.gen(function* () {
      const entityTag = Effect.gen(function* () {
        const headers = yield* server.succeed("curl -sfI http://localhost/")
        const tag = /^etag: *(.+?)\r?$/im.exec(headers)?.[1]
        assert.ok(tag, `no entity tag in:\n${headers}`)
        const status = yield* server.succeed(
          `curl -s -o /dev/null -w '%{http_code}' -H 'If-None-Match: ${tag}' http://localhost/`
        )
        assert.equal(status, "304", "unchanged content is not sent again")
        return tag
      })

      yield* server.waitForUnit("nginx.service")
      yield* server.waitForOpenPort(80)
      const pid = yield* server.getUnitProperty("nginx.service", "MainPID")

      yield* driver.subtest(
        "the entity tag follows the content",
        Effect.gen(function* () {
          const before = yield* entityTag
          yield* server.writeFile("/srv/www/index.html", "content changed\n")
          assert.notEqual(yield* entityTag, before)
        })
      )

      yield* driver.subtest(
        "a reload adds a site and keeps the process",
        Effect.gen(function* () {
          yield* server.waitForClosedPort(8080)
          yield* server.writeFile("/etc/nginx/sites-enabled/another", another)
          yield* server.succeed("systemctl reload nginx.service")
          yield* server.waitForOpenPort(8080)
          assert.equal(yield* server.succeed("curl -sf http://localhost:8080/"), "another\n")
          assert.equal(yield* server.getUnitProperty("nginx.service", "MainPID"), pid)
        })
      )

      yield* driver.subtest(
        "a wrong configuration is refused, and the old one stays in use",
        Effect.gen(function* () {
          yield* server.writeFile("/etc/nginx/sites-enabled/another", "server { listen nonsense }")
          yield* server.fail("systemctl reload nginx.service")
          assert.equal(yield* server.succeed("curl -sf http://localhost:8080/"), "another\n")
          yield* server.requireUnitState("nginx.service", "active")
        })
      )

      yield* driver.subtest(
        "a restart with the wrong configuration fails, and the error shows why",
        Effect.gen(function* () {
          yield* server.systemctl("restart nginx.service")
          const failed = yield* Effect.flip(server.waitForUnit("nginx.service"))
          assert.equal(failed._tag, "UnitFailed")
          assert.match(failed.message, /\/etc\/nginx\/sites-enabled\/another/)
        })
      )
    })
)
