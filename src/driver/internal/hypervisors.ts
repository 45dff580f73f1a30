/** Which hypervisor runs each machine of a test, and what that makes of the test's networks. */
import * as Effect from "effect/Effect"
import { Backend, type BackendService } from "../../backends/Backend.ts"
import { unsupported } from "../../backends/BackendError.ts"
import { type BackendName, isBackendName } from "../../backends/BackendName.ts"
import { Backends, BackendUnavailable } from "../../backends/Backends.ts"
import * as Device from "../../backends/Device.ts"
import { asked, nameOf, optionsOf } from "../../backends/HypervisorOptions.ts"
import * as Image from "../../images/Image.ts"
import * as Microvm from "../../images/Microvm.ts"
import { InvalidMachine, type MachineSpec } from "../../machine/MachineSpec.ts"
import { maximum } from "../../network/Addresses.ts"
import * as NetworkSpec from "../../network/NetworkSpec.ts"
import type { Checked } from "./checkTests.ts"

/** The hypervisor that an image is for: of a start script QEMU, and of a runner what it starts. Undefined for one that vmtest has no backend for. */
const ofImage = (image: Image.StartScriptImage | Image.MicrovmImage): BackendName | undefined => {
  if (image._tag === "StartScriptImage") return "qemu"
  const name = Microvm.hypervisorOf(image)
  return isBackendName(name) ? name : undefined
}

/** The hypervisor of a machine: the one that it declares, or its image is for, or else the test's. */
export const of = (byDefault: BackendService, spec: MachineSpec): Effect.Effect<BackendService, BackendUnavailable> =>
  Effect.gen(function* () {
    const ownWay = Image.startsItself(spec.image) ? (ofImage(spec.image) ?? byDefault.name) : byDefault.name
    const name = nameOf(spec.backend) ?? (isBackendName(byDefault.name) ? ownWay : byDefault.name)
    const unavailable = ({ message }: { readonly message: string }) =>
      new BackendUnavailable({ machine: spec.name, backend: name, reason: message })
    const { get } = yield* Backends
    const backend =
      name === byDefault.name || !isBackendName(name) ? byDefault : yield* Effect.mapError(get(name), unavailable)
    const options = optionsOf(spec.backend)
    if (options !== undefined && backend.requires !== undefined) {
      yield* Effect.mapError(backend.requires(options), unavailable)
    }
    return backend
  })

/** Those that the test declares; undefined if it declares none. */
type Networks = ReadonlyArray<NetworkSpec.NetworkSpec> | undefined

/**
 * The networks with their fabrics: where a machine has TAP devices, a network is a bridge unless it is declared to be a switch. If the test declares
 * none, these are the VLANs that are bridges: all where that is what its hypervisor connects to.
 */
export const fabrics = (
  networks: Networks,
  byDefault: BackendService,
  machines: ReadonlyArray<{ readonly spec: MachineSpec; readonly backend: BackendService }>
): ReadonlyArray<NetworkSpec.NetworkSpec> => {
  const every = byDefault.taps === true
  const bridged = new Set(
    machines.flatMap(({ backend, spec }) => (backend.taps === true ? spec.vlans.map(({ vlan }) => vlan) : []))
  )
  const all = networks ?? Array.from({ length: maximum }, (_, index) => NetworkSpec.of(undefined, index + 1))
  return all
    .map((network) => ({
      ...network,
      fabric: network.fabric ?? (every || bridged.has(network.vlan) ? ("bridge" as const) : undefined)
    }))
    .filter(({ fabric }) => networks !== undefined || fabric === "bridge")
}

/** Makes sure that a hypervisor can run a machine on networks with these fabrics. */
export const check = (
  backend: BackendService,
  spec: MachineSpec,
  networks: ReadonlyArray<NetworkSpec.NetworkSpec>
): Effect.Effect<void, InvalidMachine> =>
  Effect.suspend(() => {
    const invalid = (option: string, reason: string) => new InvalidMachine({ machine: spec.name, option, reason })
    const lacking = asked(optionsOf(spec.backend)).find((option) => !backend.capabilities.has(option))
    if (lacking !== undefined) {
      const reason = `backend.${lacking} must not be declared: ${unsupported(backend.name, lacking).message}`
      return invalid(`backend.${lacking}`, reason)
    }
    const refused = backend.refuses?.({ ...spec, devices: Device.nameAll(spec.devices) })
    if (refused !== undefined) return invalid(refused.field, refused.reason)
    const own = Image.startsItself(spec.image) ? ofImage(spec.image) : undefined
    if (own !== undefined && isBackendName(backend.name) && own !== backend.name) {
      return invalid("backend", `backend must be "${own}", which the image starts, got "${backend.name}"`)
    }
    if (backend.taps !== true) return Effect.void
    const isBridge = ({ vlan }: { readonly vlan: number }) => NetworkSpec.of(networks, vlan).fabric === "bridge"
    const wrong = spec.vlans.findIndex((card) => !isBridge(card))
    if (wrong === -1) return Effect.void
    const { name, vlan } = NetworkSpec.of(networks, spec.vlans[wrong]?.vlan ?? 0)
    return invalid(
      `vlans[${wrong}]`,
      `vlans[${wrong}] must be a network with fabric: "bridge", because ${backend.name} connects to TAP devices; got ${name ?? vlan}, which is a switch`
    )
  })

/** Makes sure that the hypervisors of a test are there and can run its machines, before any test starts. */
export const checkTest = ({ networks, specs, test }: Checked) =>
  Effect.gen(function* () {
    const byDefault = yield* Backend
    const machines = yield* Effect.forEach(specs, (spec) =>
      Effect.map(of(byDefault, spec), (backend) => ({ spec, backend }))
    )
    const all = fabrics(networks, byDefault, machines)
    for (const { backend, spec } of machines) {
      yield* Effect.mapError(
        check(backend, spec, all),
        (error) => new InvalidMachine({ ...error, declaredAt: test.declaredAt() })
      )
    }
  })
