/** What happens to the processes of a driver's tree, for reports. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ExitReason from "../../actors/ExitReason.ts"
import * as Observer from "../../actors/Observer.ts"
import type * as Pid from "../../actors/Pid.ts"

/** A process of the tree was started, has ended, or was started again in the place of one that had ended. */
export interface Change {
  readonly change: "started" | "ended" | "restarted"
  /** Unique in the run. */
  readonly process: number
  /** As it is called in the tree: `Machine`, `lane 1`. */
  readonly name: string
  /** Its behaviour: `Supervisor`, `GenServer`, … */
  readonly kind: string
  /** The process that started it; undefined for the root of the tree. */
  readonly parent?: number | undefined
  /** Why it ended. */
  readonly reason?: string | undefined
  /** Whether that was an orderly end. */
  readonly orderly?: boolean | undefined
}

const changeOf = (
  change: Change["change"],
  { kind, label, name, parent, pid }: Observer.Identity,
  ended: Pick<Change, "reason" | "orderly"> = {}
): Change => ({
  ...{ change, process: pid.id, name: label ?? name ?? kind, kind, ...ended },
  ...(parent === undefined ? {} : { parent: parent.id })
})

const toldOf = (change: Observer.Change): Change => {
  switch (change._tag) {
    case "Started":
      return changeOf("started", change)
    case "Exited": {
      const { reason } = change
      return changeOf("ended", change, { reason: ExitReason.format(reason), orderly: ExitReason.isNormal(reason) })
    }
    case "Restarted":
      return changeOf("restarted", change)
  }
}

/** Tells of the processes that there are under `root`, and of all that happens to them until the scope closes. */
export const watch = (
  root: Pid.Any,
  tell: (change: Change) => Effect.Effect<void>
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    // Other tests have trees in the same system.
    const own = new Set<number>([root.id])
    const hear = (change: Observer.Change) => {
      const { parent, pid } = change
      if (change._tag === "Started" && parent !== undefined && own.has(parent.id)) own.add(pid.id)
      return own.has(pid.id) ? tell(toldOf(change)) : Effect.void
    }
    yield* Observer.changes().pipe(Stream.runForEach(hear), Effect.forkScoped({ startImmediately: true }))
    for (const info of (yield* Observer.snapshot).processes) {
      const { parent, pid } = info
      if (parent !== undefined && own.has(parent.id)) own.add(pid.id)
      if (own.has(pid.id)) yield* tell(changeOf("started", info))
    }
  })
