/** The emulator of a machine's TPM: `swtpm`, a process beside QEMU that ends with it. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as HostProcess from "../../host/HostProcess.ts"
import type { MachineShape } from "../Backend.ts"
import { typeOf } from "../Device.ts"

/** The program, in the Debian package of the same name. */
export const program = "swtpm"

/** Where the TPM keeps its keys and counters, which outlive the machine's reboots and crashes. */
export const stateIn = (directory: string): string => Path.join(directory, "tpm-state")

/** Whether the machine has a TPM. */
export const has = ({ devices = [] }: MachineShape): boolean => devices.some(({ kind }) => typeOf(kind) === "tpm")

/** How its socket is waited for: it listens within some milliseconds. */
export const listenSchedule = Schedule.spaced("5 millis").pipe(Schedule.upTo({ duration: "10 seconds" }))

/** Forgets what the TPM keeps: a saved machine brings its own. */
export const forget = ({ directory }: MachineShape): Effect.Effect<void> =>
  Effect.sync(() => Fs.rmSync(stateIn(directory), { recursive: true, force: true }))

/** Starts it, if the machine has one, until the scope closes. Fails with the reason, or with `ToolMissing`. */
export const start = (
  shape: MachineShape,
  socket: string
): Effect.Effect<void, string | HostProcess.HostProcessError, Scope.Scope> =>
  Effect.gen(function* () {
    if (!has(shape)) return
    const state = stateIn(shape.directory)
    yield* Effect.try({
      try: () => Fs.mkdirSync(state, { recursive: true, mode: 0o700 }),
      catch: (error) =>
        `could not make the folder of its TPM: ${error instanceof Error ? error.message : String(error)}`
    })
    const log = Path.join(shape.directory, "tpm.log")
    yield* HostProcess.spawn({
      name: `${shape.name}'s swtpm`,
      command: program,
      args: ["socket", "--tpm2", "--tpmstate", `dir=${state},mode=0600`, "--ctrl", `type=unixio,path=${socket}`],
      cwd: shape.directory,
      stdout: { file: log },
      stderr: { file: log },
      grace: 0
    })
    yield* Effect.suspend(() =>
      Fs.existsSync(socket) ? Effect.void : Effect.fail(`its TPM did not start: see ${log}`)
    ).pipe(Effect.retry({ schedule: listenSchedule }))
  })
