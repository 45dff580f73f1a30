import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { BackendService } from "../../src/backends/Backend.ts"
import { Backends, HypervisorMissing } from "../../src/backends/Backends.ts"
import * as CloudHypervisor from "../../src/backends/cloudhypervisor/CloudHypervisor.ts"
import * as Firecracker from "../../src/backends/firecracker/Firecracker.ts"
import * as Mock from "../../src/backends/mock/Mock.ts"
import * as Hypervisors from "../../src/driver/internal/hypervisors.ts"
import * as Image from "../../src/images/Image.ts"
import * as MachineChecks from "../../src/machine/MachineChecks.ts"
import type * as MachineSpec from "../../src/machine/MachineSpec.ts"
import * as NetworkSpec from "../../src/network/NetworkSpec.ts"

const image = Image.tiny()
const firecracker = Firecracker.make({ program: "/bin/false", version: "1.16.1" })
const cloudHypervisor = CloudHypervisor.make({ program: "/bin/false", version: "53.0" })

/** A host with the mock in the place of QEMU, and without Cloud Hypervisor where a test says so. */
const host = (qemu: BackendService, without?: string) =>
  Backends.of({
    get: (name) => {
      if (name === without) {
        return Effect.fail(new HypervisorMissing({ backend: name, program: name, variable: "VMTEST_CLOUD_HYPERVISOR" }))
      }
      return Effect.succeed({ qemu, firecracker, "cloud-hypervisor": cloudHypervisor }[name])
    }
  })

/** The fabrics of a test's networks; the message of what refuses it. */
const fabricsOf = Effect.fnUntraced(function* (
  machines: Readonly<Record<string, Partial<MachineSpec.MachineOptions>>>,
  options: {
    readonly networks?: NetworkSpec.Networks
    readonly byDefault?: "qemu" | "firecracker"
    readonly without?: string
  } = {}
) {
  const mock = yield* Mock.make()
  const qemu = { ...mock.backend, name: "qemu" }
  const backend = options.byDefault === "firecracker" ? firecracker : qemu
  const networks = NetworkSpec.resolve(options.networks)
  const declared = Object.fromEntries(Object.entries(machines).map(([name, own]) => [name, { image, ...own }]))
  const specs = yield* MachineChecks.checkAll(declared, networks)
  return yield* Effect.gen(function* () {
    const all = yield* Effect.forEach(specs, (spec) =>
      Effect.map(Hypervisors.of(backend, spec), (backend) => ({ spec, backend }))
    )
    const fabrics = Hypervisors.fabrics(networks, backend, all)
    for (const { backend, spec } of all) yield* Hypervisors.check(backend, spec, fabrics)
    return {
      names: all.map(({ backend }) => backend.name),
      fabrics: fabrics.map(({ fabric, name, vlan }) => `${name ?? vlan} ${fabric ?? "switch"}`)
    }
  }).pipe(
    Effect.provideService(Backends, host(qemu, options.without)),
    Effect.catch(({ message }) => Effect.succeed(message))
  )
})

describe("the hypervisors of a test's machines", () => {
  it.effect("are QEMU where nothing says otherwise, on networks that are switches", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* fabricsOf({ a: {} }), { names: ["qemu"], fabrics: [] })
      const networks = { lan: {}, dmz: { fabric: "bridge" } } as const
      assert.deepStrictEqual(yield* fabricsOf({ a: { backend: "qemu" } }, { networks }), {
        names: ["qemu"],
        fabrics: ["lan switch", "dmz bridge"]
      })
    })
  )

  it.effect("make a bridge of each network that they need one of, and of no other", () =>
    Effect.gen(function* () {
      const machines = {
        a: { vlans: [1, 2] },
        b: { vlans: [2], backend: "firecracker" },
        c: { vlans: [7], backend: "cloud-hypervisor" }
      } as const
      assert.deepStrictEqual(yield* fabricsOf(machines), {
        names: ["qemu", "firecracker", "cloud-hypervisor"],
        fabrics: ["2 bridge", "7 bridge"]
      })
      const named = { a: { vlans: ["lan", "dmz"] }, b: { vlans: ["dmz"], backend: "firecracker" } } as const
      assert.deepStrictEqual(yield* fabricsOf(named, { networks: { lan: {}, dmz: {}, spare: {} } }), {
        names: ["qemu", "firecracker"],
        fabrics: ["lan switch", "dmz bridge", "spare switch"]
      })
    })
  )

  it.effect("are those of the run, but for a start script's, which is QEMU's own", () =>
    Effect.gen(function* () {
      const machines = {
        a: {},
        b: { image: Image.startScript("/bin/true"), vlans: [2] },
        c: { backend: "qemu" }
      } as const
      const found = yield* fabricsOf(machines, { byDefault: "firecracker" })
      assert.isObject(found)
      if (typeof found === "string") return
      assert.deepStrictEqual(found.names, ["firecracker", "qemu", "qemu"])
      assert.deepStrictEqual([found.fabrics.length, found.fabrics[0]], [254, "1 bridge"])
    })
  )

  it.effect("are refused on a network that is declared to be a switch", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* fabricsOf({ b: { backend: "firecracker" } }, { networks: { lan: { fabric: "switch" } } }),
        'b: vlans[0] must be a network with fabric: "bridge", because firecracker connects to TAP devices; got lan, which is a switch'
      )
    })
  )

  const declined = [
    [{ devices: ["tpm"], image: Image.tiny({ kernel: "generic" }) }, "devices must be empty"],
    [{ qemuArguments: ["-device", "edu"] }, "qemuArguments must be empty"],
    [{ hotplug: true }, "hotplug must not be declared: the firecracker backend does not support hotplug"],
    [{ internet: true }, "internet must be false"],
    [{ forwards: [{ hostPort: 8080, guestPort: 80 }] }, "forwards must not be declared"],
    [{ allowReboot: true }, "allowReboot must not be declared: the firecracker backend does not support reboot"],
    [{ backend: { name: "firecracker", shares: { a: "/" } } }, "backend.shares must not be declared: the firecracker"],
    [{ backend: { name: "qemu", hugePages: true } }, "backend.hugePages must not be declared: the qemu"],
    [{ image: Image.startScript("/bin/true") }, 'backend must be "qemu", which the image starts, got "firecracker"']
  ] as const
  for (const [own, expected] of declined) {
    it.effect(`are refused what they cannot have: ${Object.keys(own)[0]}`, () =>
      Effect.gen(function* () {
        assert.include(yield* fabricsOf({ a: { backend: "firecracker", ...own } }), `a: ${expected}`)
      })
    )
  }

  it.effect("keep a reboot with Cloud Hypervisor", () =>
    Effect.map(fabricsOf({ a: { allowReboot: true, backend: "cloud-hypervisor" } }), (found) =>
      assert.deepInclude(found, { names: ["cloud-hypervisor"] })
    )
  )

  it.effect("are missed before anything starts, with the machine that needs them", () =>
    Effect.map(fabricsOf({ a: {}, c: { backend: "cloud-hypervisor" } }, { without: "cloud-hypervisor" }), (message) =>
      assert.include(
        message,
        "c: the cloud-hypervisor backend cannot be used: could not find cloud-hypervisor on the PATH"
      )
    )
  )
})
