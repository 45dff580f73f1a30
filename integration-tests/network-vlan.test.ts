import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Accelerator from "../src/backends/Accelerator.ts"
import { Backend, connect, openShell } from "../src/backends/Backend.ts"
import * as Qemu from "../src/backends/qemu/Qemu.ts"
import * as Cache from "../src/host/Cache.ts"
import * as RunDirectory from "../src/host/RunDirectory.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import * as Addresses from "../src/network/Addresses.ts"
import * as Vlan from "../src/network/Vlan.ts"

const services = Layer.mergeAll(
  Layer.unwrap(Effect.map(Cache.folder("host"), (folder) => Qemu.layer({ folder }))),
  ImageStore.layer,
  RunDirectory.layer()
)

layer(services, { excludeTestServices: true, timeout: "10 minutes" })("guests on VLANs", (it) => {
  it.effect("reach each other by name and address over a shared VLAN, and nobody else, also from an older QEMU", () =>
    Effect.gen(function* () {
      const backend = yield* Backend
      const folder = yield* Cache.folder("host")
      const findings = yield* Accelerator.detect({ folder })
      /** One that has no `-netdev stream`. */
      const older = Qemu.make({ findings: { ...findings, qemu: { ...findings.qemu, version: "7.1.0" } } })
      const run = yield* RunDirectory.RunDirectory
      const image = yield* (yield* ImageStore).resolve(Image.tiny())
      const nodes = Addresses.assign([
        { name: "a", vlans: [1] },
        { name: "b", vlans: [1, 2] }
      ])
      const switches = yield* Effect.forEach([1, 2], (vlan) => Vlan.make({ vlan, directory: run.path }))
      const [a, b] = yield* Effect.forEach(
        nodes,
        (node) =>
          Effect.gen(function* () {
            const machine = yield* (node.name === "a" ? older : backend).start({
              name: node.name,
              image,
              memory: 256 * 1024 * 1024,
              cpus: 1,
              networks: yield* Effect.forEach(node.interfaces, ({ device, mac, vlan }) =>
                Effect.map(switches[vlan - 1]!.port(`${node.name} ${device}`), (port) => ({ device, vlan, mac, port }))
              ),
              internet: false,
              forwards: [],
              allowReboot: false,
              directory: yield* run.folder(node.name)
            })
            const shell = yield* openShell(machine)
            yield* shell.execute(Addresses.ipCommands(node, { internet: false }))
            yield* shell.execute("cat > /etc/hosts", { stdin: Addresses.hosts(nodes, node) })
            return { machine, shell }
          }),
        { concurrency: "unbounded" }
      )
      if (a === undefined || b === undefined) return assert.fail("two machines")
      const reaches = (from: typeof a, whom: string) =>
        Effect.map(from.shell.execute(`ping -c 1 -W 2 ${whom}`), ({ exitCode }) => exitCode === 0)

      assert.strictEqual(
        (yield* b.shell.execute("cat /sys/class/net/eth[12]/address")).stdout,
        "52:54:00:12:01:02\n52:54:00:12:02:02\n"
      )
      for (const whom of ["b", "192.168.1.2", "2001:db8:1::2"]) assert.isTrue(yield* reaches(a, whom), whom)
      for (const whom of ["a", "192.168.1.1"]) assert.isTrue(yield* reaches(b, whom), whom)
      assert.isFalse(yield* reaches(a, "192.168.2.2"))

      const { setLink } = yield* connect(b.machine)
      yield* setLink("eth1", false)
      assert.isFalse(yield* reaches(a, "192.168.1.2"))
      yield* setLink("eth1", true)
      assert.isTrue(yield* reaches(a, "192.168.1.2"))
    })
  )
})
