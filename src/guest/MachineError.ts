/**
 * The failures that any use of a machine can meet.
 *
 * Evidence is in string fields of the error itself; the message says the most important of it.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { lastLines, section } from "../host/Evidence.ts"

/** What a kernel says when it gives up; the trace that follows is long and says less. */
const lastWords = /Kernel panic - not syncing|Out of memory: Killed process/

/** The end of a console, from which the line that explains it is not cut off. */
const consoleSection = (console: string): string => {
  const lines = lastLines(console, Number.MAX_SAFE_INTEGER).split("\n")
  const at = lines.findLastIndex((line) => lastWords.test(line))
  const text = at === -1 || at >= lines.length - 10 ? console : [lines[at], "…", ...lines.slice(-8)].join("\n")
  return section("console", text)
}

/**
 * The machine ended, and the test had not asked for it: the hypervisor's process is gone, or the guest powered off.
 *
 * `exitCode` and `signal` are those of the hypervisor (`-1` when a signal ended it, `""` when none did); `hypervisor` is the last of what it said
 * itself, `console` the last lines of the guest's console, `doing` what the test was about when it happened.
 */
export class MachineDied extends Schema.TaggedError<MachineDied>()("MachineDied", {
  machine: Schema.String,
  exitCode: Schema.Number,
  signal: Schema.String,
  doing: Schema.String,
  /** `power-off` and `reset` by the guest, `host` by somebody on the host, `test` by `crash` or `restore`, or empty when the hypervisor did not say. */
  ended: Schema.Literals(["power-off", "reset", "host", "test", ""]),
  hypervisor: Schema.String,
  console: Schema.String
}) {
  /** How it ended, in a few words. */
  get summary(): string {
    if (this.ended === "test") return "the test ended it, by crash() or by restore(), which goes back to a snapshot"
    if (this.signal !== "") return `its hypervisor was ended by ${this.signal}`
    if (this.ended === "reset") return "the guest reset itself: a reboot without allowReboot, or a kernel panic"
    if (this.ended === "power-off") return "the guest powered off"
    return this.exitCode === 0 ? "its hypervisor ended" : `its hypervisor exited with ${this.exitCode}`
  }

  override get message() {
    const doing = this.doing === "" ? "" : ` while the test was ${this.doing}`
    const said = this.exitCode === 0 ? "" : section("hypervisor", this.hypervisor, 5)
    return `${this.machine} died${doing}: ${this.summary}${said}${consoleSection(this.console)}`
  }
}

/** The action needs a machine in another state; `state` is the one it is in. */
export class MachineNotRunning extends Schema.TaggedError<MachineNotRunning>()("MachineNotRunning", {
  machine: Schema.String,
  state: Schema.String,
  action: Schema.String
}) {
  override get message() {
    return `${this.machine} is ${this.state}: cannot ${this.action}; start() it first`
  }
}

/** The machine did not come up: the hypervisor did not start, or the guest did not answer in time. */
export class BootFailed extends Schema.TaggedError<BootFailed>()("BootFailed", {
  machine: Schema.String,
  reason: Schema.String,
  console: Schema.String
}) {
  override get message() {
    return `${this.machine} did not boot: ${this.reason}${consoleSection(this.console)}`
  }
}

/** What was awaited did not come true before the deadline; `lastSeen` says how things stood then. */
export class WaitTimeout extends Schema.TaggedError<WaitTimeout>()("WaitTimeout", {
  machine: Schema.String,
  awaited: Schema.String,
  waited: Schema.Duration,
  lastSeen: Schema.String,
  console: Schema.String
}) {
  override get message() {
    return `${this.machine}: waited ${Duration.format(this.waited)} for ${this.awaited}${section("last seen", this.lastSeen)}`
  }
}

/**
 * A value that makes no sense, refused before the guest was asked: a port of 70000, a unit name with a space.
 *
 * `method` is what it was given to; `machine` is empty where that is none of a machine's. `argument` names the part that is wrong, and `reason` is
 * a sentence that names it, and says what it must be and what it was. `value` is what it was, in words where it is neither a text nor a number.
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
