/** The memory and the processors of the host, shared out to tests that run at once. */
import * as Fs from "node:fs"
import * as ByteSize from "effect/ByteSize"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { HostLimits, type MachineSpec } from "../../machine/MachineSpec.ts"

/** `memory` in bytes. */
export interface Amount {
  readonly memory: number
  readonly cpus: number
}

/**
 * What a test takes while it runs: the memory of all its machines, and as many processors as the largest of them has. Machines with one
 * processor take none then: how many of those share a processor is for `concurrency` to say. `counted` is for when nothing says that: each
 * processor of each machine counts, and a test takes at least one.
 */
export const of = (specs: ReadonlyArray<MachineSpec>, counted = false): Amount => {
  const memory = specs.reduce((sum, { memory }) => sum + memory, 0)
  const most = Math.max(0, ...specs.map(({ cpus }) => cpus))
  const all = specs.reduce((sum, { cpus }) => sum + cpus, 0)
  return { memory, cpus: counted ? Math.max(1, all) : most > 1 ? most : 0 }
}

/** What of the host's memory no other program uses now, in bytes; all of it where the kernel does not say. */
const freeMemory: Effect.Effect<number> = Effect.sync(() =>
  Result.getOrElse(
    Result.try(() => {
      const [, kibibytes] = /^MemAvailable:\s+(\d+) kB$/m.exec(Fs.readFileSync("/proc/meminfo", "utf8")) ?? []
      return kibibytes === undefined ? Number.POSITIVE_INFINITY : Number(kibibytes) * 1024
    }),
    () => Number.POSITIVE_INFINITY
  )
)

/** The room that the host has now, for tests that nobody said a number of. */
export const ofHost: Effect.Effect<Room> = Effect.gen(function* () {
  const { cpus, memory } = yield* HostLimits
  return make({ cpus, memory: Math.min(memory, yield* freeMemory) })
})

interface Waiting {
  readonly amount: Amount
  readonly turn: Deferred.Deferred<void>
}

export interface Room {
  /** Runs an effect when there is room for it, first come, first served. If it has to wait, calls `onWait` with what it waits for. */
  readonly within: (
    amount: Amount,
    onWait: (reason: string) => Effect.Effect<void>
  ) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

const size = (bytes: number) => ByteSize.format(ByteSize.fromInputUnsafe(bytes))

export const make = (limits: Amount): Room => {
  let queue: ReadonlyArray<Waiting> = []
  let taken: Amount = { memory: 0, cpus: 0 }

  const fits = ({ cpus, memory }: Amount) => taken.memory + memory <= limits.memory && taken.cpus + cpus <= limits.cpus
  const take = (amount: Amount, sign: 1 | -1) => {
    taken = { memory: taken.memory + sign * amount.memory, cpus: taken.cpus + sign * amount.cpus }
  }
  const admit = (): void => {
    const [first, ...others] = queue
    // A test that needs more than the limits runs alone.
    if (first === undefined || !(fits(first.amount) || (taken.memory === 0 && taken.cpus === 0))) return
    queue = others
    take(first.amount, 1)
    Deferred.doneUnsafe(first.turn, Effect.void)
    admit()
  }
  const reasonFor = ({ cpus, memory }: Amount): string => {
    const short = [
      ...(taken.memory + memory > limits.memory
        ? [`${size(memory)} of memory (running tests use ${size(taken.memory)} of ${size(limits.memory)})`]
        : []),
      ...(taken.cpus + cpus > limits.cpus
        ? [`${cpus} processors (running tests use ${taken.cpus} of ${limits.cpus})`]
        : [])
    ]
    return `waiting for ${short.length === 0 ? "its turn" : short.join(" and ")}`
  }

  return {
    within: (amount, onWait) => (effect) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          const one: Waiting = { amount, turn: Deferred.makeUnsafe<void>() }
          queue = [...queue, one]
          admit()
          return one
        }),
        (one) =>
          Effect.suspend(() => (queue.includes(one) ? onWait(reasonFor(amount)) : Effect.void)).pipe(
            Effect.andThen(Deferred.await(one.turn)),
            Effect.andThen(effect)
          ),
        (one) =>
          Effect.sync(() => {
            if (queue.includes(one)) queue = queue.filter((other) => other !== one)
            else take(amount, -1)
            admit()
          })
      )
  }
}
