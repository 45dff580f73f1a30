/**
 * The QEMU backend: stock guests on a q35 machine, on KVM where it works and under emulation elsewhere.
 *
 * `microvm` is not used: without hardware virtualisation a third of its boots hang (it has no timer that Linux can check
 * its clock against).
 *
 * **Example** (Providing it to a driver)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { DriverLayer } from "vmtest"
 *
 * const backend = Qemu.layer({ folder: "/var/cache/example" })
 * const driver = DriverLayer.make().pipe(Layer.provide(backend))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { HostProcessError } from "../../host/HostProcess.ts"
import type { Findings, InvalidAccelerator } from "../Accelerator.ts"
import * as Accelerator from "../Accelerator.ts"
import type { BackendService, Capability, Hypervisor, MachineShape, SavedMachine } from "../Backend.ts"
import { Backend } from "../Backend.ts"
import type { BackendError, UnsuitableHypervisor } from "../BackendError.ts"
import { type InvalidVariable, timeScale } from "../Environment.ts"
import { findInvalid } from "../internal/shapeCheck.ts"
import * as declared from "./declared.ts"
import { fingerprint } from "./fingerprint.ts"
import * as scripted from "./scripted.ts"

/** The capabilities of this backend. */
export const capabilities: ReadonlySet<Capability> = new Set<Capability>([
  "qmp",
  "consoleInput",
  "screen",
  "keyboard",
  "mouse",
  "pause",
  "reset",
  "powerdown",
  "reboot",
  "links",
  "forwards",
  "hotplug",
  "snapshots"
])

/** How to find and run QEMU. */
export interface QemuOptions {
  /** Which QEMU, and on which accelerator; see `Accelerator.detect`. */
  readonly findings: Findings
  /** Further arguments for every command line. Default none. */
  readonly extraArguments?: ReadonlyArray<string> | undefined
  /** A factor for default deadlines, besides that of the accelerator. Default 1. */
  readonly stretch?: number | undefined
}

/** The backend, with the QEMU that was found. */
export const make = ({ extraArguments = [], findings, stretch = 1 }: QemuOptions): BackendService => {
  const timeScale = Accelerator.timeScale(findings.accelerator.name) * stretch
  return {
    name: "qemu",
    capabilities,
    timeScale,
    fingerprint: fingerprint(findings, extraArguments),
    start: (shape, { from } = {}) => start(shape, { findings, extraArguments, timeScale }, from)
  }
}

/**
 * Whether machines that start can show their screens to VNC viewers. QEMU has a VNC server then, which listens nowhere until its command
 * `display-update` says where, and looks at the screen every three seconds meanwhile. Snapshots do not depend on it. Default false.
 */
export const Viewable = Context.Reference<boolean>("vmtest/backends/qemu/Viewable", { defaultValue: () => false })

interface Settings {
  readonly findings: Findings
  readonly extraArguments: ReadonlyArray<string>
  readonly timeScale: number
}

const start: (
  shape: MachineShape,
  settings: Settings,
  from: SavedMachine | undefined
) => Effect.Effect<Hypervisor, BackendError, Scope.Scope> = Effect.fnUntraced(function* (shape, settings, from) {
  const invalid = findInvalid(shape)
  if (invalid !== undefined) return yield* invalid
  const { findings, timeScale } = settings
  const extraArguments = [...settings.extraArguments, ...((yield* Viewable) ? ["-vnc", "none"] : [])]
  const accelerator = findings.accelerator.name
  const { path: program, version } = findings.qemu
  const way = shape.image.startScript === undefined ? declared : scripted
  return yield* way.start(shape, { program, version, accelerator, extraArguments, timeScale }, from)
})

/** Why the backend cannot be used. */
export type QemuError = HostProcessError | UnsuitableHypervisor | InvalidAccelerator | InvalidVariable

/**
 * The QEMU backend of this host. Finds QEMU, its version and the accelerator first, so that a host without QEMU fails
 * with `ToolMissing` before anything starts. `folder` is where these are remembered. `VMTEST_TIME_SCALE` stretches default deadlines.
 */
export const layer = (options: {
  readonly folder: string
  readonly extraArguments?: ReadonlyArray<string> | undefined
}): Layer.Layer<Backend, QemuError> =>
  Layer.effect(
    Backend,
    Effect.gen(function* () {
      const stretch = yield* timeScale
      const findings = yield* Accelerator.detect({ folder: options.folder })
      return make({ findings, extraArguments: options.extraArguments, stretch })
    })
  )
