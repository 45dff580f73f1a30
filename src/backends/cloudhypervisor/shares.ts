/** Folders of the host that a guest mounts: a virtiofsd for each, beside the hypervisor. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Disk from "../../host/Disk.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import type { MachineShape } from "../Backend.ts"
import * as Environment from "../Environment.ts"
import type { Companion } from "../internal/companion.ts"

/** A folder of the host that a guest mounts by its tag. */
export interface Share {
  readonly tag: string
  readonly folder: string
  /** The name of virtiofsd's socket in the machine's folder. */
  readonly socket: string
  /** The name of its log there. */
  readonly log: string
}

/** The folders of a machine, in the order of their declaration. */
export const of = ({ hypervisor }: Pick<MachineShape, "hypervisor">): ReadonlyArray<Share> =>
  Object.entries(hypervisor?.shares ?? {}).map(([tag, folder], index) => ({
    ...{ tag, folder, socket: `share${index + 1}.sock`, log: `virtiofsd${index + 1}.log` }
  }))

const listens = Schedule.spaced("5 millis").pipe(Schedule.upTo({ duration: "10 seconds" }))

/** That of QEMU, which came before the one in Rust and has other options, has QEMU's version. */
const argumentsOf = (version: string, { folder, socket }: Share): ReadonlyArray<string> =>
  /^virtiofsd version/.test(version)
    ? ["-f", `--socket-path=${socket}`, "-o", `source=${folder}`]
    : [`--socket-path=${socket}`, `--shared-dir=${folder}`]

/** Serves the folders of a machine until the scope closes, each by a program. Fails with the reason, and with what virtiofsd printed. */
export const serve = (
  shape: MachineShape
): Effect.Effect<ReadonlyArray<Companion>, { readonly reason: string; readonly output: string }, Scope.Scope> =>
  Effect.gen(function* () {
    const shares = of(shape)
    if (shares.length === 0) return []
    const failed = (reason: string, output = "") => ({ reason, output })
    const program = yield* Effect.firstSuccessOf(Environment.virtiofsd.map((place) => HostProcess.locate(place))).pipe(
      Effect.mapError(() => failed("virtiofsd, which serves its folders, is not installed: apt-get install virtiofsd"))
    )
    const asked = yield* Effect.mapError(HostProcess.run({ command: program, args: ["--version"] }), ({ message }) =>
      failed(message)
    )
    const serving = Effect.fnUntraced(function* (share: Share) {
      const within = (name: string) => Path.join(shape.directory, name)
      const said = () => Disk.readText(within(share.log))?.slice(-4000).trim() ?? ""
      yield* Disk.quietly(() => Fs.rmSync(within(share.socket), { force: true }))
      const { exited } = yield* HostProcess.spawn({
        name: `${shape.name}'s virtiofsd`,
        command: program,
        args: argumentsOf(asked.stdout, share),
        cwd: shape.directory,
        stdout: { file: within(share.log) },
        stderr: { file: within(share.log) },
        grace: 0
      }).pipe(Effect.mapError(({ message }) => failed(message)))
      yield* Effect.suspend(() => (Fs.existsSync(within(share.socket)) ? Effect.void : Effect.fail("not yet"))).pipe(
        Effect.retry({ schedule: listens }),
        Effect.mapError(() => failed(`virtiofsd did not listen for the share ${share.tag} in time`, said())),
        Effect.raceFirst(
          Effect.flatMap(exited, (status) =>
            Effect.fail(
              failed(`virtiofsd of the share ${share.tag} ended with ${HostProcess.describeStatus(status)}`, said())
            )
          )
        )
      )
      const companion: Companion = { name: `virtiofsd of the share ${share.tag}`, exited, said: Effect.sync(said) }
      return companion
    })
    return yield* Effect.forEach(shares, serving)
  })
