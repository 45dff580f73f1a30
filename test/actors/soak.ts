/**
 * The actor runtime under load: what has to hold for a hundred thousand processes and for a hundred thousand crashes.
 *
 * Each part gives what it counted; a number that is not the wanted one is a failure. `npm run proof` runs them at full size,
 * the unit tests smaller.
 */
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Effect from "effect/Effect"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenServer from "../../src/actors/GenServer.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Report from "../../src/actors/Report.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"

/** Something that was counted, and what it should have been. */
export interface Count {
  readonly what: string
  readonly counted: number
  readonly wanted: number
}

// Makes the collector callable without a flag on the command line.
setFlagsFromString("--expose-gc")
const gc = runInNewContext("gc") as () => void

/** The parts of the heap that hold what the program made, not the code that the engine made of it and drops again when it likes. */
const holdsObjects = (space: string): boolean => /^(?:new|old|large_object|new_large_object)(?:_space)?$/.test(space)

/** Bytes of objects that are in use once all garbage is gone. */
export const heapInUse: Effect.Effect<number> = Effect.gen(function* () {
  for (let i = 0; i < 6; i++) {
    gc()
    yield* Effect.sleep(5)
  }
  let used = 0
  for (const space of getHeapSpaceStatistics()) if (holdsObjects(space.space_name)) used += space.space_used_size
  return used
})

const protocol = GenServer.protocol({
  take: GenServer.Cast<number>(),
  sum: GenServer.Call<void, { readonly count: number; readonly sum: number }>(),
  echo: GenServer.Call<number, number>()
})
const Counter = GenServer.make(protocol, {
  init: () => GenServer.ok({ count: 0, sum: 0 }),
  handlers: {
    take: (n, { count, sum }) => GenServer.noReply({ count: count + 1, sum: sum + n }),
    sum: (_, state) => GenServer.reply(state, state),
    echo: (n, state) => GenServer.reply(n, state)
  }
})

/**
 * Many processes at once, each of which gets three messages and answers two calls; then they are all stopped with their
 * scope.
 */
export const alive = (n: number): Effect.Effect<ReadonlyArray<Count>> =>
  ActorSystem.scoped(
    Effect.gen(function* () {
      const { processes } = yield* ActorSystem.ActorSystem
      const counts: Array<Count> = []
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sup = yield* Supervisor.scoped({
            strategy: "simpleOneForOne",
            children: [{ id: "counter", restart: "temporary", start: () => GenServer.startLink(Counter) }]
          })
          const pids: Array<Pid.Pid<typeof protocol>> = []
          for (let i = 0; i < n; i++) pids.push((yield* Supervisor.startDynamic(sup)).pid as Pid.Pid<typeof protocol>)
          counts.push({
            what: "processes alive at once, with their supervisor",
            counted: processes.size,
            wanted: n + 1
          })
          let sent = 0
          for (let round = 1; round <= 3; round++) {
            for (let i = 0; i < n; i++) {
              yield* GenServer.cast(pids[i] as Pid.Pid<typeof protocol>, "take", round * (i + 1))
              sent++
            }
          }
          let received = 0
          let wrong = 0
          let echoed = 0
          for (let i = 0; i < n; i++) {
            const pid = pids[i] as Pid.Pid<typeof protocol>
            const { count, sum } = yield* GenServer.call(pid, "sum")
            received += count
            if (count !== 3 || sum !== 6 * (i + 1)) wrong++
            if ((yield* GenServer.call(pid, "echo", i)) === i) echoed++
          }
          counts.push({ what: "messages received", counted: received, wanted: sent })
          counts.push({ what: "processes that got something lost, doubled or not theirs", counted: wrong, wanted: 0 })
          counts.push({ what: "calls answered with their own reply", counted: echoed, wanted: n })
        })
      )
      counts.push({ what: "processes left when the scope has closed", counted: processes.size, wanted: 0 })
      return counts
    })
  ).pipe(Effect.orDie)

/** A tree of three levels whose leaves, middle and top crash by turns; it is whole again after each. */
export const crashes = (n: number): Effect.Effect<ReadonlyArray<Count>> =>
  ActorSystem.scoped(
    Effect.gen(function* () {
      const { processes } = yield* ActorSystem.ActorSystem
      const flags = { intensity: 1_000_000_000, period: "1 second" as const }
      let starts = 0
      let ends = 0
      const Leaf = GenServer.make(protocol, {
        init: () => {
          starts++
          return Effect.as(
            Effect.addFinalizer(() => Effect.sync(() => ends++)),
            GenServer.ok({ count: 0, sum: 0 })
          )
        },
        handlers: {
          take: (_, state) => GenServer.noReply(state),
          sum: (_, state) => GenServer.reply(state, state),
          echo: (i, state) => GenServer.reply(i, state)
        }
      })
      const leaf = (id: string) => Supervisor.server(id, Leaf, [], { name: id })
      const boom = ExitReason.custom("boom")
      const d = GenServer.name(protocol, "d")
      /** Two supervisors and four leaves. */
      const whole = 6
      let answered = 0
      let crooked = 0
      yield* Effect.scoped(
        Effect.gen(function* () {
          const top = yield* Supervisor.scoped({
            ...flags,
            strategy: "restForOne",
            children: [
              leaf("a"),
              Supervisor.supervisor(
                "inner",
                { ...flags, strategy: "oneForAll", children: [leaf("b"), leaf("c")] },
                { name: "inner" }
              ),
              leaf("d")
            ]
          })
          const victims = ["b", "a", "c", "d", "inner"] as const
          for (let i = 0; i < n; i++) {
            const name = victims[i % victims.length] as (typeof victims)[number]
            const victim = yield* Process.whereis(name)
            if (victim === undefined) return yield* Effect.die(new Error(`nobody to crash after ${i}`))
            // A supervisor traps exits: only a kill makes it crash.
            yield* Process.exit(victim, name === "inner" ? ExitReason.kill : boom)
            yield* Process.awaitExit(victim)
            // It is deaf while it restarts, so its answer says that the restart is over.
            yield* Supervisor.whichChildren(name === "b" || name === "c" ? "inner" : top)
            if ((yield* GenServer.call(d, "echo", i)) === i) answered++
            if (processes.size !== whole) crooked++
          }
        })
      )
      return [
        { what: "calls answered after a crash", counted: answered, wanted: n },
        { what: "times the tree had not all of its processes, or more", counted: crooked, wanted: 0 },
        { what: "leaves that ended, of those started", counted: ends, wanted: starts },
        { what: "processes left when the scope has closed", counted: processes.size, wanted: 0 }
      ]
    })
  ).pipe(Effect.provideService(Report.Reports, "quiet"), Effect.orDie)

/** What the heap has grown by, as a share of what it was, after `work` has run; a first run fills the engine's caches. */
export const growth = <A>(
  warmUp: Effect.Effect<unknown>,
  work: Effect.Effect<A>
): Effect.Effect<readonly [A, { readonly before: number; readonly after: number; readonly share: number }]> =>
  Effect.gen(function* () {
    yield* warmUp
    const before = yield* heapInUse
    const result = yield* work
    const after = yield* heapInUse
    return [result, { before, after, share: after / before - 1 }] as const
  })
