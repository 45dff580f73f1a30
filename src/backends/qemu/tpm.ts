/** The emulator of a machine's TPM: `swtpm`, a process beside QEMU that ends with it. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Disk from "../../host/Disk.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import type { MachineShape } from "../Backend.ts"
import { typeOf } from "../Device.ts"
import type { Companion } from "../internal/companion.ts"

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

/** Why it did not start, and the end of what it printed. */
export interface TpmFailed {
  readonly _tag: "TpmFailed"
  readonly reason: string
  readonly output: string
}

const tpmFailed = (reason: string, output = ""): TpmFailed => ({ _tag: "TpmFailed", reason, output })

/** Starts it, if the machine has one, until the scope closes. Gives what answers when it has ended. */
export const start = (
  shape: MachineShape,
  socket: string
): Effect.Effect<Companion | undefined, TpmFailed | HostProcess.HostProcessError, Scope.Scope> =>
  Effect.gen(function* () {
    if (!has(shape)) return undefined
    const state = stateIn(shape.directory)
    yield* Disk.attempt(
      () => Fs.mkdirSync(state, { recursive: true, mode: 0o700 }),
      (reason) => tpmFailed(`could not make the folder of its TPM: ${reason}`)
    )
    const log = Path.join(shape.directory, "tpm.log")
    const said = Effect.sync(() => (Disk.readText(log) ?? "").slice(-4000).trim())
    const failed = (reason: string) => Effect.flatMap(said, (output) => Effect.fail(tpmFailed(reason, output)))
    // A socket that an earlier one left is not what is waited for.
    yield* Disk.quietly(() => Fs.rmSync(socket, { force: true }))
    const inside = (path: string) => Path.relative(shape.directory, path)
    const { exited } = yield* HostProcess.spawn({
      name: `${shape.name}'s swtpm`,
      command: program,
      // Relative to `cwd`: swtpm ends a value at a comma, which a folder's name can have.
      args: [
        ...["socket", "--tpm2", "--tpmstate", `dir=${inside(state)},mode=0600`],
        ...["--ctrl", `type=unixio,path=${inside(socket)}`]
      ],
      cwd: shape.directory,
      stdout: { file: log },
      stderr: { file: log },
      grace: 0
    })
    yield* Effect.suspend(() =>
      Fs.existsSync(socket) ? Effect.void : Effect.fail("its TPM did not listen in time")
    ).pipe(
      Effect.retry({ schedule: listenSchedule }),
      Effect.catch(failed),
      Effect.raceFirst(
        Effect.flatMap(exited, (status) =>
          failed(`its TPM's ${program} ended with ${HostProcess.describeStatus(status)}`)
        )
      )
    )
    return { name: `its TPM's ${program}`, exited, said }
  })
