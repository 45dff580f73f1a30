/**
 * The errors that any use of a machine can fail with.
 *
 * Evidence is in string fields of the error; the message has the most important part of it.
 *
 * **Example** (A machine that may die)
 *
 * ```ts
 * yield* web.succeed("echo c > /proc/sysrq-trigger").pipe(
 *   Effect.catchTag("MachineDied", ({ console }) => driver.log(`as expected:\n${console}`))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { lastLines, panicIn, section } from "../host/Evidence.ts"

/** A kernel's last message; the trace that follows is long and says less. */
const lastWords = /Kernel panic - not syncing|Out of memory: Killed process/

/** That a kernel panicked, in a few words; `reason` is what it said itself. */
export const panicked = (reason: string | undefined): string =>
  `its kernel panicked${reason === undefined || reason === "" ? "" : `: ${reason}`}`

/** The end of a console, always with the line that explains it. */
const consoleSection = (console: string): string => {
  const lines = lastLines(console, Number.MAX_SAFE_INTEGER).split("\n")
  const at = lines.findLastIndex((line) => lastWords.test(line))
  const text = at === -1 || at >= lines.length - 10 ? console : [lines[at], "…", ...lines.slice(-8)].join("\n")
  return section("console", text)
}

/**
 * The machine ended without being asked to: the hypervisor's process is gone, or the guest powered off.
 *
 * `exitCode` and `signal` are the hypervisor's (`-1` if a signal ended it, `""` if none did). `hypervisor` is the end of its own output,
 * `console` the last lines of the guest's console, and `doing` what the test was doing.
 */
export class MachineDied extends Schema.TaggedError<MachineDied>()("MachineDied", {
  machine: Schema.String,
  exitCode: Schema.Number,
  signal: Schema.String,
  doing: Schema.String,
  /**
   * Who ended it: the guest (`power-off`, `reset`, or `panic` of its kernel), somebody on the host, the test with `crash` or `restore`; empty if
   * the hypervisor did not say.
   */
  ended: Schema.Literals(["power-off", "reset", "panic", "host", "test", ""]),
  hypervisor: Schema.String,
  console: Schema.String,
  /** Why vmtest itself ended it: a program beside the hypervisor that the machine cannot do without, such as that of its TPM, has ended. */
  because: Schema.optionalKey(Schema.String)
}) {
  /** How it ended, in a few words. */
  get summary(): string {
    if (this.because !== undefined) return this.because
    if (this.ended === "test") return "the test ended it, with crash() or restore() or by its own end"
    // Some hypervisors do not end by themselves then, and are killed.
    if (this.ended === "panic") return panicked(panicIn(this.console))
    if (this.ended === "reset") return "the guest reset itself; declare it with allowReboot: true if it may reboot"
    if (this.signal !== "") return `its hypervisor was killed by ${this.signal}`
    if (this.ended === "power-off") return "the guest powered off"
    return this.exitCode === 0 ? "its hypervisor ended" : `its hypervisor exited with ${this.exitCode}`
  }

  override get message() {
    const doing = this.doing === "" ? "" : ` while the test was ${this.doing}`
    const said = this.exitCode === 0 ? "" : section("hypervisor", this.hypervisor, 5)
    return `${this.machine} died${doing}: ${this.summary}${said}${consoleSection(this.console)}`
  }
}

/** The action needs the machine in another state than `state`. */
export class MachineNotRunning extends Schema.TaggedError<MachineNotRunning>()("MachineNotRunning", {
  machine: Schema.String,
  state: Schema.String,
  action: Schema.String
}) {
  override get message() {
    return `${this.machine}: could not ${this.action}: the machine is ${this.state}; call start() first`
  }
}

/** The machine did not boot: the hypervisor did not start, or the guest did not answer in time. */
export class BootFailed extends Schema.TaggedError<BootFailed>()("BootFailed", {
  machine: Schema.String,
  reason: Schema.String,
  console: Schema.String,
  /** The request to the hypervisor that failed, such as `PUT /boot-source`; absent where it was none, and on QEMU. */
  stage: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    return `${this.machine} did not boot: ${this.reason}${consoleSection(this.console)}`
  }
}

/** What was awaited did not happen before the deadline; `lastSeen` is the state at that time. */
export class WaitTimeout extends Schema.TaggedError<WaitTimeout>()("WaitTimeout", {
  machine: Schema.String,
  awaited: Schema.String,
  waited: Schema.Duration,
  lastSeen: Schema.String,
  console: Schema.String
}) {
  override get message() {
    const seen = this.lastSeen.trim()
    const lastSeen = seen === "" || /\n/.test(seen) ? section("last seen", seen) : `; last seen: ${seen}`
    return `${this.machine}: waited ${Duration.format(this.waited)} for ${this.awaited}${lastSeen}`
  }
}

/**
 * An argument that makes no sense, such as port 70000 or a unit name with a space. It is refused before the guest is used.
 *
 * `method` is the method that it was given to; `machine` is empty if that is not a machine's. `argument` names the wrong part, and `reason` is a
 * sentence that says what it must be and what it was. `value` is the value, or a description if it is neither a string nor a number.
 */
export class InvalidArgument extends Schema.TaggedError<InvalidArgument>()("InvalidArgument", {
  machine: Schema.String,
  method: Schema.String,
  argument: Schema.String,
  value: Schema.Union([Schema.String, Schema.Number]),
  reason: Schema.String
}) {
  override get message() {
    const where = [this.machine, this.method].filter((name) => name !== "").join(".")
    return where === "" ? this.reason : `${where}: ${this.reason}`
  }
}
