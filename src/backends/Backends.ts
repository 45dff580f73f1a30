/**
 * The hypervisors of this host by their names, each loaded and looked for when it is first asked for.
 *
 * **Example** (A driver whose machines are Firecrackers)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Backends, DriverLayer } from "vmtest"
 *
 * const driver = DriverLayer.make().pipe(Layer.provide(Backends.layer("firecracker")))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Cache from "../host/Cache.ts"
import type { HostProcessError } from "../host/HostProcess.ts"
import type { InvalidAccelerator } from "./Accelerator.ts"
import { Backend, type BackendService } from "./Backend.ts"
import type { UnsuitableHypervisor } from "./BackendError.ts"
import type { BackendName } from "./BackendName.ts"
import * as Environment from "./Environment.ts"
import { KvmUnusable, kvm } from "./internal/kvm.ts"

export {
  /** `/dev/kvm` cannot be used on this host, and the hypervisor cannot do without it. */
  KvmUnusable
} from "./internal/kvm.ts"

/** The program of a hypervisor is not on the PATH, or not where its variable says. */
export class HypervisorMissing extends Schema.TaggedError<HypervisorMissing>()("HypervisorMissing", {
  backend: Schema.String,
  /** A path, or the name that was looked for. */
  program: Schema.String,
  /** The environment variable that can name it. */
  variable: Schema.String
}) {
  override get message() {
    const where = this.program.includes("/")
      ? `${this.program}, which ${this.variable} names`
      : `${this.program} on the PATH`
    return `could not find ${where}; install ${this.backend}, and set ${this.variable} to its program or put it on the PATH`
  }
}

/** Why a hypervisor cannot be used on this host. */
export type HostBackendError =
  | HostProcessError
  | HypervisorMissing
  | UnsuitableHypervisor
  | InvalidAccelerator
  | KvmUnusable
  | Environment.InvalidVariable
  | Cache.CacheUnwritable

/** A machine is declared with a hypervisor that cannot be used on this host. */
export class BackendUnavailable extends Schema.TaggedError<BackendUnavailable>()("BackendUnavailable", {
  /** The first machine that is declared with it. */
  machine: Schema.String,
  backend: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: the ${this.backend} backend cannot be used: ${this.reason}`
  }
}

const qemu = Effect.gen(function* () {
  const Qemu = yield* Effect.promise(() => import("./qemu/Qemu.ts"))
  return Qemu.layer({ folder: yield* Cache.open("host") })
})

const firecracker = Effect.gen(function* () {
  const Firecracker = yield* Effect.promise(() => import("./firecracker/Firecracker.ts"))
  const [program, jailer] = yield* Effect.all([Environment.program("firecracker"), Environment.program("jailer")])
  return Firecracker.layer({ program, jailer, timeScale: yield* Environment.timeScale })
})

const cloudHypervisor = Effect.gen(function* () {
  const CloudHypervisor = yield* Effect.promise(() => import("./cloudhypervisor/CloudHypervisor.ts"))
  const [program, timeScale] = yield* Effect.all([Environment.program("cloud-hypervisor"), Environment.timeScale])
  return CloudHypervisor.layer({ program, timeScale })
})

const layers = { qemu, firecracker, "cloud-hypervisor": cloudHypervisor } as const

const find = (name: BackendName): Effect.Effect<BackendService, HostBackendError> =>
  Effect.gen(function* () {
    const layer: Layer.Layer<Backend, HostBackendError> = yield* layers[name]
    const backend = yield* Layer.build(layer).pipe(
      Effect.map((context) => Context.get(context, Backend)),
      Effect.mapError((error) =>
        error._tag === "ToolMissing" && name !== "qemu"
          ? new HypervisorMissing({ backend: name, program: error.tool, variable: Environment.variableOf(name) })
          : error
      )
    )
    const reason = name === "qemu" ? undefined : yield* kvm
    return reason === undefined ? backend : yield* new KvmUnusable({ backend: name, reason })
  }).pipe(Effect.scoped)

/** The hypervisor of this host with this name. Those that need KVM fail with `KvmUnusable` where no guest runs on it. */
export const layer = (name: BackendName): Layer.Layer<Backend, HostBackendError> => Layer.effect(Backend, find(name))

/** The hypervisor that `VMTEST_BACKEND` names; QEMU if it is not set. */
export const byDefault: Layer.Layer<Backend, HostBackendError> = Layer.unwrap(
  Effect.map(Environment.backend, (name) => layer(name ?? "qemu"))
)

/** What a hypervisor is on this host. */
export interface Probed {
  /** As fingerprints have it: `Firecracker 1.16.1`. */
  readonly hypervisor: string
  /** A path, or the name that was found on the PATH. */
  readonly program: string
  /** Why a guest of a few instructions did not run; undefined if it did. */
  readonly problem: string | undefined
}

/** Looks for a hypervisor besides QEMU, and runs a guest on it. */
export const probe = Effect.fnUntraced(function* (name: Exclude<BackendName, "qemu">) {
  const { fingerprint, timeScale } = yield* find(name)
  const Probe = yield* Effect.promise(() => import("./internal/vmmProbe.ts"))
  const program = yield* Environment.program(name)
  return {
    hypervisor: (yield* fingerprint).hypervisor ?? name,
    program,
    problem: yield* Probe.run(name, program, timeScale)
  } satisfies Probed as Probed
})

/** Hypervisors by their names. */
export interface BackendsService {
  readonly get: (name: BackendName) => Effect.Effect<BackendService, HostBackendError>
}

/** Each hypervisor is looked for once; one that is not there is looked for again. */
const ofHost = (): BackendsService => {
  const found = new Map<BackendName, BackendService>()
  return {
    get: (name) => {
      const known = found.get(name)
      if (known !== undefined) return Effect.succeed(known)
      return Effect.tap(find(name), (backend) => Effect.sync(() => found.set(name, backend)))
    }
  }
}

/** The hypervisors that machines name in their declarations. Default: those of this host. */
export const Backends = Context.Reference<BackendsService>("vmtest/backends/Backends", { defaultValue: ofHost })
