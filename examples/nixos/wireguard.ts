/** A tunnel between two machines. Ported from NixOS's `wireguard` tests. */
import assert from "node:assert/strict"
import { Effect } from "effect"
import { Image, type Machine, test } from "vmtest"

const image = Image.debian({ packages: ["wireguard-tools"] })
const machine = { image, memory: "256 MiB" } as const

const makeKey = (peer: Machine) => peer.succeed("umask 077; wg genkey | tee /etc/wireguard/key | wg pubkey")

const connect = (peer: Machine, own: string, other: Machine, key: string, allowed: string) =>
  peer.succeed(
    "ip link add wg0 type wireguard",
    `ip -6 address add ${own}/64 dev wg0 nodad`,
    `wg set wg0 listen-port 51820 private-key /etc/wireguard/key peer ${key.trim()} allowed-ips ${allowed} endpoint ${other.name}:51820`,
    "ip link set wg0 up"
  )

export default test(
  "wireguard carries packets for its peers",
  { machines: { left: machine, right: machine }, timeout: "10 minutes" },
  ({ left, right }, driver) =>
    Effect.gen(function* () {
      const [leftKey, rightKey] = yield* Effect.all([makeKey(left), makeKey(right)], { concurrency: 2 })
      yield* connect(left, "fc00::1", right, rightKey, "fc00::2/128")
      yield* connect(right, "fc00::2", left, leftKey, "fc00::1/128")

      yield* driver.subtest(
        "packets pass in both directions",
        Effect.gen(function* () {
          yield* left.succeed("ping -c 1 -W 10 fc00::2")
          yield* right.succeed("ping -c 1 -W 10 fc00::1")
          const handshake = yield* right.succeed("wg show wg0 latest-handshakes")
          assert.match(handshake, /\t[1-9]\d*\n/)
        })
      )

      yield* driver.subtest(
        "packets from a foreign address are dropped",
        Effect.gen(function* () {
          yield* left.succeed("ip -6 address add fc00::3/64 dev wg0 nodad")
          yield* left.fail("ping -c 1 -W 2 -I fc00::3 fc00::2")
          yield* left.succeed("ip -6 address del fc00::3/64 dev wg0")
        })
      )

      yield* driver.subtest(
        "the tunnel works again when the cable is plugged in",
        Effect.gen(function* () {
          yield* right.block()
          yield* left.fail("ping -c 1 -W 2 fc00::2")
          yield* right.unblock()
          yield* left.waitUntilSucceeds("ping -c 1 -W 1 fc00::2")
        })
      )
    })
)
