/**
 * A runner of microvm.nix: looked at, and run by whoever starts the machine.
 *
 * A runner takes no arguments; its last command is QEMU. So a shell runs its text with the words of vmtest put after that command. What it brings
 * along is read from its text, too. Source: microvm.nix, `lib/runner.nix` and `lib/runners/qemu.nix`.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import * as Disk from "../../host/Disk.ts"
import { quote } from "../../host/Quote.ts"
import type { BootImage, StartScript } from "../BootImage.ts"
import type { MicrovmImage } from "../Image.ts"
import { describe } from "../Image.ts"
import { BadImage, NoBackend } from "../ImageError.ts"
import { checkDescription } from "./checked.ts"
import { describe as describeVmm, isDescribed } from "./microvmVmm.ts"
import { defaultTimeout } from "./startScript.ts"

const programName = "microvm-run"

/** The programs that runners of other hypervisors start; only older runners do not say in a file which one it is. */
const others = /\/bin\/(alioth|cloud-hypervisor|crosvm|firecracker|lkvm|stratovirt|vfkit)\b/

/** Whether a script ends with QEMU, so that words after its text are QEMU's: no later line begins another command, or is left blank. */
const endsWithQemu = (text: string): boolean => {
  const [last = ""] = /^[ \t]*exec\s(?![\s\S]*^[ \t]*exec\s)[\s\S]*$/m.exec(text) ?? []
  return /\bqemu-system-\w+\b/.test(last) && !/\n[ \t]+\n*$/.test(last)
}

interface Runner {
  readonly program: string
  readonly text: string
  /** As its file says, or its text. */
  readonly hypervisor: string
}

/** The program of a runner: that in its folder, or the one that is named itself. */
export const programOf = (path: string): string => {
  const isFolder = Fs.statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
  return isFolder ? Path.join(path, "bin", programName) : path
}

/** The hypervisor that its file names, or else that its text starts. */
export const hypervisorIn = (program: string, text: string): string => {
  const named = Disk.readText(Path.join(Path.dirname(program), "..", "share", "microvm", "hypervisor"))?.trim()
  return named === undefined || named === "" ? (others.exec(text)?.[1] ?? "qemu") : named
}

/** Fails with what is wrong with it. */
const runnerAt = (path: string): Effect.Effect<Runner, string> => {
  const program = programOf(path)
  if (!Fs.existsSync(program)) {
    return Effect.fail(
      program === path
        ? `must be a runner of microvm.nix, but ${path} does not exist`
        : `must be a runner of microvm.nix, but ${path} has no bin/${programName}; build config.microvm.declaredRunner`
    )
  }
  return Effect.map(
    Effect.try({
      try: () => Fs.readFileSync(program, "utf8"),
      catch: (error) => `must be a runner of microvm.nix, but ${program} could not be read: ${Disk.reasonOf(error)}`
    }),
    (text) => ({ program, text, hypervisor: hypervisorIn(program, text) })
  )
}

/** The shell that the script names: a bash of Nix. */
const shellOf = (text: string): string => /^#!\s*(\S+\/(?:bash|sh))\s/.exec(text)?.[1] ?? "bash"

/** The command that runs it; what is put after it comes after QEMU's own arguments. */
const commandOf = ({ program, text }: Runner): string =>
  `exec ${quote(shellOf(text))} -c "$(cat ${quote(program)})"' "$@"' ${quote(program)}`

/** The machine of a runner, for vmtest's own backend. Its guest is as unknown as that of a disk. */
const bootDescribed = (
  image: MicrovmImage,
  { program, text }: Runner,
  hypervisor: Parameters<typeof describeVmm>[0]
): Effect.Effect<BootImage, BadImage> =>
  describeVmm(hypervisor, text).pipe(
    Effect.mapError(
      (reason) => new BadImage({ image: describe(image), field: "runner", reason: `runner ${program} ${reason}` })
    ),
    Effect.map(({ text: configuration, ...machine }) => ({
      ...machine,
      digest: Digest.ofValue({ text, configuration }),
      guest: "disk" as const,
      builtAt: Math.round(Fs.statSync(program).mtimeMs)
    }))
  )

/** What to start. Fails with `BadImage` for what is not a runner, and `NoBackend` for one of another hypervisor. */
export const bootMicrovm = Effect.fnUntraced(function* (image: MicrovmImage) {
  yield* checkDescription(image)
  const runner = yield* runnerAt(Path.resolve(image.runner)).pipe(
    Effect.mapError((reason) => new BadImage({ image: describe(image), field: "runner", reason: `runner ${reason}` }))
  )
  const { hypervisor, program, text } = runner
  if (isDescribed(hypervisor)) return yield* bootDescribed(image, runner, hypervisor)
  if (hypervisor !== "qemu") return yield* new NoBackend({ what: `image ${describe(image)}`, hypervisor })
  if (!endsWithQemu(text)) {
    const reason = `runner must be a runner of microvm.nix, but ${program} does not end with the command that starts QEMU`
    return yield* new BadImage({ image: describe(image), field: "runner", reason })
  }
  const startScript: StartScript = {
    command: commandOf(runner),
    takes: "arguments",
    env: image.env ?? {},
    ports: image.ports ?? true,
    graphic: image.graphic ?? false,
    accelerated: false,
    timeout: Duration.toMillis(Duration.fromInputUnsafe(image.timeout ?? defaultTimeout)),
    container: false,
    runner: {
      bus: /\bvirtio-rng-device\b/.test(text) ? "device" : "pci",
      serial: /-serial'?\s+'?chardev:stdio\b/.test(text),
      hostCpu: /-cpu'?\s+'?host\b/.test(text)
    }
  }
  const boot: BootImage = {
    digest: Digest.ofValue({ text, startScript }),
    ...{ kernel: "", initrd: "", cmdline: "", root: undefined, startScript },
    guest: "script",
    builtAt: Math.round(Fs.statSync(program).mtimeMs)
  }
  return boot
})
