/** Whether a hypervisor runs a guest on this host, found out by running one of a few instructions. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Disk from "../../host/Disk.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { probeKernel } from "./probeKernel.ts"

const mebibytes = 64

/** The arguments of a hypervisor that runs the kernel in its working folder. */
const argumentsOf = {
  firecracker: ["--no-api", "--config-file", "machine.json"],
  "cloud-hypervisor": [
    ...["--kernel", "kernel", "--cpus", "boot=1", "--memory", `size=${mebibytes}M`],
    ...["--console", "off", "--serial", "null"]
  ]
} as const

const machine = {
  "boot-source": { kernel_image_path: "kernel", boot_args: "" },
  "machine-config": { vcpu_count: 1, mem_size_mib: mebibytes },
  drives: []
}

const limit = Duration.seconds(5)

/** Why no guest ran; undefined for one that did. */
export const run = (
  hypervisor: keyof typeof argumentsOf,
  program: string,
  timeScale: number
): Effect.Effect<string | undefined> =>
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Disk.attempt(
        () => {
          const made = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-probe-"))
          Fs.writeFileSync(Path.join(made, "kernel"), probeKernel(hypervisor))
          Fs.writeFileSync(Path.join(made, "machine.json"), JSON.stringify(machine))
          return made
        },
        (reason) => `could not write the probe: ${reason}`
      ),
      (made) => Disk.quietly(() => Fs.rmSync(made, { recursive: true, force: true }))
    )
    const probing = HostProcess.run({
      ...{ name: `${hypervisor} probe`, command: program, args: argumentsOf[hypervisor], cwd: folder, grace: 0 }
    })
    const within = Duration.times(limit, timeScale)
    const ended = Option.getOrUndefined(
      yield* Effect.mapError(Effect.timeoutOption(probing, within), ({ message }) => message)
    )
    if (ended === undefined) return `its probe guest did not end within ${Duration.format(within)}`
    if (ended.exitCode === 0) return undefined
    const said = `${ended.stderr}${ended.stdout}`.trim().split("\n").at(-1) ?? ""
    return `its probe guest ended with ${HostProcess.describeStatus(ended)}: ${said}`
  }).pipe(
    Effect.catch((reason) => Effect.succeed(reason)),
    Effect.scoped
  )
