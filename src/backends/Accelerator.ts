/**
 * Whether guests run on this host's hardware virtualisation or under emulation, found by running one.
 *
 * That `/dev/kvm` opens says little: there are hosts where a virtual machine can be made and its guest never gets
 * anywhere, or QEMU aborts. So the probe runs 512 bytes in the place of a guest that tell QEMU to exit, and gives them two seconds. What came of
 * it is remembered until the host boots again or QEMU changes.
 *
 * `VMTEST_ACCEL` (`auto`, `kvm`, `tcg`) overrules it.
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
  /** For people: `"/dev/kvm opens but a guest never ran"`. */
  readonly reason: string
  /** `environment`: VMTEST_ACCEL said so. `remembered`: a probe since the host booted. `probed`: just now. */
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

/** VMTEST_ACCEL says something else than `auto`, `kvm` or `tcg`. */
export class InvalidAccelerator extends Schema.TaggedError<InvalidAccelerator>()("InvalidAccelerator", {
  value: Schema.String
}) {
  override get message() {
    return `VMTEST_ACCEL is ${JSON.stringify(this.value)}; it can be auto, kvm or tcg`
  }
}

/**
 * By what factor deadlines that suit hardware virtualisation have to be stretched. A Debian guest boots in 10 s to 30 s
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
 * `folder` is where findings are remembered; one that cannot be written only means that every run probes. `refresh` probes
 * again whatever is remembered. Takes about 3 s at most, and no process at all when everything is remembered. A fresh probe is
 * logged in one line.
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
      verdict.name === "kvm" ? "guests run on KVM" : `guests run emulated, several times slower: ${verdict.reason}`
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
    return yield* unsuitable(`does not say its version: ${output.split("\n")[0] || "it said nothing within 10 s"}`)
  }
  const [, major, minor, patch = "0"] = version
  if (Number(major) < oldest[0]) {
    return yield* unsuitable(`is version ${major}.${minor}; vmtest needs ${oldest.join(".")} or newer`)
  }
  return `${major}.${minor}.${patch}`
})
