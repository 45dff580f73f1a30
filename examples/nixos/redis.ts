/** Two redis servers on one machine, and their access rights. Ported from NixOS's `redis` test. */
import assert from "node:assert/strict"
import { Effect } from "effect"
import { Image, test } from "vmtest"

/** Debian's template unit `redis-server@` runs a server for each file `/etc/redis/redis-<name>.conf`. */
const second = `
port 0
unixsocket /run/redis-second/redis.sock
unixsocketperm 770
daemonize no
supervised systemd
dir /var/lib/redis
dbfilename second.rdb
`

const image = Image.debian({
  packages: ["redis-server"],
  files: {
    "/etc/redis/redis-second.conf": { content: second, mode: 0o640, owner: "redis:redis" },
    "/etc/systemd/system/redis-server@second.service.d/type.conf": "[Service]\nType=notify\n"
  },
  users: { member: { groups: ["redis"] }, stranger: {} },
  setup: "systemctl enable redis-server@second.service"
})

const socket = "/run/redis-second/redis.sock"

export default test(
  "redis answers on a port and on a socket",
  { machines: { machine: { image, memory: "384 MiB" } }, timeout: "10 minutes" },
  ({ machine }, driver) =>
    Effect.gen(function* () {
      yield* machine.waitForUnit("redis-server.service")
      yield* machine.waitForUnit("redis-server@second.service")
      yield* machine.waitForOpenPort(6379, "127.0.0.1")
      yield* machine.waitForFile(socket)

      yield* driver.subtest(
        "each server has its own data",
        Effect.gen(function* () {
          yield* machine.succeed("redis-cli set colour blue", `redis-cli -s ${socket} set colour red`)
          const said = yield* machine.succeed("redis-cli get colour", `redis-cli -s ${socket} get colour`)
          assert.equal(said, "blue\nred\n")
        })
      )

      yield* driver.subtest(
        "only the group can use the socket",
        Effect.gen(function* () {
          assert.equal(yield* machine.succeed(`redis-cli -s ${socket} ping`, { user: "member" }), "PONG\n")
          yield* machine.fail(`redis-cli -s ${socket} ping`, { user: "stranger" })
        })
      )

      yield* driver.subtest(
        "data survives when the server is killed",
        Effect.gen(function* () {
          yield* machine.succeed("redis-cli save", "systemctl kill --signal=KILL redis-server.service")
          yield* machine.waitUntilSucceeds("[ $(systemctl show -P NRestarts redis-server.service) = 1 ]")
          assert.equal(yield* machine.waitUntilSucceeds("redis-cli get colour"), "blue\n")
        })
      )
    })
)
