/**
 * What can go wrong between a machine's declaration and its running hypervisor.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { SpawnFailed, ToolMissing } from "../host/HostProcess.ts"
import type { QmpError } from "../transport/qmp/Qmp.ts"
import type { ShellNotReady, TransportError } from "../transport/ShellError.ts"
import type { Capability } from "./Backend.ts"

/** The backend cannot do this at all; the caller decides what to do instead. */
export class Unsupported extends Schema.TaggedError<Unsupported>()("Unsupported", {
  backend: Schema.String,
  capability: Schema.String
}) {
  override get message() {
    return `the ${this.backend} backend has no ${this.capability}`
  }
}

/** Makes an `Unsupported`, its capability checked by the compiler. */
export const unsupported = (backend: string, capability: Capability): Unsupported =>
  new Unsupported({ backend, capability })

/** A machine of this shape cannot be: `field` is the offending part of the `MachineShape`. Nothing was started. */
export class InvalidShape extends Schema.TaggedError<InvalidShape>()("InvalidShape", {
  machine: Schema.String,
  field: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: ${this.field} ${this.reason}`
  }
}

/** The hypervisor ended, or did not answer, before the machine was up; `output` is what it said last. */
export class StartFailed extends Schema.TaggedError<StartFailed>()("StartFailed", {
  machine: Schema.String,
  backend: Schema.String,
  reason: Schema.String,
  output: Schema.String
}) {
  override get message() {
    const said = this.output.trim()
    return `${this.machine}: ${this.backend} did not start: ${this.reason}${said === "" ? "" : `\n${said}`}`
  }
}

/** The installed hypervisor is of a version that vmtest cannot drive, or says none. */
export class UnsuitableHypervisor extends Schema.TaggedError<UnsuitableHypervisor>()("UnsuitableHypervisor", {
  program: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.program}: ${this.reason}`
  }
}

/** A running machine could not be saved; it runs on. `reason` has the hypervisor's own words where it had some. */
export class SaveFailed extends Schema.TaggedError<SaveFailed>()("SaveFailed", {
  machine: Schema.String,
  directory: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine} could not be saved to ${this.directory}: ${this.reason}`
  }
}

/**
 * A machine cannot go on from a saved one: it is damaged, of another version or shape, or did not load in time. `output` is
 * what the hypervisor said last.
 */
export class LoadFailed extends Schema.TaggedError<LoadFailed>()("LoadFailed", {
  machine: Schema.String,
  directory: Schema.String,
  reason: Schema.String,
  output: Schema.String
}) {
  override get message() {
    const said = this.output.trim()
    return `${this.machine} cannot go on from ${this.directory}: ${this.reason}${said === "" ? "" : `\n${said}`}`
  }
}

/** Everything that can keep a backend from starting a machine. */
export type BackendError =
  | ToolMissing
  | SpawnFailed
  | UnsuitableHypervisor
  | InvalidShape
  | StartFailed
  | LoadFailed
  | Unsupported

/** What asking something of a running hypervisor can fail with. */
export type ControlError = Unsupported | QmpError | TransportError

/** What saving a running machine can fail with. */
export type SaveError = Unsupported | SaveFailed

/** What opening the channel to a guest can fail with. */
export type ChannelError = Unsupported | ShellNotReady | TransportError
