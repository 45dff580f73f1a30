/** How cards come to a switch: a process for each, which holds the card's socket, or the programs of VDE that lead to it. */
import * as Path from "node:path"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as DynamicSupervisor from "../../actors/DynamicSupervisor.ts"
import type * as Pid from "../../actors/Pid.ts"
import * as Supervisor from "../../actors/Supervisor.ts"
import type { HostProcessError } from "../../host/HostProcess.ts"
import type { VlanFailed } from "../Vlan.ts"
import * as Cable from "./cable.ts"
import * as VdeAdapter from "./vdeAdapter.ts"
import type { VlanState } from "./vlanState.ts"

/** How long a card may take to listen. */
export const plugWithin = Duration.seconds(10)

/** What cards are plugged into. */
export interface Options {
  readonly state: VlanState
  /** The supervisor of what is plugged in. */
  readonly cables: Pid.Any
  readonly directory: string
  readonly failed: (reason: string, output?: string) => VlanFailed
  readonly lose: (error: VlanFailed) => Effect.Effect<unknown>
}

/** How cards are plugged in: a process for each, which holds its socket or its programs. */
export const make = ({ cables, directory, failed, lose, state }: Options) => {
  const adapters = new Map<string, Deferred.Deferred<string, HostProcessError | VlanFailed>>()
  const startCable = (id: string, body: Effect.Effect<unknown>, restart: Supervisor.Restart) =>
    Effect.orDie(DynamicSupervisor.startChild(cables, Supervisor.child(id, body, { restart })))

  const plugIn = Effect.fnUntraced(function* (name: string, path: string) {
    const connected = Deferred.makeUnsafe<void>()
    // It ends with its QEMU. After a crash of its own it connects again, if QEMU is still there.
    const cable = Effect.gen(function* () {
      const ends = yield* Effect.timeoutOption(Cable.toCard(path), plugWithin)
      if (Option.isNone(ends)) return
      yield* Deferred.succeed(connected, undefined)
      yield* Effect.catch(Cable.carry(state, name, ends.value), (reason) =>
        lose(failed(`${name} sent something else than frames: ${reason}`))
      )
    }).pipe(Effect.scoped)
    const { pid } = yield* startCable(name, cable, "transient")
    const end = pid === undefined ? Effect.void : Effect.ignore(DynamicSupervisor.terminateChild(cables, pid))
    yield* Effect.timeoutOrElse(Deferred.await(connected), {
      duration: plugWithin,
      orElse: () =>
        Effect.andThen(
          end,
          Effect.fail(failed(`could not connect to ${name} at ${path} within ${Duration.format(plugWithin)}`))
        )
    }).pipe(Effect.onInterrupt(() => end))
  })

  /** Starts an adapter once. */
  const vde = (name: string, folderName: string): Effect.Effect<string, HostProcessError | VlanFailed> =>
    Effect.suspend(() => {
      const known = adapters.get(name)
      if (known !== undefined) return Deferred.await(known)
      const started = Deferred.makeUnsafe<string, HostProcessError | VlanFailed>()
      adapters.set(name, started)
      const folder = Path.join(directory, `${folderName}.ctl`)
      const adapter = Effect.gen(function* () {
        const made = yield* VdeAdapter.make(state, name, folder).pipe(
          Effect.mapError((error) => (error._tag === "NotStarted" ? failed(error.reason, error.output) : error)),
          Effect.onExit((exit) => {
            // The next use may have more luck.
            if (Exit.isFailure(exit)) adapters.delete(name)
            return Deferred.done(
              started,
              Exit.map(exit, () => folder)
            )
          })
        )
        const { output, reason } = yield* made.run
        // One that is stopped on purpose is interrupted.
        yield* lose(failed(`${reason} while the test ran`, output))
      }).pipe(Effect.scoped, Effect.ignore)
      return Effect.andThen(startCable(`${name} (VDE)`, adapter, "temporary"), Deferred.await(started))
    })

  return { plugIn, vde }
}
