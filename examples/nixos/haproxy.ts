/** A load balancer for two web servers, when one of them dies. Ported from NixOS's `haproxy` test. */
import assert from "node:assert/strict"
import { Effect } from "effect"
import { Image, test } from "vmtest"

const configuration = `
defaults
  mode http
  timeout connect 2s
  timeout client 10s
  timeout server 10s
  option redispatch

frontend web
  bind *:80
  http-request use-service prometheus-exporter if { path /metrics }
  default_backend servers

backend servers
  balance roundrobin
  option httpchk GET /
  default-server check inter 500ms fall 2 rise 2
  server web1 web1:80
  server web2 web2:80
`

const balancerImage = Image.debian({
  packages: ["haproxy", "curl"],
  files: { "/etc/haproxy/test.cfg": configuration, "/etc/default/haproxy": "CONFIG=/etc/haproxy/test.cfg\n" }
})

/** The web server of busybox. */
const web = { image: Image.tiny(), memory: "128 MiB" } as const

export default test(
  "a balancer stops using a server that died",
  {
    machines: {
      // haproxy resolves the names of its servers when it starts, and a snapshot may be of a machine that does not know them.
      balancer: { image: balancerImage, memory: "256 MiB", snapshot: false },
      web1: web,
      web2: web
    },
    timeout: "10 minutes"
  },
  ({ balancer, web1, web2 }, driver) =>
    Effect.gen(function* () {
      yield* driver.waitAll([web1, web2], (server) =>
        Effect.gen(function* () {
          yield* server.writeFile("/srv/index.html", `${server.name}\n`)
          yield* server.succeed("httpd -h /srv")
          yield* server.waitForOpenPort(80)
        })
      )
      yield* balancer.waitForUnit("haproxy.service")
      yield* balancer.waitForOpenPort(80)

      const states = "curl -s http://localhost/metrics | grep '^haproxy_server_status.*state=\"UP\"'"
      const answers = Effect.map(
        balancer.succeed(...(["1", "2", "3", "4"].map(() => "curl -sf http://localhost/") as [string])),
        (text) => new Set(text.trim().split("\n"))
      )

      yield* driver.subtest(
        "both servers answer in turn",
        Effect.gen(function* () {
          yield* balancer.waitUntilSucceeds(`[ $(${states} | grep -c ' 1$') = 2 ]`)
          assert.deepEqual(yield* answers, new Set(["web1", "web2"]))
        })
      )

      yield* driver.subtest(
        "clients do not notice that one server died",
        Effect.gen(function* () {
          yield* web1.crash()
          assert.deepEqual(yield* answers, new Set(["web2"]), "requests can be late, but none is lost")
          yield* balancer.waitUntilSucceeds(`${states} | grep 'web1.* 0$'`)
        })
      )

      yield* driver.subtest(
        "without servers, the answer is an error",
        Effect.gen(function* () {
          yield* web2.block()
          yield* balancer.waitUntilSucceeds("[ $(curl -s -o /dev/null -w '%{http_code}' http://localhost/) = 503 ]")
          yield* web2.unblock()
          yield* balancer.waitUntilSucceeds("curl -sf http://localhost/")
        })
      )
    })
)
