/**
 * The sessions with one guest, one after the other: the search for its bootstrap shell, the agent, and what ends a session.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { rebootedReason, type ShellNotReady } from "../ShellError.ts"
import * as Admin from "./admin.ts"
import type * as Bootstrap from "./bootstrap.ts"
import { type Heartbeat, heartbeat } from "./heartbeat.ts"
import { janitor } from "./janitor.ts"
import type * as LaneServer from "./laneServer.ts"
import { nonce } from "./nonce.ts"
import type { AgentShell } from "./request.ts"
import * as Session from "./session.ts"

/** What sessions need of the guest. */
export interface SessionsOptions extends Bootstrap.BootstrapOptions {
  /** Whether the guest may reboot. */
  readonly reboots: boolean
  readonly heartbeat: Heartbeat
}

/** When a guest that has no shell, or lost it, is looked for again. */
export const retrySession = Schedule.spaced("500 millis")

/** Seeks sessions, one after the other, until the scope closes; returns when the first is on. */
export const seek = Effect.fnUntraced(function* (
  options: SessionsOptions & {
    readonly bootstrap: Bootstrap.Bootstrap
    readonly table: Session.LaneTable
    readonly tell: LaneServer.Client["tell"]
  }
): Effect.fn.Return<{ readonly guest: () => AgentShell }, ShellNotReady, Scope.Scope> {
  const { table, tell, transport } = options
  const { awaiting, connect, notReady } = options.bootstrap
  const first = yield* Deferred.make<void, ShellNotReady>()
  let guest: AgentShell = { folder: "/run/vmtest", shell: "sh", pipefail: false }
  const end = (reason: string) => tell("end", reason)

  /** Looks at lanes that settle, and asks whether the guest and the workers of busy lanes live. */
  const watch = (current: Session.Session) =>
    Effect.raceFirst(
      janitor({
        admin: current.admin,
        lanes: table.lanes,
        slowness: transport.slowness,
        waited: () => table.waiting > 0
      }),
      heartbeat(options.heartbeat, table, current, (reason) =>
        Effect.andThen(end(reason), Deferred.succeed(table.restart, reason))
      )
    )

  /** One session, from the agent to the reason for which it ended. */
  const oneSession = ({ admin, link }: Bootstrap.Link) =>
    Effect.gen(function* () {
      link.ready = Deferred.makeUnsafe<void>()
      table.restart = Deferred.makeUnsafe<string>()
      const id = yield* nonce
      const attached = transport.attached?.() ?? []
      const found = attached.length === 0 ? undefined : yield* awaiting(Admin.attach(admin, id, attached))
      guest = found?.guest ?? (yield* Admin.install(admin, id, transport.lanes, options.reboots))
      const current = yield* Session.make(admin)
      // Before the processes of its lanes are ended, which would be another reason.
      yield* Effect.addFinalizer(() => end("the shell was closed"))
      Session.resume(current, found?.waiting ?? [])
      yield* tell("begin", current)
      yield* Effect.forkScoped(watch(current))
      yield* Deferred.succeed(first, undefined)
      /** Why the guest may be another one now, when it is. */
      const changed = Effect.gen(function* () {
        const why = yield* Effect.raceAllFirst([
          Deferred.await(table.restart),
          Effect.as(Deferred.await(link.ready), rebootedReason),
          Effect.as(Session.awaitSupervisor(current), "the worker shells in the guest ended again and again")
        ])
        if (Deferred.isDoneUnsafe(link.ready) && !Deferred.isDoneUnsafe(table.restart)) {
          // The bootstrap shell may have been replaced in a guest that lives on, its lanes with it.
          link.ready = Deferred.makeUnsafe<void>()
          yield* awaiting(admin.awake)
          if (yield* Admin.sameSession(admin, id, guest)) return undefined
        }
        return why
      })
      const why = yield* Effect.repeat(changed, { until: (reason) => reason !== undefined })
      yield* end(why ?? rebootedReason)
      return yield* awaiting(admin.awake)
    }).pipe(Effect.scoped)

  /** Serves sessions on one connection to the bootstrap shell until it closes. */
  const serve = Effect.gen(function* () {
    const link = yield* Effect.withSpan(awaiting(connect), "vmtest.shell.connect", {
      attributes: { "vmtest.machine": transport.machine, "vmtest.transport": transport.name },
      captureStackTrace: false
    })
    table.gone = undefined
    const ended = Effect.flatMap(link.connection.closed, (why) => {
      const reason = `the guest's connection closed: ${why}`
      return Effect.as(end(reason), reason)
    })
    return yield* Effect.raceFirst(Effect.forever(oneSession(link)), ended)
  }).pipe(Effect.scoped)

  const sought = Effect.gen(function* () {
    table.since = yield* Clock.currentTimeMillis
    return yield* serve.pipe(
      // The listener that follows the boot may crash; the waiting callers must learn of that.
      Effect.catchDefect((defect) =>
        Effect.fail<Admin.NoAnswer>({ _tag: "NoAnswer", reason: `the search for the shell crashed: ${defect}` })
      ),
      Effect.tapError((error) =>
        Effect.gen(function* () {
          if (error._tag === "TransportError") table.gone = error.reason
          const waited = Duration.millis((yield* Clock.currentTimeMillis) - table.since)
          const failure = error._tag === "ShellNotReady" ? error : yield* notReady(error.reason, waited)
          yield* Deferred.fail(first, failure)
          yield* tell("fail", failure)
          yield* end(failure.reason)
        })
      )
    )
  }).pipe(Effect.retry(retrySession), Effect.tap(end))
  yield* Effect.forkScoped(Effect.forever(sought))
  yield* Deferred.await(first)
  return { guest: () => guest }
})
