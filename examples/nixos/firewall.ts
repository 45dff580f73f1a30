/** What a packet filter blocks and allows. Ported from NixOS's `firewall` and `nat` tests. */
import { Effect } from "effect"
import { Image, test } from "vmtest"

const inside = `#!/usr/sbin/nft -f
flush ruleset
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    iif "lo" accept
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    tcp dport 80 accept
    tcp dport 8080 reject with tcp reset
  }
}
`

const through = `#!/usr/sbin/nft -f
flush ruleset
table ip nat {
  chain postrouting {
    type nat hook postrouting priority 100;
    oifname "eth2" masquerade
  }
}
`

const image = Image.debian({
  packages: ["nftables", "curl", "busybox-static"],
  files: { "/etc/nftables-inside.conf": inside, "/etc/nftables-through.conf": through },
  units: {
    "web.service": "[Service]\nExecStart=busybox httpd -f -p 80 -h /srv\n",
    "other.service": "[Service]\nExecStart=busybox httpd -f -p 8080 -h /srv\n"
  },
  setup: "echo served >/srv/index.html"
})
const machine = { image, memory: "256 MiB" } as const

export default test(
  "a packet filter filters",
  {
    // Only router is on both networks, so inner reaches outer through it.
    machines: { inner: machine, outer: { ...machine, vlans: [2] }, router: { ...machine, vlans: [1, 2] } },
    timeout: "10 minutes"
  },
  ({ inner, outer, router }, driver) =>
    Effect.gen(function* () {
      yield* driver.waitAll([inner, outer, router], (one) =>
        Effect.andThen(one.waitForOpenPort(80), one.waitForOpenPort(8080))
      )

      yield* driver.subtest(
        "without rules, everything is open",
        inner.succeed("curl -sf http://router/", "curl -sf http://router:8080/", "ping -c 1 -W 5 router")
      )

      yield* driver.subtest(
        "with rules, only what they allow is open",
        Effect.gen(function* () {
          yield* router.succeed("nft -f /etc/nftables-inside.conf")
          yield* inner.succeed("curl -sf http://router/")
          yield* inner.fail("ping -c 1 -W 2 router")
          const { exitCode } = yield* inner.execute("curl -s --max-time 20 http://router:8080/")
          if (exitCode !== 7) return yield* Effect.fail(`curl was to be refused at once (7); it ended with ${exitCode}`)
          yield* router.succeed("curl -sf http://localhost:8080/", "curl -sf http://inner/", "ping -c 1 -W 5 inner")
        })
      )

      yield* driver.subtest(
        "a router hides the address of its clients",
        Effect.gen(function* () {
          const url = `http://${outer.interfaces[0]?.ipv4}/`
          yield* router.succeed("nft -f /etc/nftables-through.conf", "sysctl -q net.ipv4.ip_forward=1")
          yield* inner.fail(`curl -sf --max-time 3 ${url}`)
          yield* inner.succeed(`ip route add 192.168.2.0/24 via ${router.interfaces[0]?.ipv4}`, `curl -sf ${url}`)
          yield* router.succeed("nft flush ruleset")
          yield* inner.fail(`curl -sf --max-time 3 ${url}`)
        })
      )
    })
)
