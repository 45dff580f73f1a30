/**
 * `--pause-on-failure`: the machines of a failed test stay up, with a session on this terminal, and for those who attach.
 *
 * **Example** (Run tests, and keep the machines of those that fail for an hour)
 *
 * ```ts
 * const results = Pause.onFailure({ folder, timeout: Duration.hours(1) })(Runner.run(tests, options))
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import type * as NodeServices from "@effect/platform-node/NodeServices"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Qemu from "../../backends/qemu/Qemu.ts"
import { Driver } from "../../driver/Driver.ts"
import * as FailedTest from "../../driver/FailedTest.ts"
import * as Failure from "../../driver/Failure.ts"
import { Reporter } from "../../driver/RunEvent.ts"
import { beside } from "../Prompt.ts"
import * as Seat from "../Seat.ts"
import { complain } from "../Subcommand.ts"
import * as Attachable from "./Attachable.ts"
import * as Session from "./Session.ts"

/** How failed tests are kept. */
export interface PauseOptions {
  /** The folder of the run, whose name `vmtest attach` takes. */
  readonly folder: string
  /** How long at most. Default: without end. */
  readonly timeout?: Duration.Duration | undefined
}

type Why = "ended" | "timed out"

const whys: Readonly<Record<Why, string>> = {
  ended: "the session has ended, and the run continues",
  "timed out": "the time of --pause-timeout is up, and the run continues"
}

/** Somebody joins: they leave by themselves, or with the session. */
const join =
  (live: Session.Live, over: Deferred.Deferred<Why>) =>
  (seat: Seat.Seat): Effect.Effect<Attachable.Leaving> => {
    const own = Session.open({ live: () => live, seat, detaches: true }).pipe(
      Effect.catchTag("UnfinishedStatement", () => Effect.succeed({ failures: 1, by: "end" as const })),
      Effect.flatMap(({ by, failures }) =>
        by === "exit"
          ? Effect.as(Deferred.succeed(over, "ended"), { reason: whys.ended, failures })
          : Effect.succeed({ reason: "detached; the test is still paused", failures })
      )
    )
    const withSession = Effect.map(Deferred.await(over), (why) => ({ reason: whys[why], failures: 0 }))
    return Effect.raceFirst(own, withSession)
  }

/** The session on this process's terminal, one after the other where several tests have failed. */
const here = (live: Session.Live, test: string, terminal: Semaphore.Semaphore, over: Deferred.Deferred<Why>) =>
  Effect.gen(function* () {
    yield* complain(
      `${JSON.stringify(test)} is paused at its failure; .help lists commands, .exit lets the run continue`
    )
    yield* Effect.ignore(Session.open({ live: () => live }))
    yield* Deferred.succeed(over, "ended")
  }).pipe(terminal.withPermits(1), Effect.raceFirst(Effect.asVoid(Deferred.await(over))))

const pause = (
  { folder, timeout }: PauseOptions,
  terminal: Semaphore.Semaphore,
  { driver, failure, test }: FailedTest.FailedTest
): Effect.Effect<void, never, NodeServices.NodeServices> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const services = yield* Effect.context<NodeServices.NodeServices>()
    const context = services.pipe(Context.add(Scope.Scope, scope), Context.add(Driver, driver))
    const live: Session.Live = { driver, context }
    const over = Deferred.makeUnsafe<Why>()
    yield* Attachable.add({ name: test, kind: "paused", join: join(live, over) })
    if (failure !== undefined) yield* beside(complain(Failure.render(failure)))
    if (timeout !== undefined) {
      yield* Effect.forkScoped(Effect.andThen(Effect.sleep(timeout), Deferred.succeed(over, "timed out")))
    }
    const until = timeout === undefined ? "" : ` for ${Duration.format(timeout)}`
    const others = `npx vmtest attach ${NodePath.basename(folder)}`
    if (Seat.own().isTerminal) yield* Effect.forkScoped(here(live, test, terminal, over))
    else
      yield* complain(
        `${JSON.stringify(test)} is paused at its failure, and its machines are up${until}. To use them from another terminal:\n  ${others}`
      )
    const why = yield* Deferred.await(over)
    yield* beside(complain(`${JSON.stringify(test)}: ${whys[why]}`))
  }).pipe(Effect.scoped)

/** Keeps the machines of tests that fail while the effect runs them. */
export const onFailure =
  (options: PauseOptions) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(Semaphore.make(1), (terminal) =>
      effect.pipe(
        Effect.provideService(Qemu.Viewable, true),
        Effect.provideService(FailedTest.Hook, (failed) => pause(options, terminal, failed)),
        // Other tests may run meanwhile.
        Effect.updateService(Reporter, (report) => (event) => beside(report(event)))
      )
    )
