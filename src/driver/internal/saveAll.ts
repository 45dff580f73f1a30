/** Saving the machines of a test as they are at one point in time. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Hypervisor, SavedMachine } from "../../backends/Backend.ts"
import type { Handle } from "../../machine/MachineTree.ts"
import { ForkFailed } from "../ForkFailed.ts"

/** The machines that ran, by name. */
export type Saved = ReadonlyMap<string, SavedMachine>

interface Running {
  readonly handle: Handle
  readonly hypervisor: Hypervisor
}

const isPaused = ({ machine }: Handle) =>
  Effect.map(Stream.runHead(machine.state), (state) => Option.isSome(state) && state.value === "paused")

/**
 * Saves every machine that runs into a folder of its own in `folder`, `place(name)`: all stand still, all are saved, all go on. A machine
 * that boots is waited for; one that the test has paused stays paused.
 */
export const saveAll = Effect.fnUntraced(function* (handles: Iterable<Handle>, place: (machine: string) => string) {
  const found = yield* Effect.forEach(
    handles,
    (handle) => Effect.map(handle.hypervisor, (hypervisor) => ({ handle, hypervisor })),
    { concurrency: "unbounded" }
  )
  const running = found.filter((one): one is Running => one.hypervisor !== undefined)
  const failed = ({ handle }: Running, { message }: { readonly message: string }) =>
    new ForkFailed({ machine: handle.spec.name, reason: message })
  const stop = (one: Running) =>
    Effect.gen(function* () {
      if (yield* isPaused(one.handle)) return
      yield* Effect.acquireRelease(one.hypervisor.pause, () => Effect.ignore(one.hypervisor.resume))
    }).pipe(Effect.mapError((error) => failed(one, error)))
  const save = Effect.fnUntraced(function* (one: Running) {
    const { name } = one.handle.spec
    const directory = place(name)
    yield* Effect.try({
      try: () => Fs.mkdirSync(directory, { recursive: true, mode: 0o700 }),
      catch: (error) => failed(one, error instanceof Error ? error : new Error(String(error)))
    })
    return [
      name,
      yield* Effect.mapError(one.hypervisor.save(Path.resolve(directory)), (error) => failed(one, error))
    ] as const
  })
  return yield* Effect.forEach(running, stop, { concurrency: "unbounded", discard: true }).pipe(
    // One after the other: what they wait for is the disk.
    Effect.andThen(Effect.forEach(running, save)),
    Effect.map((saved): Saved => new Map(saved)),
    Effect.scoped
  )
})
