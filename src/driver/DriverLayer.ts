/**
 * Machines for applications and test suites: a driver, and each of its machines, as Layers.
 *
 * Machines on the same driver share its networks and know each other's names. Closing the scope of the layer ends them, and dies with
 * `SubtestsFailed` if subtests failed with `softFail`.
 *
 * **Example** (A machine as a service)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { DriverLayer, Image } from "vmtest"
 *
 * class Web extends DriverLayer.Machine<Web>()("web", { image: Image.debian({ packages: ["nginx-light"] }) }) {}
 *
 * const program = Effect.gen(function* () {
 *   const web = yield* Web
 *   yield* web.waitForUnit("nginx.service")
 * })
 * program.pipe(Effect.provide(Web.layer), Effect.provide(DriverLayer.layer()))
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { Backend } from "../backends/Backend.ts"
import type { HostBackendError } from "../backends/Backends.ts"
import * as Backends from "../backends/Backends.ts"
import { refusal } from "../guest/Arguments.ts"
import type * as Cache from "../host/Cache.ts"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import * as RunDirectory from "../host/RunDirectory.ts"
import * as ImageStore from "../images/ImageStore.ts"
import type * as Machines from "../machine/Machine.ts"
import { InvalidMachine, type MachineOptions } from "../machine/MachineSpec.ts"
import * as NetworkSpec from "../network/NetworkSpec.ts"
import { type DeclareError, Driver } from "./Driver.ts"
import * as internal from "./internal/driver.ts"
import * as Images from "./internal/images.ts"
import { folderName } from "./internal/keepLogs.ts"
import { scriptFrame } from "./internal/scriptLocation.ts"
import * as WarmStart from "./internal/warmStart.ts"
import { StoreOptions } from "./SnapshotStore.ts"
import { Collector, SoftFailures } from "./SoftFailure.ts"

export {
  /** Subtests failed with `softFail`: how the test of a suite, or the closing of the layer, fails. */
  SubtestsFailed
} from "./SoftFailure.ts"

/** Options of a driver outside a runner. */
export const DriverOptions = Fields.options(
  {
    /** Its name in reports. Default `"driver"`. */
    name: Schema.optional(Fields.title),
    /**
     * The networks by name, as the `networks` of a test: machines can be on these only, and are on the first by default. Default: every VLAN from 1 to 254
     * is there, and machines are on VLAN 1.
     */
    networks: Schema.optional(NetworkSpec.Networks),
    /**
     * The folder for screenshots and files copied from guests. Default: `vmtest-output/<name>` in the working folder, or `vmtest-output` for a
     * driver without a name.
     */
    output: Schema.optional(Fields.filled("a path on the host, a string that is not empty")),
    /** Whether the packets of each network go to a file in `output` that Wireshark opens, such as `vlan1.pcapng`. Default false. */
    capture: Schema.optional(Schema.Boolean),
    /**
     * Whether machines start from stored snapshots, and machines that boot are stored; or where the store is. Default true: in the cache
     * folder. `VMTEST_SNAPSHOTS=off` in the environment means false.
     */
    snapshots: Schema.optional(
      Schema.Union([Schema.Boolean, StoreOptions]).annotate({ expected: "true, false or the options of a store" })
    )
  },
  '{ name: "web" }'
)

/** Options of a driver outside a runner. */
export interface DriverOptions extends Schema.Codec.Encoded<typeof DriverOptions> {}

const optionsProblem = Decode.checker(DriverOptions, { whole: "options" })

let drivers = 0

/** A driver without machines, with the backend, the images and the state folder that are provided. */
export const make = (
  options: DriverOptions = {}
): Layer.Layer<Driver, never, Backend | ImageStore.ImageStore | RunDirectory.RunDirectory> =>
  Layer.effect(
    Driver,
    Effect.gen(function* () {
      const problem = optionsProblem(options)
      if (problem !== undefined) return yield* Effect.die(refusal("", "DriverLayer", problem))
      const images = yield* Images.make
      const warm = yield* WarmStart.make(options.snapshots)
      yield* Effect.addFinalizer(() => warm.finished)
      const soft = (yield* Collector) ?? new SoftFailures()
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          const failed = soft.take()
          return failed === undefined ? Effect.void : Effect.die(failed)
        })
      )
      drivers += 1
      const folder = options.name === undefined ? "" : folderName(options.name)
      // There are no machines yet, so there is no image that could be missing.
      const { service } = yield* Effect.orDie(
        internal.make({
          test: options.name ?? "driver",
          machines: [],
          networks: NetworkSpec.resolve(options.networks),
          prefix: `d${drivers}`,
          output: NodePath.resolve(options.output ?? NodePath.join("vmtest-output", folder)),
          capture: options.capture,
          resolve: images.resolve,
          warm,
          onSubtest: soft.hear
        })
      )
      return service
    })
  ).pipe(Layer.provide(NodeServices.layer))

/** What can be missing on the host. */
export type HostError = HostBackendError | Cache.CacheUnwritable | RunDirectory.RunDirectoryError

/** What {@link host} gives. */
export type Host = Backend | ImageStore.ImageStore | RunDirectory.RunDirectory | NodeServices.NodeServices

/**
 * What drivers and runners need: this host's QEMU, or the hypervisor that `VMTEST_BACKEND` names, the user's image cache, a state folder that is removed with the layer, and the services of
 * the platform.
 */
export const host: Layer.Layer<Host, HostError> = Layer.mergeAll(
  Backends.byDefault,
  ImageStore.ImageStore.layer,
  RunDirectory.layer(),
  NodeServices.layer
)

/** A driver on this host. */
export const layer = (options: DriverOptions = {}): Layer.Layer<Driver, HostError> => Layer.provide(make(options), host)

/** Why a machine's layer could not be built. */
export type MachineLayerError = DeclareError | Machines.Unavailable

/** The result of {@link Machine}: a service whose value is the machine, and the layer that declares it. */
export interface MachineClass<Self, Name extends string>
  extends Context.ServiceClass<Self, `vmtest/driver/DriverLayer/${Name}`, Machines.Machine> {
  readonly layer: Layer.Layer<Self, MachineLayerError, Driver>
  /** The name of its machine. */
  readonly machine: Name
}

/**
 * Makes a service of a machine: a class whose value in an Effect is the machine, with a `layer` that declares it to the driver and waits until
 * it is ready.
 */
export const Machine =
  <Self>() =>
  <const Name extends string>(name: Name, options: MachineOptions): MachineClass<Self, Name> => {
    const tag = Context.Service<Self, Machines.Machine>()(`vmtest/driver/DriverLayer/${name}` as const)
    const { stack = "" } = new Error()
    return class extends tag {
      static readonly machine = name
      static readonly layer: Layer.Layer<Self, MachineLayerError, Driver> = Layer.effect(
        tag,
        Effect.gen(function* () {
          const driver = yield* Driver
          const machine = yield* driver
            .machine(name, options)
            .pipe(
              Effect.mapError((error) =>
                error._tag === "InvalidMachine"
                  ? new InvalidMachine({ ...error, declaredAt: scriptFrame(stack) })
                  : error
              )
            )
          if (options.autoStart !== false) yield* machine.start()
          return machine
        })
      )
    }
  }
