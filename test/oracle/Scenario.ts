/**
 * Running one of the oracle's scenarios on vmtest's own supervisors, and writing its trace in the oracle's form.
 *
 * This mirrors oracle.erl function by function; the format of scenarios and traces is described there.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenServer from "../../src/actors/GenServer.ts"
import { SystemLetter } from "../../src/actors/internal/process/loop.ts"
import { implOf, ProcessImpl, sendExit } from "../../src/actors/internal/process/process.ts"
import { SupervisorLoop } from "../../src/actors/internal/supervise/supervisor.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import type * as Report from "../../src/actors/Report.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"
import { InvalidSpec } from "../../src/actors/SupervisorError.ts"
import { BinaryMap, bareProblem, encode, type Json, ourWord, reasonOf, TermError, termOf, theirWord } from "./terms.ts"
import { World } from "./World.ts"

type Term = { readonly [key: string]: Json }
type Op = Term & { readonly op: string }

interface Entry {
  readonly path: string
  readonly attempt: number
  readonly kind: "worker" | "sup"
  readonly strategy: string
}

type Event =
  | { readonly _tag: "Of"; readonly kind: string; readonly pid: ProcessImpl; readonly reason: ExitReason.ExitReason }
  | {
      readonly _tag: "At"
      readonly kind: string
      readonly path: string
      readonly attempt: number
      readonly extra: ReadonlyArray<unknown>
    }

const isTerm = (value: unknown): value is Term => typeof value === "object" && value !== null && !Array.isArray(value)
const has = (term: Json | undefined, key: string): term is Term => isTerm(term) && key in term
const text = (value: Json | undefined): string => (typeof value === "string" ? value : JSON.stringify(value ?? null))
const join = (path: string, id: string): string => (path === "" ? id : `${path}/${id}`)

const Worker = GenServer.protocol({
  ping: GenServer.Call<void, string>(),
  stop: GenServer.Cast<Json>(),
  raise: GenServer.Cast<Json>()
})

/** How to run a scenario. */
export interface RunOptions {
  /**
   * Whether a worker that raises `shutdown` ends with `{shutdown, Stack}`, which OTP's supervisors take for an orderly end. Default: it
   * crashes, which is what vmtest makes of it.
   */
  readonly orderlyRaise?: boolean
}

class Runner {
  private readonly options: RunOptions
  private readonly world = new World()
  private events: Array<Event> = []
  private reports: Array<Report.SupervisorReport> = []
  private readonly entries = new Map<ProcessImpl, Entry>()
  private readonly pids = new Map<string, ProcessImpl>()
  private readonly parents = new Map<ProcessImpl, ProcessImpl>()
  private readonly up = new Set<ProcessImpl>()
  private readonly dead = new Set<ProcessImpl>()
  private readonly leaked = new Set<ProcessImpl>()
  private readonly attempts = new Map<string, number>()
  private readonly dynamic = new Map<string, number>()
  private readonly own = new Set<ProcessImpl>()
  private root: ProcessImpl | undefined = undefined

  constructor(options: RunOptions = {}) {
    this.options = options
  }

  run(scenario: Term): string {
    this.world.system.observers.add({
      onExit: (pid, reason) => this.events.push({ _tag: "Of", kind: "exit", pid, reason })
    })
    const exit = this.world.run(Process.run(this.program(scenario)), (report) =>
      Effect.sync(() => {
        if (report._tag === "SupervisorReport") this.reports.push(report)
      })
    )
    return exit._tag === "Success"
      ? encode({ id: scenario.id ?? null, steps: exit.value })
      : encode({ id: scenario.id ?? null, error: String(exit.cause) })
  }

  private program(scenario: Term): Effect.Effect<ReadonlyArray<unknown>, unknown, Process.Self> {
    const self = this
    return Effect.gen(function* () {
      yield* Process.trapExit(true)
      const started = yield* Effect.exit(self.start("", { sup: scenario.root ?? {} }))
      const steps: Array<unknown> = []
      if (Exit.isSuccess(started)) {
        const pid = started.value
        self.root = pid instanceof ProcessImpl ? pid : undefined
        steps.push(yield* self.stepResult("init", ["ok", self.term(pid)]))
        for (const op of (scenario.steps ?? []) as ReadonlyArray<Op>) {
          steps.push(yield* self.stepResult(op.op, yield* self.act(op)))
        }
        if (self.root?.alive === true) {
          const op = { op: "stop", reason: "shutdown" }
          steps.push(yield* self.stepResult("stop", yield* self.act(op)))
        }
      } else {
        const failure = started.cause.reasons[0]
        const error = failure?._tag === "Fail" ? failure.error : undefined
        const ret = error instanceof GenServer.Ignored ? "ignore" : ["error", reasonTerm(error)]
        steps.push(yield* self.stepResult("init", ret))
      }
      return steps
    })
  }

  // ------------------------------------------------------------- operations

  private stepResult(op: string, ret: unknown) {
    const self = this
    return Effect.gen(function* () {
      const { tree, live } = yield* self.settle()
      const leaked = yield* self.drainOrphans(new Set(live))
      yield* self.world.idle
      const { main, orphans } = self.takeEvents()
      const reports = self.takeReports()
      return {
        op,
        ret,
        ev: main,
        tree,
        ...(reports.length > 0 ? { reports } : {}),
        ...(orphans.length > 0 ? { orphans } : {}),
        ...(leaked.length > 0 ? { leaked: leaked.map((pid) => self.label(pid)).sort() } : {})
      }
    })
  }

  private act(op: Op): Effect.Effect<unknown, never, Process.Self> {
    switch (op.op) {
      case "kill":
        return this.signal(text(op.path), op)
      case "exit":
        return this.ownExit(text(op.path), "stop", op)
      case "raise":
        return this.ownExit(text(op.path), "raise", op)
      case "stop":
        return Effect.map(Process.Self, (self) => {
          if (this.root !== undefined) sendExit(implOf(self), this.root, this.reason(op), false)
          return "ok"
        })
      case "send":
        return this.withPid(text(op.sup), (pid) => Effect.as(Process.send(pid, op.msg ?? "hello"), "ok"))
      case "sleep":
        return Effect.as(Effect.sleep(Number(op.ms)), "ok")
      case "advance":
        return this.advance(Number(op.s))
      case "batch":
        return this.batch(text(op.sup), (op.do ?? []) as ReadonlyArray<Op>)
      default:
        return this.withPid(text(op.sup), (pid) => this.request(pid, op))
    }
  }

  private reason(op: Op): ExitReason.ExitReason {
    return reasonOf(op.reason ?? "boom")
  }

  private withPid<A, R>(
    path: string,
    f: (pid: ProcessImpl) => Effect.Effect<A, never, R>
  ): Effect.Effect<A | string, never, R> {
    const pid = this.pids.get(path)
    return pid === undefined ? Effect.succeed("no_such_path") : f(pid)
  }

  private isSup(pid: ProcessImpl): boolean {
    return this.entries.get(pid)?.kind === "sup"
  }

  private signal(path: string, op: Op) {
    return this.withPid(path, (pid) =>
      Effect.gen({ self: this }, function* () {
        sendExit(undefined, pid, this.reason(op), false)
        yield* this.world.idle
        if (!this.isSup(pid) && !this.leaked.has(pid)) {
          yield* Effect.exit(GenServer.call(pid as Pid.Pid<typeof Worker>, "ping"))
        }
        return "ok"
      })
    )
  }

  private ownExit(path: string, tag: "stop" | "raise", op: Op) {
    return this.withPid(path, (pid) =>
      Effect.gen({ self: this }, function* () {
        if (this.isSup(pid)) return "not_a_worker"
        if (this.leaked.has(pid)) return "stuck"
        const before = pid.reason
        yield* GenServer.cast(pid as Pid.Pid<typeof Worker>, tag, op.reason ?? "boom")
        if (before !== undefined) return "noproc"
        const reason = yield* Process.awaitExit(pid)
        return reason._tag === "NoProcess" ? "noproc" : "ok"
      })
    )
  }

  private advance(seconds: number): Effect.Effect<string> {
    return Effect.gen({ self: this }, function* () {
      for (const [pid, entry] of this.entries) {
        const loop = pid.behaviour
        if (entry.kind === "sup" && pid.alive && loop instanceof SupervisorLoop) {
          loop.intensity.times = loop.intensity.times.map((at) => at - seconds)
        }
      }
      return "ok"
    })
  }

  private batch(path: string, ops: ReadonlyArray<Op>) {
    return this.withPid(path, (sup) =>
      Effect.gen({ self: this }, function* () {
        if (sup.reason !== undefined) return ["exit", "noproc"]
        sup.deliver(new SystemLetter((loop) => loop.suspend()))
        yield* this.world.idle
        const pending: Array<Effect.Effect<unknown>> = []
        for (const op of ops) {
          if (op.op === "kill" || op.op === "exit" || op.op === "raise") {
            const answer = yield* this.act(op)
            yield* this.world.idle
            pending.push(Effect.succeed(answer))
          } else {
            const fiber = yield* Effect.forkChild(this.request(sup, op), { startImmediately: true })
            pending.push(Effect.map(Fiber.await(fiber), (exit) => (exit._tag === "Success" ? exit.value : "timeout")))
          }
        }
        sup.deliver(new SystemLetter((loop) => loop.resume()))
        const answers: Array<unknown> = []
        for (const answer of pending) answers.push(yield* answer)
        return answers
      })
    )
  }

  private isSimple(path: string): boolean {
    const pid = this.pids.get(path)
    return pid !== undefined && this.entries.get(pid)?.strategy === "simple_one_for_one"
  }

  private request(sup: ProcessImpl, op: Op): Effect.Effect<unknown> {
    const ref = sup as Pid.Pid<Supervisor.Supervisor>
    const path = text(op.sup)
    switch (op.op) {
      case "start_child": {
        const spec = isTerm(op.spec) ? op.spec : {}
        if (!this.isSimple(path)) return this.answer(op, Supervisor.startChild(ref, this.childSpec(path, spec)))
        const k = (this.dynamic.get(path) ?? 0) + 1
        this.dynamic.set(path, k)
        return this.answer(op, Supervisor.startDynamic(ref, join(path, `#${k}`), spec))
      }
      case "which_children":
        return this.answer(op, Supervisor.whichChildren(ref))
      case "count_children":
        return this.answer(op, Supervisor.countChildren(ref))
      case "terminate_child":
        return this.answer(op, Supervisor.terminateChild(ref, this.idOf(op)))
      case "restart_child":
        return this.answer(op, Supervisor.restartChild(ref, this.idOf(op) as string))
      case "delete_child":
        return this.answer(op, Supervisor.deleteChild(ref, this.idOf(op) as string))
      case "get_childspec":
        return this.answer(op, Supervisor.getChildSpec(ref, this.idOf(op)))
      default:
        return Effect.succeed("no such op")
    }
  }

  private idOf(op: Op): string | ProcessImpl {
    const id = text(op.id)
    return id.startsWith("pid:") ? (this.pids.get(id.slice(4)) ?? "no_such_path") : id
  }

  /** The answer to a request as the term that OTP gives. */
  private answer(op: Op, effect: Effect.Effect<unknown, unknown>): Effect.Effect<unknown> {
    return Effect.map(Effect.result(effect), (result) =>
      result._tag === "Success" ? this.success(op, result.success) : this.failure(op, result.failure)
    )
  }

  private success(op: Op, value: unknown): unknown {
    switch (op.op) {
      case "start_child":
      case "restart_child": {
        const { pid, info } = value as Supervisor.StartedChild
        if (pid === undefined) return ["ok", "undefined"]
        return info === undefined ? ["ok", this.term(pid)] : ["ok", this.term(pid), info]
      }
      case "which_children":
        return this.kids(value as ReadonlyArray<Supervisor.ChildInfo>, this.isSimple(text(op.sup)))
      case "count_children":
        return counts(value as Supervisor.ChildCounts)
      case "get_childspec": {
        const { id, restart, shutdown, significant, type } = value as Supervisor.CheckedSpec
        return ["ok", { id, restart, shutdown: theirWord(shutdown), significant, type }]
      }
      default:
        return "ok"
    }
  }

  private failure(op: Op, error: unknown): unknown {
    if (error instanceof GenServer.NoProcess) return ["exit", "noproc"]
    if (error instanceof GenServer.ServerExit) return ["exit", termOf(error.reason)]
    if (error instanceof Supervisor.ChildRunning) {
      return ["error", op.op === "start_child" ? ["already_started", this.term(error.pid)] : "running"]
    }
    if (error instanceof Supervisor.AlreadyPresent) return ["error", "already_present"]
    if (error instanceof Supervisor.ChildRestarting) return ["error", "restarting"]
    if (error instanceof Supervisor.ChildNotFound) return ["error", "not_found"]
    if (error instanceof Supervisor.SimpleOneForOne) return ["error", "simple_one_for_one"]
    if (error instanceof InvalidSpec) return ["error", bareProblem(error)]
    if (error instanceof Supervisor.FailedToStartChild) {
      const reason = termOf(error.reason)
      return ["error", op.op === "start_child" && !this.isSimple(text(op.sup)) ? [reason, "$child"] : reason]
    }
    return ["error", String(error)]
  }

  // ------------------------------------------------------------- quiescence

  private settle(): Effect.Effect<{
    readonly tree: ReadonlyArray<unknown>
    readonly live: ReadonlyArray<ProcessImpl>
  }> {
    const root = this.root
    if (root === undefined) return Effect.succeed({ tree: [], live: [] })
    return Effect.gen({ self: this }, function* () {
      for (;;) {
        yield* this.world.idle
        const snapshot = yield* this.snapshot(root, "")
        if (snapshot !== "again") return snapshot
        yield* Effect.sleep(1)
      }
    })
  }

  private snapshot(
    sup: ProcessImpl,
    path: string
  ): Effect.Effect<"again" | { readonly tree: ReadonlyArray<unknown>; readonly live: ReadonlyArray<ProcessImpl> }> {
    const ref = sup as Pid.Pid<Supervisor.Supervisor>
    return Effect.gen({ self: this }, function* () {
      const list = yield* Effect.result(Supervisor.whichChildren(ref))
      if (list._tag === "Failure") return !sup.alive && path === "" ? { tree: [], live: [] } : "again"
      const pids: Array<ProcessImpl> = []
      for (const { child } of list.success) {
        if (child === "restarting") return "again"
        if (child === undefined) continue
        const pid = implOf(child)
        if (!pid.alive) return "again"
        pids.push(pid)
      }
      const count = yield* Effect.result(Supervisor.countChildren(ref))
      if (count._tag === "Failure") return "again"
      const tree: Array<unknown> = [
        { sup: path, kids: this.kids(list.success, this.isSimple(path)), count: counts(count.success) }
      ]
      const live = [sup, ...pids]
      for (const pid of pids.toReversed()) {
        const entry = this.entries.get(pid)
        if (entry?.kind !== "sup") continue
        const below = yield* this.snapshot(pid, entry.path)
        if (below === "again") return "again"
        tree.push(...below.tree)
        live.push(...below.live)
      }
      return { tree, live }
    })
  }

  private kids(list: ReadonlyArray<Supervisor.ChildInfo>, simple: boolean): ReadonlyArray<unknown> {
    const rows = list.map(({ id, child }): [unknown, unknown] => [
      simple ? null : id,
      child === undefined ? null : child === "restarting" ? child : this.term(child)
    ])
    const rank = (value: unknown) => (value === null ? 0 : value === "restarting" ? 1 : 2)
    return simple
      ? rows.sort(([, a], [, b]) => rank(a) - rank(b) || (String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0))
      : rows
  }

  /** Processes that are in no tree any more are on their way out. */
  private drainOrphans(live: ReadonlySet<ProcessImpl>): Effect.Effect<ReadonlyArray<ProcessImpl>> {
    return Effect.gen({ self: this }, function* () {
      for (let n = 0; ; n++) {
        const left = [...this.up].filter((pid) => pid.alive && !live.has(pid) && !this.leaked.has(pid))
        if (left.length === 0) return []
        if (n > 100) {
          for (const pid of left) this.leaked.add(pid)
          return left
        }
        yield* Effect.sleep(1)
      }
    })
  }

  // ------------------------------------------------------------- events

  private log(kind: string, path: string, attempt: number, extra: ReadonlyArray<unknown>): void {
    this.events.push({ _tag: "At", kind, path, attempt, extra })
  }

  private takeEvents() {
    const main: Array<{ readonly path: string; readonly event: ReadonlyArray<unknown> }> = []
    const orphans: Array<ReadonlyArray<unknown>> = []
    for (const event of this.events) {
      if (event._tag === "At") {
        main.push({ path: event.path, event: [event.kind, event.path, event.attempt, ...event.extra] })
        continue
      }
      const entry = this.entries.get(event.pid)
      if (entry === undefined || !this.up.has(event.pid)) continue
      const lost = this.isOrphan(event.pid)
      if (event.kind === "exit") {
        this.up.delete(event.pid)
        this.dead.add(event.pid)
      }
      const row = [event.kind, entry.path, entry.attempt, termOf(event.reason)]
      if (lost) orphans.push(row)
      else main.push({ path: entry.path, event: row })
    }
    this.events = []
    return { main: sortRuns(main), orphans: orphans.sort(byRow) }
  }

  /** What the supervisors reported, by supervisor and in order. */
  private takeReports(): ReadonlyArray<unknown> {
    const rows = this.reports.map(({ errorContext, offender, reason, supervisor }) => {
      const { count, id, pid } = offender
      const whom = count ?? (pid === undefined ? null : this.term(pid))
      const reached = errorContext === "shutdown"
      return [
        this.term(supervisor),
        theirWord(errorContext),
        reached ? "reached_max_restart_intensity" : termOf(reason),
        id,
        whom
      ]
    })
    this.reports = []
    // The last reports of a simple_one_for_one, one for each reason, have no defined order in OTP.
    const orderOf = (row: ReadonlyArray<unknown>) => `${row[0]}\n${typeof row[4] === "number" ? `~${encode(row)}` : ""}`
    const byOrder = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
    return rows.sort((a, b) => byOrder(orderOf(a), orderOf(b)))
  }

  private isOrphan(pid: ProcessImpl): boolean {
    const parent = this.parents.get(pid)
    return parent !== undefined && (this.dead.has(parent) || this.isOrphan(parent))
  }

  private label(pid: ProcessImpl): string {
    const entry = this.entries.get(pid)
    return entry === undefined ? "$pid" : `${entry.path}@${entry.attempt}`
  }

  private term(value: unknown): unknown {
    return value instanceof ProcessImpl ? this.label(value) : value
  }

  // ------------------------------------------------------------- children

  private childSpec(supPath: string, child: Term, simple = false): Supervisor.ChildSpec<Process.Self> {
    const path = join(supPath, child.id === undefined ? "?" : text(child.id))
    const start = simple
      ? (dynPath: string, override: Term) => this.start(dynPath, { ...child, ...override })
      : this.start(path, child)
    const given = Object.fromEntries(
      ["id", "restart", "shutdown", "significant", "type"]
        .filter((key) => key in child)
        .map((key) => [key, ourWord(child[key])])
    )
    const type = "type" in given || !("sup" in child) ? {} : { type: "supervisor" }
    return Object.assign({ start }, given, type) as never
  }

  /** Runs in the supervisor; for the root, in the runner. */
  private start(path: string, child: Term): Effect.Effect<unknown, unknown, Process.Self> {
    return Effect.suspend(() => {
      const attempt = (this.attempts.get(path) ?? 0) + 1
      this.attempts.set(path, attempt)
      const starts = (child.starts ?? ["ok"]) as ReadonlyArray<Json>
      const how = starts[Math.min(attempt, starts.length) - 1]
      if (has(how, "raise")) {
        this.log("fail", path, attempt, [[how.raise, "$stack"]])
        return Effect.die(new TermError(how.raise as Json))
      }
      return Effect.matchEffect(this.outcome(path, attempt, child, how), {
        onSuccess: (value) => {
          const pid = value instanceof ProcessImpl ? value : isStarted(value) ? value.pid : undefined
          if (pid === undefined) this.log("fail", path, attempt, [value])
          else if ("sup" in child) {
            this.up.add(pid)
            this.log("up", path, attempt, [])
          }
          return Effect.succeed(value)
        },
        onFailure: (error) => {
          if (error instanceof GenServer.Ignored) this.log("ignore", path, attempt, [])
          else this.log("fail", path, attempt, [reasonTerm(error)])
          return Effect.fail(error)
        }
      })
    })
  }

  private outcome(
    path: string,
    attempt: number,
    child: Term,
    how: Json | undefined
  ): Effect.Effect<unknown, unknown, Process.Self> {
    if (has(how, "error")) return Effect.fail(how.error)
    if (has(how, "return")) {
      const value = how.return as Json
      if (value === "ignore") return Effect.fail(new GenServer.Ignored({ server: path }))
      return Array.isArray(value) && value.length === 2 && value[0] === "error"
        ? Effect.fail(value[1])
        : Effect.succeed(value)
    }
    if (has(how, "info")) {
      const { info } = how
      return Effect.map(this.outcome(path, attempt, child, "ok"), (pid) =>
        pid instanceof ProcessImpl ? Supervisor.started(pid, info) : pid
      )
    }
    return isTerm(child.sup) ? this.startSup(path, attempt, child.sup) : this.startWorker(path, attempt, child, how)
  }

  private register(pid: ProcessImpl, entry: Entry): void {
    this.entries.set(pid, entry)
    this.pids.set(entry.path, pid)
    if (pid.parent !== undefined) this.parents.set(pid, pid.parent)
  }

  private startSup(path: string, attempt: number, sup: Term) {
    const options = Effect.map(Process.Self, (self) => {
      if (sup.init === "ignore") return undefined
      const strategy = text(sup.strategy ?? "one_for_one")
      this.register(implOf(self), { path, attempt, kind: "sup", strategy })
      this.log("start", path, attempt, [])
      const given = Object.fromEntries(
        Object.entries(sup)
          .filter(([key]) => key !== "children")
          .map(([key, value]) => [
            key === "auto_shutdown" ? "autoShutdown" : key,
            key === "period" && typeof value === "number" ? value * 1000 : ourWord(value)
          ])
      )
      const simple = strategy === "simple_one_for_one"
      const children = ((sup.children ?? []) as ReadonlyArray<Term>).map((each) => this.childSpec(path, each, simple))
      return { ...given, children }
    })
    return Effect.mapError(Supervisor.startLink(options as Effect.Effect<never, never, Process.Self>), (error) =>
      error instanceof GenServer.InitFailed ? withSpecTerm(error, path, sup) : error
    )
  }

  private startWorker(path: string, attempt: number, child: Term, how: Json | undefined) {
    const worker = GenServer.make(Worker, {
      init: () => {
        if (has(how, "stop")) return GenServer.initStop(reasonOf(how.stop as Json))
        if (has(how, "bad")) return how.bad as never
        if (has(how, "crash")) return Effect.die(new TermError(how.crash as Json))
        if (has(how, "exit")) return Process.exit(reasonOf(how.exit as Json))
        if (how === "ignore") return GenServer.ignore
        return Effect.map(Process.Self, (self) => {
          const pid = implOf(self)
          pid.trapExit = child.trap === true
          this.register(pid, { path, attempt, kind: "worker", strategy: "" })
          this.up.add(pid)
          this.log("start", path, attempt, [])
          return GenServer.ok(pid)
        })
      },
      handlers: {
        ping: (_, pid) => GenServer.reply("pong", pid),
        stop: (reason, pid) => {
          this.own.add(pid)
          return GenServer.stopWith(reasonOf(reason), pid)
        },
        raise: (reason, pid) => {
          this.own.add(pid)
          return reason === "shutdown" && this.options.orderlyRaise === true
            ? Process.exit(ExitReason.shutdownWith("$stack"))
            : Effect.die(new TermError(reason))
        }
      },
      info: (message, pid) => {
        if (Process.isExit(message)) {
          this.events.push({ _tag: "Of", kind: "trapped", pid, reason: message.reason })
        }
        return GenServer.noReply(pid)
      },
      terminate: (reason, pid): Effect.Effect<unknown> => {
        this.events.push({ _tag: "Of", kind: "terminate", pid, reason })
        if (this.own.has(pid)) return Effect.void
        if (child.terminate === "hang") return Effect.never
        if (has(child.terminate, "delay")) return Effect.sleep(Number(child.terminate.delay))
        return has(child.terminate, "exit") ? Process.exit(reasonOf(child.terminate.exit as Json)) : Effect.void
      }
    })
    return GenServer.startLink(worker)
  }
}

const isStarted = (value: unknown): value is { readonly pid: ProcessImpl } =>
  isTerm(value as Json) && (value as { readonly pid?: unknown }).pid instanceof ProcessImpl

const reasonTerm = (error: unknown): unknown => (error instanceof GenServer.InitFailed ? termOf(error.reason) : error)

const counts = ({ specs, active, supervisors, workers }: Supervisor.ChildCounts) => [
  specs,
  active,
  supervisors,
  workers
]

/** OTP prints the child specs of a simple_one_for_one that has not exactly one; ours hold functions. */
const withSpecTerm = (error: GenServer.InitFailed, path: string, sup: Term): GenServer.InitFailed => {
  const { reason } = error
  if (reason._tag !== "Custom" || !(reason.term instanceof InvalidSpec) || reason.term.problem !== "badStartSpec") {
    return error
  }
  const list = ((sup.children ?? []) as ReadonlyArray<Term>).map((child) => {
    const given = ["id", "restart", "shutdown", "significant", "type"].filter((key) => key in child)
    return {
      start: ["oracle", "start_dyn", { list: [path, listed(child)] }],
      ...Object.fromEntries(given.map((key) => [key, child[key]])),
      ...("type" in child || !("sup" in child) ? {} : { type: "supervisor" })
    }
  })
  return new GenServer.InitFailed({
    server: error.server,
    reason: ExitReason.custom(["bad_start_spec", { list }])
  })
}

/** JSON as Erlang decodes it and prints it again: arrays are lists, keys are binaries. */
const listed = (json: Json): unknown => {
  if (Array.isArray(json)) return { list: json.map(listed) }
  if (!isTerm(json)) return json
  return new BinaryMap(Object.fromEntries(Object.entries(json).map(([key, value]) => [key, listed(value)])))
}

const byRow = (a: ReadonlyArray<unknown>, b: ReadonlyArray<unknown>): number => {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const [x, y] = [a[i], b[i]]
    if (typeof x === "number" && typeof y === "number" && x !== y) return x - y
    const [s, t] = [encode(x), encode(y)]
    if (s !== t) return s < t ? -1 : 1
  }
  return a.length - b.length
}

const dynParent = (path: string): string | undefined => {
  const at = path.lastIndexOf("#")
  return at < 0 ? undefined : path.slice(0, at)
}

interface Row {
  readonly path: string
  readonly event: ReadonlyArray<unknown>
}

const goesDown = ({ event }: Row) => event[0] === "exit" || event[0] === "terminate"

/** Siblings under simple_one_for_one go down in no defined order. */
const sortRuns = (rows: ReadonlyArray<Row>): ReadonlyArray<ReadonlyArray<unknown>> => {
  const out: Array<ReadonlyArray<unknown>> = []
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as Row
    const parent = goesDown(row) ? dynParent(row.path) : undefined
    if (parent === undefined) {
      out.push(row.event)
      continue
    }
    const run = [row]
    for (
      let next = rows[i + 1];
      next !== undefined && goesDown(next) && dynParent(next.path) === parent;
      next = rows[i + 1]
    ) {
      run.push(next)
      i++
    }
    const key = ({ path, event }: Row) => [path, event[2], event[0] === "exit" ? 1 : 0]
    out.push(...run.sort((a, b) => byRow(key(a), key(b))).map(({ event }) => event))
  }
  return out
}

/** Runs one line of a scenario file and gives the line of its trace. */
export const runLine = (line: string): string => new Runner().run(JSON.parse(line) as Term)

/** Runs one scenario and gives the line of its trace. */
export const runScenario = (scenario: unknown, options?: RunOptions): string =>
  new Runner(options).run(scenario as Term)
