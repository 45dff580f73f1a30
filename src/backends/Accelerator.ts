/**
 * Whether guests run on this host's hardware virtualisation or under emulation, found by running one.
 *
 * It is not enough that `/dev/kvm` opens: on some hosts a virtual machine can be made, but its guest never runs, QEMU
 * aborts, or the host interprets each instruction of the guest's kernel, more slowly than QEMU emulates it. So the probe runs
 * a kernel that enters 64-bit mode, counts to ten million and tells QEMU to exit, and gives it five seconds. The result
 * is remembered until the host reboots or QEMU changes.
 *
 * `VMTEST_ACCEL` (`auto`, `kvm`, `tcg`) overrides it.
 *
 * **Example** (Finding QEMU and its accelerator)
 *
 * ```ts
 * import { Effect } from "effect"
 *
 * Effect.gen(function* () {
 *   const { accelerator, qemu } = yield* Accelerator.detect({ folder: "/var/cache/example" })
 *   yield* Effect.log(`QEMU ${qemu.version} on ${accelerator.name}: ${accelerator.reason}`)
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { HostProcessError } from "../host/HostProcess.ts"
import * as HostProcess from "../host/HostProcess.ts"
import { UnsuitableHypervisor } from "./BackendError.ts"
import * as probe from "./qemu/probe.ts"

/** Hardware virtualisation, or emulation in software. */
export type AcceleratorName = "kvm" | "tcg"

/** What was found, and why. */
export interface Accelerator {
  readonly name: AcceleratorName
  /** For people: `"/dev/kvm opens, but a guest does not run on it"`. */
  readonly reason: string
  /** `environment`: set by VMTEST_ACCEL. `remembered`: by an earlier probe since the host booted. `probed`: by a probe just now. */
  readonly source: "environment" | "remembered" | "probed"
}

/** A QEMU that is installed. */
export interface QemuProgram {
  readonly path: string
  /** For example `7.2.22`. */
  readonly version: string
}

/** What vmtest knows of this host's QEMU. */
export interface Findings {
  readonly qemu: QemuProgram
  readonly accelerator: Accelerator
}

/** VMTEST_ACCEL is not `auto`, `kvm` or `tcg`. */
export class InvalidAccelerator extends Schema.TaggedError<InvalidAccelerator>()("InvalidAccelerator", {
  value: Schema.String
}) {
  override get message() {
    return `VMTEST_ACCEL must be auto, kvm or tcg, got ${JSON.stringify(this.value)}`
  }
}

/**
 * The factor by which default deadlines are multiplied. A Debian guest boots in 10 s to 30 s
 * under emulation on two cores, the longer the busier they are, and in 2 s to 5 s on KVM.
 */
export const timeScale = (name: AcceleratorName): number => (name === "tcg" ? 3 : 1)

/** The oldest QEMU whose options and QMP commands are all used as they are today. */
const oldest = [6, 0] as const

const qemuName = "qemu-system-x86_64"

const wanted = Config.String("VMTEST_ACCEL").pipe(
  Config.withDefault("auto"),
  Effect.orDie,
  Effect.flatMap(
    (value): Effect.Effect<"auto" | AcceleratorName, InvalidAccelerator> =>
      value === "auto" || value === "kvm" || value === "tcg" ? Effect.succeed(value) : new InvalidAccelerator({ value })
  )
)

/**
 * Finds QEMU and the accelerator.
 *
 * **Details**
 *
 * `folder` is where the result is remembered; if it cannot be written, every run probes. `refresh` probes again even if a
 * result is remembered. A probe takes a tenth of a second, on a KVM that does not work up to five; a remembered result needs no process. A new probe is logged in one line.
 */
export const detect: (options: {
  readonly folder: string
  readonly refresh?: boolean | undefined
}) => Effect.Effect<Findings, HostProcessError | UnsuitableHypervisor | InvalidAccelerator> = Effect.fnUntraced(
  function* ({ folder, refresh }) {
    const found = (qemu: QemuProgram, accelerator: Accelerator): Findings => ({ qemu, accelerator })
    const setting = yield* wanted
    const path = yield* HostProcess.locate(qemuName)
    const key = yield* probe.keyOf(path)
    const known = refresh === true ? Option.none<probe.Memory>() : yield* probe.recall(folder, key)
    const version = Option.isSome(known) ? known.value.version : yield* versionOf(path)
    const qemu: QemuProgram = { path, version }
    if (setting !== "auto") {
      if (Option.isNone(known)) yield* probe.remember(folder, { key, version, verdict: undefined })
      return found(qemu, { name: setting, reason: `VMTEST_ACCEL=${setting}`, source: "environment" })
    }
    const cheap = yield* probe.lookAtKvm
    if (cheap !== undefined) {
      if (Option.isNone(known)) yield* probe.remember(folder, { key, version, verdict: undefined })
      return found(qemu, { name: "tcg", reason: cheap, source: "probed" })
    }
    if (Option.isSome(known) && known.value.verdict !== undefined) {
      return found(qemu, { ...known.value.verdict, source: "remembered" })
    }
    const verdict = yield* probe.runGuest(path)
    yield* probe.remember(folder, { key, version, verdict })
    yield* Effect.logInfo(
      verdict.name === "kvm"
        ? "guests run on KVM"
        : `guests run under emulation, several times slower: ${verdict.reason}`
    )
    return found(qemu, { ...verdict, source: "probed" })
  }
)

const versionOf = Effect.fnUntraced(function* (path: string) {
  const said = yield* HostProcess.run({ command: path, args: ["--version"] }).pipe(Effect.timeoutOption("10 seconds"))
  const output = Option.isSome(said) ? said.value.stdout + said.value.stderr : ""
  const version = /version (\d+)\.(\d+)(?:\.(\d+))?/.exec(output)
  const unsuitable = (reason: string) => new UnsuitableHypervisor({ program: path, reason })
  if (version === null) {
    return yield* unsuitable(`it did not print its version: ${output.split("\n")[0] || "no output within 10s"}`)
  }
  const [, major, minor, patch = "0"] = version
  if (Number(major) < oldest[0]) {
    return yield* unsuitable(`vmtest needs version ${oldest.join(".")} or newer, found ${major}.${minor}`)
  }
  return `${major}.${minor}.${patch}`
})
