/** A VLAN of the fabric "bridge" with a QEMU on a TAP, one that plugs in by a socket, and one that only knows VDE. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Backend, openShell } from "../src/backends/Backend.ts"
import * as Qemu from "../src/backends/qemu/Qemu.ts"
import * as Cache from "../src/host/Cache.ts"
import * as RunDirectory from "../src/host/RunDirectory.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import * as Addresses from "../src/network/Addresses.ts"
import * as Bridge from "../src/network/Bridge.ts"
import { titled } from "../test/needs.ts"

const possible = await Effect.runPromise(Effect.result(Bridge.probe))
const why = possible._tag === "Success" ? undefined : possible.failure.message

const services = Layer.mergeAll(
  Layer.unwrap(Effect.map(Cache.folder("host"), (folder) => Qemu.layer({ folder }))),
  ImageStore.layer,
  RunDirectory.layer()
)

/** The machines by how they plug in. */
const names = ["socket", "tap", "vde"] as const

layer(services, { excludeTestServices: true, timeout: "10 minutes" })("guests of different kinds", (it) => {
  it.effect.skipIf(why !== undefined)(
    titled("reach each other on one bridge, in every direction, over both families", why),
    () =>
      Effect.gen(function* () {
        const backend = yield* Backend
        const run = yield* RunDirectory.RunDirectory
        const image = yield* (yield* ImageStore).resolve(Image.tiny())
        const nodes = Addresses.assign(names.map((name) => ({ name, vlans: [1] })))
        const bridges = yield* Bridge.make
        const vlan = yield* bridges.vlan({ vlan: 1, directory: run.path })
        const shells = yield* Effect.forEach(
          nodes,
          (node) =>
            Effect.gen(function* () {
              const { device, mac } = node.interfaces[0]!
              const port = yield* vlan.port(`${node.name} ${device}`)
              const card = { device, vlan: 1, mac }
              const cards = {
                tap: [{ ...card, port }],
                socket: [{ ...card, port: { ...port, tap: undefined } }],
                vde: []
              }
              const words =
                node.name === "vde"
                  ? ["-netdev", `vde,id=x,sock=${yield* port.vde}`, "-device", `virtio-net-pci,netdev=x,mac=${mac}`]
                  : []
              const machine = yield* backend.start({
                ...{ name: node.name, image, memory: 256 * 1024 * 1024, cpus: 1 },
                ...{ networks: cards[node.name as keyof typeof cards], qemuArguments: words },
                ...{ internet: false, forwards: [], allowReboot: false, directory: yield* run.folder(node.name) }
              })
              const shell = yield* openShell(machine)
              yield* shell.execute(Addresses.ipCommands(node, { internet: false }))
              return [node.name, shell] as const
            }),
          { concurrency: 3 }
        )
        for (const [name, shell] of shells) {
          for (const [index, whom] of names.entries()) {
            for (const address of [`192.168.1.${index + 1}`, `2001:db8:1::${index + 1}`]) {
              const { exitCode, stdout } = yield* shell.execute(`ping -c 2 -w 10 ${address}`)
              assert.strictEqual(exitCode, 0, `${name} to ${whom} at ${address}: ${stdout}`)
            }
            if (whom === "vde" || name === "vde" || whom === name) continue
            const { exitCode } = yield* shell.execute(
              `ip link set eth1 mtu 9000; ping -c 1 -w 10 -s 8972 192.168.1.${index + 1}`
            )
            // The other one's MTU is still 1500 in the first direction.
            if (name === "tap") assert.strictEqual(exitCode, 0, `${name} to ${whom}, 9000 bytes`)
          }
        }
        // The longest frame that vde_switch carries.
        const [, tap] = shells[1]!
        assert.strictEqual((yield* tap.execute("ping -c 1 -w 10 -s 1472 192.168.1.3")).exitCode, 0)
      })
  )
})
