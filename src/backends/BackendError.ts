/**
 * The errors of backends: what can go wrong between a machine's declaration and its running hypervisor.
 *
 * **Example** (Taking a screenshot only where the backend has a screen)
 *
 * ```ts
 * import { Effect } from "effect"
 *
 * web.screenshot().pipe(Effect.catchTag("Unsupported", ({ message }) => driver.log(message)))
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { SpawnFailed, ToolMissing } from "../host/HostProcess.ts"
import type { QmpError } from "../transport/qmp/Qmp.ts"
import type { RestError } from "../transport/RestError.ts"
import type { ShellNotReady, TransportError } from "../transport/ShellError.ts"
import type { Capability } from "./Backend.ts"

/** The backend does not have this capability; the caller decides what to do instead. */
export class Unsupported extends Schema.TaggedError<Unsupported>()("Unsupported", {
  backend: Schema.String,
  capability: Schema.String
}) {
  override get message() {
    return `the ${this.backend} backend does not support ${this.capability}`
  }
}

/** Makes an `Unsupported`, its capability checked by the compiler. */
export const unsupported = (backend: string, capability: Capability): Unsupported =>
  new Unsupported({ backend, capability })

/** A machine of this shape is not possible: `field` is the part of the `MachineShape` that is wrong. Nothing was started. */
export class InvalidShape extends Schema.TaggedError<InvalidShape>()("InvalidShape", {
  machine: Schema.String,
  field: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: ${this.field} ${this.reason}`
  }
}

/** The hypervisor ended, or did not answer, before the machine ran; `output` is the end of its output. */
export class StartFailed extends Schema.TaggedError<StartFailed>()("StartFailed", {
  machine: Schema.String,
  backend: Schema.String,
  reason: Schema.String,
  output: Schema.String,
  /** The request to the hypervisor that failed, such as `PUT /boot-source`; absent if it was not a request. */
  stage: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const said = this.output.trim()
    return `${this.machine}: could not start ${this.backend}: ${this.reason}${said === "" ? "" : `\n${said}`}`
  }
}

/** The installed hypervisor has a version that vmtest does not support, or does not print its version. */
export class UnsuitableHypervisor extends Schema.TaggedError<UnsuitableHypervisor>()("UnsuitableHypervisor", {
  program: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.program}: ${this.reason}`
  }
}

/** A running machine could not be saved; it continues to run. `reason` is the hypervisor's own message where it has one. */
export class SaveFailed extends Schema.TaggedError<SaveFailed>()("SaveFailed", {
  machine: Schema.String,
  directory: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: could not save the machine to ${this.directory}: ${this.reason}`
  }
}

/**
 * A machine could not resume from a saved one, which is damaged, has another version or shape, or did not load in time.
 * `output` is the end of the hypervisor's output.
 */
export class LoadFailed extends Schema.TaggedError<LoadFailed>()("LoadFailed", {
  machine: Schema.String,
  directory: Schema.String,
  reason: Schema.String,
  output: Schema.String,
  /** Whether what was saved is wrong, or was refused by the hypervisor. False where the host can be the cause: nothing ran, or not in time. */
  damaged: Schema.Boolean,
  /** The request to the hypervisor that failed, such as `PUT /snapshot/load`; absent if it was not a request. */
  stage: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    const said = this.output.trim()
    return `${this.machine}: could not resume from ${this.directory}: ${this.reason}${said === "" ? "" : `\n${said}`}`
  }
}

/** A device could not be plugged in or taken out; `reason` is the hypervisor's own message where it has one. */
export class PlugFailed extends Schema.TaggedError<PlugFailed>()("PlugFailed", {
  machine: Schema.String,
  device: Schema.String,
  action: Schema.Literals(["plug in", "unplug"]),
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: could not ${this.action} ${this.device}: ${this.reason}`
  }
}

/** Why a backend could not start a machine. */
export type BackendError =
  | ToolMissing
  | SpawnFailed
  | UnsuitableHypervisor
  | InvalidShape
  | StartFailed
  | LoadFailed
  | Unsupported

/** How a request to a running hypervisor can fail. */
export type ControlError = Unsupported | QmpError | RestError | TransportError

/** How saving a running machine can fail. */
export type SaveError = Unsupported | SaveFailed

/** How opening the channel to a guest can fail. */
export type ChannelError = Unsupported | ShellNotReady | TransportError
