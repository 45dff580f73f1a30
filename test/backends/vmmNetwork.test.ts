import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { connect, type MachineShape } from "../../src/backends/Backend.ts"
import * as CloudHypervisor from "../../src/backends/cloudhypervisor/CloudHypervisor.ts"
import * as Firecracker from "../../src/backends/firecracker/Firecracker.ts"
import { cardsOf, inNamespace } from "../../src/backends/internal/vmmNetwork.ts"
import type { Port, Tap } from "../../src/network/Vlan.ts"
import { VlanFailed } from "../../src/network/Vlan.ts"
import { folder, played, shapeIn } from "./vmmSupport.ts"

/** A port with a TAP, which keeps what was done to its link. */
const portOf = (name: string, links: Array<boolean> = []): Port => {
  const tap: Tap = {
    netdev: "",
    device: Effect.succeed(name),
    inside: ({ args, command }) => ({ command: "nsenter", args: ["--net=n1", "--", command, ...args] }),
    setLink: (up) => Effect.sync(() => void links.push(up))
  }
  return { vlan: 1, name: "web eth1", tap } as Partial<Port> as Port
}

const card = (device: string, port: Port | undefined) => ({ device, vlan: 1, mac: "52:54:00:12:01:01", port })

const shapeOf = (networks: MachineShape["networks"]) =>
  ({ name: "web", directory: "/run/web", networks }) as MachineShape

const program = { command: "vmm", args: ["--api"] }

describe("the cards of a machine on TAP devices", () => {
  it.live("are eth0, which leads nowhere, and those on VLANs, by the names that these have", () =>
    Effect.gen(function* () {
      const cards = yield* cardsOf(shapeOf([card("eth1", portOf("tap3")), card("eth2", undefined)]))
      assert.deepStrictEqual(
        cards.map(({ device }) => device),
        ["eth0", "eth1", "eth2"]
      )
      assert.strictEqual(cards[1]?.tapName, "tap3")
      const names = cards.map(({ tapName }) => tapName)
      assert.strictEqual(new Set(names).size, 3)
      for (const name of names) assert.isAtMost(name.length, 15)
      const [other] = yield* cardsOf({ ...shapeOf([]), directory: "/run/db" })
      assert.notInclude(names, other?.tapName)
    })
  )

  it("are in the namespace of their VLANs, or in one of the machine's own", () => {
    assert.deepStrictEqual(inNamespace(shapeOf([card("eth1", portOf("tap3"))]), program), {
      command: "nsenter",
      args: ["--net=n1", "--", "vmm", "--api"]
    })
    const alone = inNamespace(shapeOf([]), program)
    assert.strictEqual(alone.command, "unshare")
    assert.deepStrictEqual(alone.args.slice(-4), ["--net", "--", "vmm", "--api"])
  })

  it.live("lose their cables at the TAP device, on both hypervisors", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const inside: typeof inNamespace = (_, program) => program
      const backends = [
        Firecracker.make({
          program: played(directory, "./firecracker/playedFirecracker.ts"),
          version: "1.16.1",
          inNamespace: inside
        }),
        CloudHypervisor.make({
          program: played(directory, "./cloudhypervisor/playedCloudHypervisor.ts"),
          version: "53.0",
          inNamespace: inside
        })
      ]
      for (const { capabilities, name, start } of backends) {
        assert.isTrue(capabilities.has("links"))
        const links: Array<boolean> = []
        const machine = yield* start(shapeIn(directory, name, { networks: [card("eth1", portOf("tap3", links))] }))
        const control = yield* connect(machine)
        yield* control.setLink("eth1", false)
        yield* control.setLink("eth1", true)
        assert.deepStrictEqual(links, [false, true])
        assert.strictEqual((yield* Effect.flip(control.setLink("eth9", false)))._tag, "Unsupported")
      }
    }).pipe(Effect.scoped)
  )

  it.live("are why a machine does not start when their VLAN is lost", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const lost = new VlanFailed({ vlan: 1, reason: "the namespace has ended", output: "" })
      const port = portOf("tap3")
      const broken = { ...port, tap: { ...port.tap, device: Effect.fail(lost) } } as Port
      const backend = Firecracker.make({ program: "/bin/true", version: "1.16.1" })
      const shape = shapeIn(directory, "web", { networks: [card("eth1", broken)] })
      const error = yield* Effect.flip(Effect.scoped(backend.start(shape)))
      assert.strictEqual(error._tag, "StartFailed")
      assert.include(error.message, "the namespace has ended")
    }).pipe(Effect.scoped)
  )
})
