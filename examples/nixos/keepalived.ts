/** An address that moves to another machine when a cable is unplugged. Ported from NixOS's `keepalived` test. */
import { Effect } from "effect"
import { Image, type Machine, test } from "vmtest"

const image = Image.debian({ packages: ["keepalived"] })
const machine = { image, memory: "256 MiB" } as const

const shared = "192.168.1.200"

/** Both machines start as backup; the one with the higher priority becomes master. */
const configuration = (priority: number, address: string) => `
global_defs {
  vrrp_startup_delay 0
}
vrrp_instance shared {
  interface eth1
  state BACKUP
  virtual_router_id 1
  priority ${priority}
  advert_int 0.5
  virtual_ipaddress {
    ${address}/24
  }
}
`

const start = Effect.fn(function* (node: Machine, priority: number) {
  yield* node.writeFile("/etc/keepalived/keepalived.conf", configuration(priority, shared))
  yield* node.succeed("systemctl restart keepalived.service")
  yield* node.waitForUnit("keepalived.service")
})

const holds = (address: string) => `ip -brief address show dev eth1 | grep -F ' ${address}/'`

export default test(
  "a shared address fails over",
  { machines: { main: machine, spare: machine }, timeout: "10 minutes" },
  ({ main, spare }, driver) =>
    Effect.gen(function* () {
      yield* Effect.all([start(main, 100), start(spare, 50)], { concurrency: 2 })
      yield* main.waitUntilSucceeds(holds(shared))
      yield* spare.waitUntilFails(holds(shared))
      yield* spare.succeed(`ping -c 1 ${shared}`)

      yield* driver.subtest(
        "the spare takes over when the cable of the main machine is unplugged",
        Effect.gen(function* () {
          yield* main.block()
          yield* spare.waitUntilSucceeds(holds(shared), { timeout: "1 minute" })
        })
      )

      yield* driver.subtest(
        "the main machine takes the address back",
        Effect.gen(function* () {
          yield* main.unblock()
          yield* spare.waitUntilFails(holds(shared), { timeout: "1 minute" })
          yield* spare.waitUntilSucceeds(`ping -c 1 -W 1 ${shared}`)
        })
      )

      yield* driver.subtest(
        "a reload adds an address without a new process",
        Effect.gen(function* () {
          const other = "192.168.1.201"
          const before = yield* main.getUnitProperty("keepalived.service", "MainPID")
          yield* main.writeFile("/etc/keepalived/keepalived.conf", configuration(100, other))
          yield* main.succeed("systemctl reload keepalived.service")
          yield* main.waitUntilSucceeds(holds(other))
          yield* main.waitUntilFails(holds(shared))
          const after = yield* main.getUnitProperty("keepalived.service", "MainPID")
          if (before !== after) return yield* Effect.fail(`keepalived was restarted: ${before} became ${after}`)
        })
      )
    })
)
