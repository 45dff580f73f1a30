/**
 * Children that do as they are told, for the tests of supervisors.
 */
import * as Effect from "effect/Effect"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenServer from "../../src/actors/GenServer.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"
import { quiet } from "./support.ts"

export const boom = ExitReason.custom("boom")

/** Ends with the first reason that it is sent. */
const obedient = Effect.flatMap(
  Process.receive((message) => message as ExitReason.ExitReason),
  (reason) => Process.exit(reason)
)

/** A child that ends with the reason it is told, and with a shutdown at once. */
export const worker = (id: string, options?: Supervisor.ChildOptions) => Supervisor.child(id, obedient, options)

/** A child that takes so many milliseconds to obey a shutdown, and then ends with a reason. */
export const sleeper = (
  id: string,
  millis: number,
  options?: Supervisor.ChildOptions,
  reason: ExitReason.ExitReason = ExitReason.shutdown
): Supervisor.ChildSpec<Process.Self> => ({
  ...options,
  id,
  start: GenServer.startLink(
    GenServer.make(GenServer.protocol({}), {
      init: () => Effect.as(Process.trapExit(true), GenServer.ok(0)),
      handlers: {},
      terminate: () => Effect.andThen(Effect.sleep(millis), Process.exit(reason))
    })
  )
})

/** How the next starts of a {@link moody} child end; `ok` when there is nothing said. */
export interface Mood {
  next: "ok" | "ignore" | "fail" | "nonsense" | "die" | "told"
}

/** A child whose start ends as its mood says. */
export const moody = (
  id: string,
  mood: Mood,
  options?: Supervisor.ChildOptions
): Supervisor.ChildSpec<Process.Self> => ({
  ...options,
  id,
  start: startBy(id, mood)
})

export const startBy = (id: string, mood: Mood): Supervisor.ChildSpec<Process.Self>["start"] => {
  const { start } = worker(id) as Supervisor.ChildSpec<Process.Self>
  return Effect.suspend((): typeof start => {
    switch (mood.next) {
      case "ok":
        return start
      case "told":
        return Effect.map(start, (begun) => Supervisor.started((begun as { readonly pid: Pid.Any }).pid, "info"))
      case "ignore":
        return Effect.fail(new GenServer.Ignored({ server: id }))
      case "fail":
        return Effect.fail("not today")
      case "nonsense":
        return Effect.succeed("nonsense" as never)
      case "die":
        return Effect.die(new Error("a bug in the start"))
    }
  })
}

/** The children in start order: their ids, and who runs them. */
export const children = (supervisor: Supervisor.Ref) =>
  Effect.map(Supervisor.whichChildren(supervisor), (all) => all.toReversed())

/** The pids in start order, of those children that run. */
export const pids = (supervisor: Supervisor.Ref): Effect.Effect<ReadonlyArray<Pid.Any>, Supervisor.RequestError> =>
  Effect.map(children(supervisor), (all) =>
    all.flatMap(({ child }) => (child === undefined || child === "restarting" ? [] : [child]))
  )

/** Tells a worker to end with a reason, and lets everything that follows from it happen. */
export const end = (pid: Pid.Any | undefined, reason: ExitReason.ExitReason = boom): Effect.Effect<void> =>
  pid === undefined ? Effect.die(new Error("no such child")) : Effect.andThen(Process.send(pid, reason), quiet)

/** `ok`, or the tag of what an Effect failed with. */
export const tagOf = <A, E extends { readonly _tag: string }, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<string, never, R> =>
  Effect.map(Effect.result(effect), (result) => (result._tag === "Success" ? "ok" : result.failure._tag))

/** How many children there are, as OTP counts them: specs, active, supervisors, workers. */
export const counts = (supervisor: Supervisor.Ref) =>
  Effect.map(Supervisor.countChildren(supervisor), ({ specs, active, supervisors, workers }) => [
    specs,
    active,
    supervisors,
    workers
  ])
