/**
 * A supervisor's children: who they are, who runs, and how they are listed and counted.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as ExitReason from "../../ExitReason.ts"
import { ChildNotFound, ChildRestarting, ChildRunning, SimpleOneForOne } from "../../SupervisorError.ts"
import { ProcessImpl } from "../process/process.ts"
import type { CheckedSpec } from "./childSpec.ts"
import type { StartOutcome } from "./childStart.ts"

/** What a Layer child tells its supervisor when it counts as started. */
export class Provided {
  /** The services that it built; `undefined` until then, for one that is built after its start. */
  services: Context.Context<never> | undefined
  /** Whether its later siblings may count on them. */
  readonly promised: boolean
  constructor(services: Context.Context<never> | undefined) {
    this.services = services
    this.promised = services !== undefined
  }
}

/** One child. Under simple_one_for_one every child has the template's spec and its own start. */
export interface Child {
  readonly spec: CheckedSpec
  readonly start: Effect.Effect<unknown, unknown>
  pid: ProcessImpl | undefined
  /** The last process of the child, running or not. */
  last: ProcessImpl | undefined
  /** A start failed during a restart and is being tried again. */
  restarting: boolean
  /** The process that a report of a restart is about: the one that ended; none for a sibling that did not start again. */
  ended: ProcessImpl | undefined
  /** What the last process of a Layer child built. */
  provided: Provided | undefined
}

/** A child that does not run yet. `args` are for a template's start. */
export const newChild = (spec: CheckedSpec, args: ReadonlyArray<unknown> = []): Child => {
  const { start } = spec
  return {
    spec,
    start: typeof start === "function" ? Effect.suspend(() => start(...args)) : start,
    pid: undefined,
    last: undefined,
    restarting: false,
    ended: undefined,
    provided: undefined
  }
}

const isAlive = (child: Child): boolean => child.pid?.alive === true && !child.restarting

export class Children {
  private readonly supervisor: ProcessImpl
  /** In start order. Empty under simple_one_for_one. */
  readonly named = new Map<unknown, Child>()
  /** The children of simple_one_for_one; a restarting one is kept under its last pid. */
  readonly dynamic = new Map<ProcessImpl, Child>()
  readonly byPid = new Map<ProcessImpl, Child>()
  readonly simple: boolean
  /** The one spec of simple_one_for_one. */
  template: CheckedSpec | undefined = undefined
  /**
   * Restarting dynamic children, as OTP counts them: one that is terminated while it is restarting stays in the count, so that
   * `countChildren` then says one too few are active.
   */
  dynamicRestarts = 0

  constructor(supervisor: ProcessImpl, simple: boolean) {
    this.supervisor = supervisor
    this.simple = simple
  }

  /** Every child, in start order. */
  get all(): ReadonlyArray<Child> {
    return [...(this.simple ? this.dynamic : this.named).values()]
  }

  // --------------------------------------------------------------- who runs

  setPid(child: Child, pid: ProcessImpl | undefined): void {
    if (child.pid !== undefined) this.byPid.delete(child.pid)
    child.pid = pid
    if (pid === undefined) return
    this.byPid.set(pid, child)
    this.note(child, pid)
  }

  storeDynamic(child: Child, pid: ProcessImpl): void {
    child.pid = pid
    this.note(child, pid)
    this.dynamic.set(pid, child)
    this.byPid.set(pid, child)
  }

  /** The child does not run any more: a temporary one is forgotten, others keep their spec. */
  forget(child: Child): void {
    if (this.simple) {
      if (child.pid === undefined) return
      this.dynamic.delete(child.pid)
      this.byPid.delete(child.pid)
      return
    }
    this.setPid(child, undefined)
    child.restarting = false
    if (child.spec.restart === "temporary") this.named.delete(child.spec.id)
  }

  /** All dynamic children that run; nobody is a child any more. */
  takeDynamic(): ReadonlyArray<ProcessImpl> {
    const pids: Array<ProcessImpl> = []
    for (const child of this.dynamic.values()) if (child.pid !== undefined && !child.restarting) pids.push(child.pid)
    this.dynamic.clear()
    this.byPid.clear()
    return pids
  }

  /** Tells observers when it is not the child's first process. */
  private note(child: Child, pid: ProcessImpl): void {
    if (child.last !== undefined) this.supervisor.system.restarted(this.supervisor, child.last, pid)
    child.last = pid
  }

  // --------------------------------------------------------------- finding them

  /** By id; by pid under simple_one_for_one, where the template's id is known as well. */
  find(id: unknown): Child | undefined {
    if (!this.simple) return this.named.get(id)
    const template = this.template
    if (template === undefined) return undefined
    if (!(id instanceof ProcessImpl)) return id === template.id ? newChild(template) : undefined
    const child = this.dynamic.get(id)
    if (child !== undefined) return child
    // A dead pid counts as a child that has stopped.
    return id.alive ? undefined : newChild(template)
  }

  /** The child of that id, if it does not run. */
  stopped(request: string, id: unknown): Result.Result<Child, unknown> {
    if (this.simple) return Result.fail(new SimpleOneForOne({ request }))
    const child = this.named.get(id)
    if (child === undefined) return Result.fail(new ChildNotFound({ id }))
    if (child.restarting) return Result.fail(new ChildRestarting({ id }))
    if (child.pid !== undefined) return Result.fail(new ChildRunning({ id, pid: child.pid }))
    return Result.succeed(child)
  }

  /** Whether a significant child is left that runs or is being restarted. */
  get hasSignificant(): boolean {
    if (this.simple) return this.dynamic.size > 0
    for (const { spec, pid, restarting } of this.named.values()) {
      if (spec.significant && (pid !== undefined || restarting)) return true
    }
    return false
  }

  // --------------------------------------------------------------- showing them

  which(): ReadonlyArray<unknown> {
    const show = (id: unknown, child: Child) => ({
      id,
      child: child.restarting ? "restarting" : child.pid,
      type: child.spec.type,
      modules: child.spec.modules
    })
    return this.simple
      ? this.all.map((child) => show(undefined, child))
      : this.all.toReversed().map((child) => show(child.spec.id, child))
  }

  count(): unknown {
    if (this.simple) {
      const size = this.dynamic.size
      const supervisors = this.template?.type === "supervisor" ? size : 0
      return { specs: 1, active: size - this.dynamicRestarts, supervisors, workers: size - supervisors }
    }
    let active = 0
    let supervisors = 0
    for (const child of this.named.values()) {
      if (isAlive(child)) active++
      if (child.spec.type === "supervisor") supervisors++
    }
    const specs = this.named.size
    return { specs, active, supervisors, workers: specs - supervisors }
  }
}

/** The answer to a request for a child: how its start went. */
export const answerOf = (
  outcome: StartOutcome,
  failed: (reason: ExitReason.ExitReason) => unknown
): Result.Result<unknown, unknown> => {
  switch (outcome._tag) {
    case "Running":
      return Result.succeed({ pid: outcome.pid, info: outcome.info })
    case "Ignored":
      return Result.succeed({ pid: undefined, info: undefined })
    case "Failed":
      return Result.fail(failed(outcome.reason))
  }
}
