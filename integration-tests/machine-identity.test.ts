import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../src/images/Image.ts"
import type { Machine as MachineOf } from "../src/machine/Machine.ts"
import { Machine, machines } from "../src/vitest.ts"

/** Writes what a service finds of the machine's identity into a file. */
const report = (file: string) =>
  `/bin/sh -c '{ hostname; ip -br addr; cat /etc/hosts; cat /etc/resolv.conf; } >${file} 2>&1'`

/** A guest with services that read its identity when they start: the earliest that can be, and one that waits for the network. */
const image = Image.debian({
  packages: ["avahi-daemon", "postfix"],
  // The package writes the name of the place where it is installed; without it Postfix takes the machine's.
  files: { "/etc/postfix/main.cf": "compatibility_level = 3.6\nmydestination = $myhostname, localhost\n" },
  units: {
    "earliest.service": `[Unit]
DefaultDependencies=no
Before=sysinit.target network-pre.target
[Service]
Type=oneshot
ExecStart=${report("/run/earliest")}
[Install]
WantedBy=sysinit.target
`,
    "online.service": `[Unit]
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=${report("/var/lib/online")}
[Install]
WantedBy=multi-user.target
`
  }
})

const options = { image, memory: "512 MiB", vlans: [1, 2] } as const

/** Boots, whatever the store has, with addresses of its own. */
class Broker extends Machine<Broker>()("broker", {
  ...options,
  snapshot: false,
  vlans: [1, { vlan: 2, mac: "52:54:00:aa:bb:cc", ipv4: "10.0.0.7/16", ipv6: "fd00::7/48" }, 2]
}) {}

/** Is forked where the store has one of its name. */
class Mailer extends Machine<Mailer>()("mailer", options) {}

class Tiny extends Machine<Tiny>()("small", { image: Image.tiny(), memory: "256 MiB" }) {}

const addresses = (machine: MachineOf) =>
  machine.interfaces.flatMap(({ ipv4, ipv4Prefix, ipv6, ipv6Prefix }) => [
    ...(ipv4 === undefined ? [] : [`${ipv4}/${ipv4Prefix}`]),
    ...(ipv6 === undefined ? [] : [`${ipv6}/${ipv6Prefix}`])
  ])

/** What services of this machine must have found. */
const isIdentityOf = (machine: MachineOf, found: string, where: string) => {
  assert.strictEqual(found.split("\n")[0], machine.name, where)
  for (const address of [...addresses(machine), "10.0.2.15/24"]) assert.include(found, address, where)
  assert.include(found, `\n${machine.interfaces[0]?.ipv4} ${machine.name}\n`, where)
}

machines(
  Broker,
  Mailer,
  Tiny
)("a machine is the declared machine from its first instruction", (it) => {
  it.effect("its services find its name and addresses when they start, booted and forked", () =>
    Effect.gen(function* () {
      for (const machine of [yield* Broker, yield* Mailer]) {
        yield* machine.waitForUnit("online.service")
        isIdentityOf(machine, yield* machine.readFile("/run/earliest"), `${machine.name}, earliest`)
        isIdentityOf(machine, yield* machine.readFile("/var/lib/online"), `${machine.name}, online`)
      }
    })
  )

  it.effect("a fork of one with addresses of its own has those of its number, and reaches it", () =>
    Effect.gen(function* () {
      const broker = yield* Broker
      const other = yield* broker.fork({ name: "other", identity: { sshHostKeys: false } })
      const found = yield* other.succeed("ip -br addr; ip -br link")
      const own = [...addresses(other), ...other.interfaces.map(({ mac }) => mac)]
      for (const address of own) assert.include(found, address)
      for (const taken of ["10.0.0.7/", "fd00::7/", "52:54:00:aa:bb:cc"]) assert.notInclude(found, taken)
      yield* other.succeed("ping -c 1 -w 10 broker")
      yield* other.crash()
    })
  )

  it.effect("services that learn the name once know the right one", () =>
    Effect.gen(function* () {
      for (const machine of [yield* Broker, yield* Mailer]) {
        yield* machine.waitForUnit("avahi-daemon.service")
        assert.strictEqual(
          yield* machine.succeed("busctl call org.freedesktop.Avahi / org.freedesktop.Avahi.Server GetHostName"),
          `s "${machine.name}"\n`
        )
        yield* machine.waitForUnit("postfix.service")
        yield* machine.waitForOpenPort(25)
        const greeting = yield* machine.succeed("exec 3<>/dev/tcp/127.0.0.1/25; head -n 1 <&3")
        assert.match(greeting, new RegExp(`^220 ${machine.name}`))
      }
    })
  )

  it.effect("a tiny guest has them before its shell", () =>
    Effect.gen(function* () {
      const small = yield* Tiny
      assert.strictEqual(yield* small.succeed("hostname"), "small\n")
      const kernel = yield* small.succeed("ip addr show eth1")
      assert.include(kernel, addresses(small)[0]!)
    })
  )
})
