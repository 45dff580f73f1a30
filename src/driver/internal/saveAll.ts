/** Saving the machines of a test as they are at one point in time. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import type * as Backend from "../../backends/Backend.ts"
import * as Disk from "../../host/Disk.ts"
import type { Handle } from "../../machine/MachineTree.ts"
import { ForkFailed } from "../ForkFailed.ts"

/** The machines that ran, by name. */
export type Saved = ReadonlyMap<string, Backend.SavedMachine>

interface Running {
  readonly handle: Handle
  readonly control: Backend.ControlService
  /** Gives its guest the time that it missed. */
  readonly setClock: Effect.Effect<void>
}

interface Exclusive extends Running {
  readonly exclusive: Backend.Exclusive
}

/**
 * Saves every machine that runs into a folder of its own in `folder`, `place(name)`: all stand still, all are saved, all go on. A machine
 * that boots is waited for; one that the test has paused stays paused. Guests that go on afterwards (`goOn`) are given the time that they missed.
 */
export const saveAll = Effect.fnUntraced(function* (
  handles: Iterable<Handle>,
  place: (machine: string) => string,
  { goOn }: { readonly goOn: boolean }
) {
  const found = yield* Effect.forEach(
    handles,
    (handle) =>
      Effect.gen(function* () {
        const on = yield* handle.running
        if (on === undefined) return undefined
        const setClock = goOn ? yield* handle.keepTime : Effect.void
        yield* on.shell.awaitIdle
        return { handle, control: on.control, setClock }
      }),
    { concurrency: "unbounded" }
  )
  const running = found.filter((one) => one !== undefined)
  const failed = ({ handle }: Running, { message }: { readonly message: string }) =>
    new ForkFailed({ machine: handle.spec.name, reason: message })
  const stop = (one: Exclusive) => Effect.mapError(one.exclusive.pause, (error) => failed(one, error))
  const save = Effect.fnUntraced(function* (one: Exclusive) {
    const { name } = one.handle.spec
    const directory = place(name)
    yield* Disk.attempt(
      () => Fs.mkdirSync(directory, { recursive: true, mode: 0o700 }),
      (message) => failed(one, { message })
    )
    return [
      name,
      yield* Effect.mapError(one.exclusive.save(Path.resolve(directory)), (error) => failed(one, error))
    ] as const
  })
  const saving = Effect.gen(function* () {
    // Reserves all of them, one after the other, before it pauses any: so two callers do not wait for each other, and no guest is paused while it waits.
    const exclusive = yield* Effect.forEach(running, (one) =>
      Effect.map(one.control.exclusive, (exclusive) => ({ ...one, exclusive }))
    )
    yield* Effect.forEach(exclusive, stop, { concurrency: "unbounded", discard: true })
    // One after the other: what they wait for is the disk.
    const saved: Saved = new Map(yield* Effect.forEach(exclusive, save))
    return saved
  }).pipe(Effect.scoped)
  const exit = yield* Effect.exit(saving)
  yield* Effect.forEach(running, ({ setClock }) => setClock, { concurrency: "unbounded", discard: true })
  return yield* exit
})
