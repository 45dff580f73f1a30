/** A server that provides names and addresses for a network. Ported from NixOS's `dnsmasq` and `bind` tests. */
import assert from "node:assert/strict"
import { Effect } from "effect"
import { Image, test } from "vmtest"

const configuration = `
interface=eth1
bind-dynamic
no-resolv
domain=example.test
local=/example.test/
host-record=www.example.test,192.168.1.77,2001:db8:1::77
cname=alias.example.test,www.example.test
txt-record=about.example.test,"a text"
mx-host=example.test,mail.example.test,10
dhcp-range=192.168.1.100,192.168.1.150,5m
dhcp-host=CARD,192.168.1.123,desk
`

const image = Image.debian({
  packages: ["dnsmasq", "bind9-host", "udhcpc"],
  files: { "/etc/dnsmasq.d/test.conf": configuration },
  setup: "systemctl disable dnsmasq.service"
})
const machine = { image, memory: "256 MiB" } as const

export default test(
  "dnsmasq provides names and addresses",
  { machines: { client: machine, server: machine }, timeout: "10 minutes" },
  ({ client, server }, driver) =>
    Effect.gen(function* () {
      const card = client.interfaces[0]?.mac
      yield* server.succeed(`sed -i s/CARD/${card}/ /etc/dnsmasq.d/test.conf`)
      yield* server.startJob("dnsmasq.service")
      yield* server.waitForOpenPort(53)
      yield* client.writeFile("/etc/resolv.conf", `nameserver ${server.interfaces[0]?.ipv4}\n`)

      yield* driver.subtest(
        "records of each kind",
        Effect.gen(function* () {
          const ask = (type: string, name: string) => client.succeed(`host -t ${type} ${name}`)
          assert.match(yield* ask("A", "www.example.test"), /has address 192\.168\.1\.77/)
          assert.match(yield* ask("AAAA", "www.example.test"), /has IPv6 address 2001:db8:1::77/)
          assert.match(yield* ask("CNAME", "alias.example.test"), /is an alias for www\.example\.test/)
          assert.match(yield* ask("TXT", "about.example.test"), /"a text"/)
          assert.match(yield* ask("MX", "example.test"), /handled by 10 mail\.example\.test/)
        })
      )

      yield* driver.subtest(
        "the resolver of the C library finds them",
        Effect.gen(function* () {
          assert.match(yield* client.succeed("getent ahostsv4 alias.example.test"), /^192\.168\.1\.77 /)
        })
      )

      yield* driver.subtest(
        "an unknown name of its own domain is answered at once",
        Effect.gen(function* () {
          const { exitCode, stdout } = yield* client.execute("host nobody.example.test")
          assert.notEqual(exitCode, 0)
          assert.match(stdout, /NXDOMAIN/)
        })
      )

      yield* driver.subtest(
        "a known card gets an address and a name",
        Effect.gen(function* () {
          yield* client.succeed("udhcpc -i eth1 -n -q -f -s /bin/true")
          const lease = yield* server.succeed("cat /var/lib/misc/dnsmasq.leases")
          assert.ok(lease.includes(`${card} 192.168.1.123 desk`), lease)
          assert.match(yield* client.succeed("host desk.example.test"), /192\.168\.1\.123/)
        })
      )
    })
)
