/** The parts of the accelerator probe: the guest that is run, and the memory of what came of it. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { HostProcessError } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"

const Verdict = Schema.Struct({ name: Schema.Literals(["kvm", "tcg"]), reason: Schema.String })
export type Verdict = typeof Verdict.Type

const Memory = Schema.Struct({
  /** Boot of the host, path, size and time of QEMU: anything else is another host. */
  key: Schema.String,
  version: Schema.String,
  verdict: Schema.UndefinedOr(Verdict)
})
export type Memory = typeof Memory.Type

const MemoryJson = Schema.fromJsonString(
  Schema.Struct({ key: Schema.String, version: Schema.String, verdict: Schema.optionalKey(Verdict) })
)

/** What the memory is good for. */
export const keyOf = (path: string): Effect.Effect<string> =>
  Effect.try(() => {
    const { mtimeMs, size } = Fs.statSync(path)
    const boot = Fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()
    return `${boot} ${path} ${size} ${mtimeMs}`
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

/**
 * An option ROM of 512 bytes, which the firmware runs on its way to a boot device: `cli; mov al, 0x10; out 0xf4, al; hlt;
 * jmp $`. A byte n written to QEMU's isa-debug-exit ends QEMU with exit code 2n + 1. All bytes must add up to 0.
 */
export const optionRom = (): Buffer => {
  const rom = Buffer.alloc(512)
  rom.set([0x55, 0xaa, rom.length / 512, 0xfa, 0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfe])
  rom[511] = 256 - (rom.reduce((sum, byte) => sum + byte, 0) % 256)
  return rom
}
const ranExitCode = 2 * 0x10 + 1

const limit = "2 seconds"

/** QEMU looks for it in its working folder first, whose name may have a comma that would end the option. */
const romName = "rom"

/** A folder with the ROM. */
const romFolder = Effect.acquireRelease(
  Effect.try({
    try: () => {
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-probe-"))
      Fs.writeFileSync(Path.join(folder, romName), optionRom())
      return folder
    },
    catch: String
  }),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

const verdict = (name: Verdict["name"], reason: string): Verdict => ({ name, reason })
const emulated = (reason: string) => verdict("tcg", reason)

/** Runs the ROM on KVM, on the processor that machines get; never longer than two seconds and a kill. */
export const runGuest: (program: string) => Effect.Effect<Verdict, HostProcessError> = Effect.fnUntraced(function* (
  program
) {
  const rom = yield* Effect.result(romFolder)
  if (rom._tag === "Failure") return emulated(`could not write the probe: ${rom.failure}`)
  const probe = HostProcess.run({
    name: "accelerator probe",
    command: program,
    args: [
      ...["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"],
      ...["-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "16M"],
      ...["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-option-rom", romName]
    ],
    cwd: rom.success,
    grace: 0
  })
  const ended = Option.getOrUndefined(yield* Effect.timeoutOption(probe, limit))
  if (ended === undefined) return emulated("/dev/kvm opens, but a guest does not run on it")
  if (ended.exitCode === ranExitCode) return verdict("kvm", "a guest ran on /dev/kvm")
  const said = ended.stderr.trim().split("\n")[0] ?? ""
  return emulated(`/dev/kvm opens, but QEMU ended with ${HostProcess.describeStatus(ended)}: ${said}`)
}, Effect.scoped)
