/** The parts of the accelerator probe: the guest that is run, and the memory of what came of it. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Disk from "../../host/Disk.ts"
import type { HostProcessError } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { probeKernel, qemuExitCode } from "../internal/probeKernel.ts"

const Verdict = Schema.Struct({ name: Schema.Literals(["kvm", "tcg"]), reason: Schema.String })
export type Verdict = typeof Verdict.Type

const Memory = Schema.Struct({
  /** Boot of the host, path, size and time of QEMU, and which probe it was: anything else is another host. */
  key: Schema.String,
  version: Schema.String,
  verdict: Schema.UndefinedOr(Verdict)
})
export type Memory = typeof Memory.Type

const MemoryJson = Schema.fromJsonString(
  Schema.Struct({ key: Schema.String, version: Schema.String, verdict: Schema.optionalKey(Verdict) })
)

/** Which probe this is; one that looks for more looks again. */
const revision = 2

/** What the memory is good for. */
export const keyOf = (path: string): Effect.Effect<string> =>
  Effect.try(() => {
    const { mtimeMs, size } = Fs.statSync(path)
    const boot = Fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()
    return `${boot} ${path} ${size} ${mtimeMs} ${revision}`
  }).pipe(Effect.orElseSucceed(() => ""))

const fileIn = (folder: string) => Path.join(folder, "accelerator.json")

/** What is remembered under the key; a memory that cannot be read is none. */
export const recall = (folder: string, key: string): Effect.Effect<Option.Option<Memory>> =>
  Effect.try(() => Fs.readFileSync(fileIn(folder), "utf8")).pipe(
    Effect.flatMap(Schema.decodeEffect(MemoryJson)),
    Effect.map(({ verdict, ...rest }) =>
      rest.key === key && key !== "" ? Option.some({ ...rest, verdict }) : Option.none()
    ),
    Effect.orElseSucceed(() => Option.none<Memory>())
  )

/** Written beside and renamed, so that a reader never sees half of it. A folder that cannot be written to does no harm. */
export const remember = (folder: string, memory: Memory): Effect.Effect<void> =>
  Effect.try(() => {
    const temporary = `${fileIn(folder)}.${process.pid}`
    if (!Fs.existsSync(folder)) Fs.mkdirSync(folder, { mode: 0o700 })
    Fs.writeFileSync(temporary, JSON.stringify(memory))
    Fs.renameSync(temporary, fileIn(folder))
  }).pipe(Effect.ignore)

/** Why there is no use in trying KVM, or undefined where there is. Too cheap to be remembered, and soon mended. */
export const lookAtKvm: Effect.Effect<string | undefined> = Effect.sync(() => {
  if (!Fs.existsSync("/dev/kvm")) return "/dev/kvm does not exist"
  const opened = Effect.runSyncExit(
    Effect.try({
      try: () => Fs.closeSync(Fs.openSync("/dev/kvm", "r+")),
      catch: (error) => error as NodeJS.ErrnoException
    })
  )
  if (opened._tag === "Success") return undefined
  const reason = opened.cause.reasons[0]
  const code = reason?._tag === "Fail" ? reason.error.code : undefined
  return code === "EACCES"
    ? "this user cannot open /dev/kvm; add the user to the group kvm"
    : `could not open /dev/kvm (${code ?? "unknown error"})`
})

const limit = Duration.seconds(5)

/** A kernel's name within the folder that QEMU works in: the folder's own name may have a comma, which would end the option. */
const kernelName = "kernel"

/** A folder with the probe's kernel. */
const kernelFolder = Effect.acquireRelease(
  Disk.attempt(
    () => {
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-probe-"))
      Fs.writeFileSync(Path.join(folder, kernelName), probeKernel("qemu"))
      return folder
    },
    (reason) => reason
  ),
  (folder) => Disk.quietly(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

const verdict = (name: Verdict["name"], reason: string): Verdict => ({ name, reason })
const emulated = (reason: string) => verdict("tcg", reason)

/** QEMU's words where KVM gives a guest up. QEMU itself goes on, with the guest stopped. */
const gaveUp = /^KVM internal error.*\n(?:extra data.*\n)*(.*)\n/m

/** Runs the kernel on KVM, on the processor that machines get; never longer than the limit and a kill. */
export const runGuest: (program: string) => Effect.Effect<Verdict, HostProcessError> = Effect.fnUntraced(function* (
  program
) {
  const folder = yield* Effect.result(kernelFolder)
  if (folder._tag === "Failure") return emulated(`could not write the probe: ${folder.failure}`)
  const process = yield* HostProcess.spawn({
    name: "accelerator probe",
    command: program,
    args: [
      ...["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"],
      ...["-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "64M"],
      ...["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", kernelName]
    ],
    cwd: folder.success,
    stderr: "pipe",
    grace: 0
  })
  let said = ""
  const stopped = process.stderr.pipe(
    Stream.decodeText(),
    Stream.map((text) => {
      said += text
      return gaveUp.exec(said)?.[1]
    }),
    Stream.filter((reason) => reason !== undefined),
    Stream.runHead,
    Effect.orElseSucceed(() => Option.none<string>())
  )
  const watched = yield* Effect.timeoutOption(stopped, limit)
  if (Option.isNone(watched)) {
    return emulated(`/dev/kvm opens, but a guest did not come to its end on it within ${Duration.format(limit)}`)
  }
  if (Option.isSome(watched.value)) return emulated(`/dev/kvm opens, but KVM gave a guest up: ${watched.value.value}`)
  const status = yield* process.exited
  if (status.exitCode === qemuExitCode) return verdict("kvm", "a guest ran on /dev/kvm")
  const line = said.trim().split("\n")[0] ?? ""
  return emulated(`/dev/kvm opens, but QEMU ended with ${HostProcess.describeStatus(status)}: ${line}`)
}, Effect.scoped)
