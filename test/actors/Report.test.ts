/**
 * Reports of crashes and of supervisors: when OTP makes them, and with its fields.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as DynamicSupervisor from "../../src/actors/DynamicSupervisor.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenServer from "../../src/actors/GenServer.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Report from "../../src/actors/Report.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"
import * as Task from "../../src/actors/Task.ts"
import { boom, end, type Mood, moody, pids, sleeper, startBy, worker } from "./children.ts"
import { quiet } from "./support.ts"

/** Runs a body as a process and gives the reports that it led to. */
const reports = <E>(
  body: Effect.Effect<unknown, E, Process.Self | Scope.Scope>
): Effect.Effect<ReadonlyArray<Report.Report>, E> =>
  Effect.suspend(() => {
    const told: Array<Report.Report> = []
    return ActorSystem.scoped(Process.run(Effect.andThen(Process.trapExit(true), body))).pipe(
      Effect.provideService(Report.Reports, (report) => Effect.sync(() => told.push(report))),
      Effect.as(told)
    )
  })

/** The context, reason and offender's id of those that supervisors made. */
const ofSupervisors = (all: ReadonlyArray<Report.Report>) =>
  all.flatMap((report) =>
    report._tag === "SupervisorReport"
      ? [`${report.errorContext} ${report.offender.id}: ${ExitReason.format(report.reason)}`]
      : []
  )

const often = { intensity: 100, period: "10 seconds" as const }

describe("supervisors report", () => {
  it.effect("the end of a child that is restarted, or did not end in order", () =>
    Effect.gen(function* () {
      const all = yield* reports(
        Effect.gen(function* () {
          for (const restart of ["permanent", "transient", "temporary"] as const) {
            for (const reason of [ExitReason.normal, ExitReason.shutdown, ExitReason.shutdownWith("x"), boom]) {
              const sup = yield* Supervisor.startLink({ ...often, children: [worker(restart, { restart })] })
              yield* end((yield* pids(sup))[0], reason)
            }
          }
        })
      )
      assert.deepStrictEqual(ofSupervisors(all), [
        "childTerminated permanent: normal",
        "childTerminated permanent: shutdown",
        "childTerminated permanent: shutdown: x",
        "childTerminated permanent: boom",
        "childTerminated transient: boom",
        "childTerminated temporary: boom"
      ])
    })
  )

  it.effect("with the fields of OTP's reports", () =>
    Effect.gen(function* () {
      let supervisor: unknown
      let child: unknown
      const all = yield* reports(
        Effect.gen(function* () {
          const sup = yield* Supervisor.startLink({
            autoShutdown: "anySignificant",
            children: [worker("a", { restart: "transient", shutdown: "brutalKill", significant: true })]
          })
          supervisor = sup
          child = (yield* pids(sup))[0]
          yield* end((yield* pids(sup))[0], boom)
        })
      )
      const report = all.find(({ _tag }) => _tag === "SupervisorReport") as Report.SupervisorReport
      assert.strictEqual(report.supervisor, supervisor)
      assert.strictEqual(report.errorContext, "childTerminated")
      assert.strictEqual(report.reason, boom)
      assert.deepStrictEqual(report.offender, {
        id: "a",
        pid: child as never,
        restart: "transient",
        shutdown: "brutalKill",
        type: "worker",
        significant: true
      })
    })
  )

  it.effect("that there were too many restarts", () =>
    Effect.gen(function* () {
      const all = yield* reports(
        Effect.gen(function* () {
          const sup = yield* Supervisor.startLink({ intensity: 1, children: [worker("a")] })
          yield* end((yield* pids(sup))[0])
          yield* end((yield* pids(sup))[0])
        })
      )
      assert.deepStrictEqual(ofSupervisors(all), [
        "childTerminated a: boom",
        "childTerminated a: boom",
        "shutdown a: reachedMaxRestartIntensity"
      ])
    })
  )

  it.effect(
    "a child that does not start, with its supervisor or when it is restarted, but not when it is asked for",
    () =>
      Effect.gen(function* () {
        const mood: Mood = { next: "fail" }
        const atFirst = yield* reports(Effect.flip(Supervisor.startLink({ children: [moody("a", mood)] })))
        assert.deepStrictEqual(ofSupervisors(atFirst), ["startError a: not today"])
        const again = yield* reports(
          Effect.gen(function* () {
            mood.next = "ok"
            const sup = yield* Supervisor.startLink({ intensity: 2, children: [moody("a", mood)] })
            mood.next = "fail"
            yield* Effect.flip(Supervisor.startChild(sup, moody("b", mood)))
            yield* end((yield* pids(sup))[0])
          })
        )
        assert.deepStrictEqual(ofSupervisors(again), [
          "childTerminated a: boom",
          "startError a: not today",
          "startError a: not today",
          "shutdown a: reachedMaxRestartIntensity"
        ])
      })
  )

  it.effect("a child that was stopped and ended otherwise", () =>
    Effect.gen(function* () {
      const all = yield* reports(
        Effect.gen(function* () {
          const sup = yield* Supervisor.startLink({
            ...often,
            children: [
              worker("good"),
              worker("killed", { shutdown: "brutalKill" }),
              sleeper("slow", 100, { shutdown: 10 }),
              sleeper("normal", 0, { restart: "transient" }, ExitReason.normal),
              sleeper("strict", 0, {}, ExitReason.normal),
              sleeper("bad", 0, {}, boom)
            ]
          })
          yield* Process.unlink(sup)
          yield* Process.exit(sup, ExitReason.shutdown)
          yield* TestClock.adjust("1 second")
          yield* quiet
        })
      )
      assert.deepStrictEqual(ofSupervisors(all), [
        "shutdownError bad: boom",
        "shutdownError strict: normal",
        "shutdownError slow: killed"
      ])
    })
  )

  it.effect("children of simpleOneForOne together, by the reasons of their ends", () =>
    Effect.gen(function* () {
      const all = yield* reports(
        Effect.gen(function* () {
          const template = {
            id: "template",
            start: (reason: ExitReason.ExitReason) => sleeper("x", 0, {}, reason).start
          }
          const sup = yield* Supervisor.startLink({ strategy: "simpleOneForOne", children: [template] })
          const bug = () => ExitReason.crashed(Cause.die(new Error("bug")))
          for (const reason of [bug(), ExitReason.shutdown, bug()]) yield* Supervisor.startDynamic(sup, reason)
          yield* Process.exit(sup, ExitReason.shutdown)
          yield* TestClock.adjust(0)
          yield* quiet
        })
      )
      assert.deepStrictEqual(ofSupervisors(all), ["shutdownError template: crashed: Error: bug"])
      const report = all.find(({ _tag }) => _tag === "SupervisorReport") as Report.SupervisorReport
      assert.strictEqual(report.offender.count, 2)
      assert.isUndefined(report.offender.pid)
    })
  )

  it.effect("the children of dynamic supervisors alike", () =>
    Effect.gen(function* () {
      const mood: Mood = { next: "ok" }
      const all = yield* reports(
        Effect.gen(function* () {
          const sup = yield* DynamicSupervisor.startLink({ intensity: 1 })
          const start = (spec: Supervisor.ChildSpec<Process.Self>) =>
            Effect.map(DynamicSupervisor.startChild(sup, spec), ({ pid }) => pid)
          yield* end(yield* start(worker("gone", { restart: "temporary" })))
          yield* end(yield* start(worker("done", { restart: "temporary" })), ExitReason.normal)
          const bad = yield* start(sleeper("bad", 0, {}, boom))
          const stopping = yield* Effect.forkChild(DynamicSupervisor.terminateChild(sup, bad as never))
          yield* TestClock.adjust(0)
          yield* quiet
          assert.isDefined(stopping.pollUnsafe())
          const child = yield* start({ id: "moody", start: startBy("moody", mood) })
          mood.next = "fail"
          yield* end(child)
        })
      )
      assert.deepStrictEqual(ofSupervisors(all), [
        "childTerminated gone: boom",
        "shutdownError bad: boom",
        "childTerminated moody: boom",
        "startError moody: not today",
        "shutdown moody: reachedMaxRestartIntensity"
      ])
    })
  )
})

describe("processes report", () => {
  const crashesOf = (all: ReadonlyArray<Report.Report>) =>
    all.flatMap((report) =>
      report._tag === "CrashReport" ? [`${report.kind} ${report.label}: ${ExitReason.format(report.reason)}`] : []
    )
  const server = GenServer.make(GenServer.protocol({ crash: GenServer.Cast(), stop: GenServer.Cast() }), {
    label: "server",
    init: (how: "ok" | "stop") => (how === "ok" ? GenServer.ok(0) : GenServer.initStop(boom)),
    handlers: {
      crash: () => Effect.die(new Error("a bug")),
      stop: () => GenServer.stopWith(ExitReason.shutdown, 0)
    }
  })

  it.effect("their own abnormal end, with who they are", () =>
    Effect.gen(function* () {
      let names: ReadonlyArray<unknown> = []
      const all = yield* reports(
        Effect.gen(function* () {
          const pid = yield* GenServer.startLink(server, ["ok"], { name: "n" })
          names = [pid, yield* Process.self]
          yield* GenServer.cast(pid, "crash")
          yield* GenServer.cast(pid, "stop")
          yield* quiet
        })
      )
      assert.lengthOf(all, 1)
      const report = all[0] as Report.CrashReport
      assert.strictEqual(report.kind, "GenServer")
      assert.strictEqual(report.name, "n")
      assert.strictEqual(report.pid, names[0])
      assert.deepStrictEqual(report.ancestors, [names[1] as never])
      assert.deepStrictEqual(report.links, [names[1] as never])
      assert.strictEqual(report.mailbox, 1)
      assert.isFalse(report.trapExit)
      assert.strictEqual(ExitReason.format(report.reason), "crashed: Error: a bug")
    })
  )

  it.effect("of every kind, also when it is their init that fails", () =>
    Effect.gen(function* () {
      const all = yield* reports(
        Effect.gen(function* () {
          yield* Process.spawn(Effect.fail("no"), { label: "spawned" })
          yield* Process.spawn(Process.exit(boom), { label: "exits" })
          yield* Task.asyncNoLink(Effect.die("bug"), { label: "task" })
          yield* Effect.flip(GenServer.start(server, ["stop"], { label: "init" }))
          yield* quiet
        })
      )
      assert.deepStrictEqual(crashesOf(all).toSorted(), [
        "GenServer init: boom",
        "Task task: crashed: bug",
        "process exits: boom",
        "process spawned: crashed: no"
      ])
    })
  )

  it.effect("nothing of an orderly end, of one that a signal brings, and of a failure that is somebody's result", () =>
    Effect.gen(function* () {
      const all = yield* reports(
        Effect.gen(function* () {
          for (const reason of [ExitReason.normal, ExitReason.shutdown, ExitReason.shutdownWith("x")]) {
            yield* Process.spawn(Process.exit(reason))
          }
          for (const reason of [ExitReason.kill, boom]) {
            yield* Process.exit(yield* Process.spawn(Effect.never), reason)
          }
          yield* Effect.flip(Process.run(Effect.fail("mine")))
          const task = yield* Task.asyncNoLink(Effect.fail("a result"))
          yield* Effect.flip(Task.await(task))
          yield* quiet
        })
      )
      assert.deepStrictEqual(all, [])
    })
  )
})

describe("Reports", () => {
  interface Line {
    readonly level: string
    readonly message: unknown
    readonly annotations: Readonly<Record<string, unknown>>
  }
  const crash = Effect.gen(function* () {
    const sup = yield* Supervisor.startLink(
      { ...often, children: [worker("a", { restart: "transient" })] },
      { label: "top" }
    )
    yield* end((yield* pids(sup))[0])
  })

  const logged = (reporting?: Report.Reporting) =>
    Effect.suspend(() => {
      const lines: Array<Line> = []
      const logger = Logger.make(({ fiber, logLevel, message }) => {
        lines.push({ level: logLevel, message, annotations: fiber.getRef(References.CurrentLogAnnotations) })
      })
      const body = ActorSystem.scoped(Process.run(Effect.andThen(Process.trapExit(true), crash)))
      return (reporting === undefined ? body : Effect.provideService(body, Report.Reports, reporting)).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.as(lines)
      )
    })

  it.effect("by default are logged at level Error, with their fields as annotations", () =>
    Effect.gen(function* () {
      const lines = yield* logged()
      assert.deepStrictEqual(
        lines.map(({ level, message }) => [level, message]),
        [
          ["Error", ["process <3 a> ended: boom"]],
          ["Error", [`supervisor <2 top>: child "a" <3 a> ended: boom`]]
        ]
      )
      assert.deepStrictEqual(lines[0]?.annotations, {
        process: {
          pid: "<3 a>",
          label: "a",
          kind: "process",
          ancestors: ["<2 top>", "<1>"],
          mailbox: 0,
          links: ["<2 top>"],
          trapExit: false
        },
        reason: "boom"
      })
      assert.deepStrictEqual(lines[1]?.annotations, {
        supervisor: "<2 top>",
        errorContext: "childTerminated",
        reason: "boom",
        offender: {
          pid: "<3 a>",
          id: "a",
          restart: "transient",
          shutdown: 5000,
          type: "worker",
          significant: false
        }
      })
    })
  )

  it.effect("are dropped when it is quiet, and only told to a function that is given", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* logged("quiet"), [])
      const told: Array<string> = []
      assert.deepStrictEqual(yield* logged((report) => Effect.sync(() => told.push(Report.format(report)))), [])
      assert.deepStrictEqual(told, ["process <3 a> ended: boom", `supervisor <2 top>: child "a" <3 a> ended: boom`])
    })
  )

  it.effect("are set by a Layer for all that another Layer starts", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const tell: Report.Reporting = (report) => Effect.sync(() => told.push(report._tag))
      const tree = Supervisor.layer({
        children: [Supervisor.child("a", Effect.die("a bug"), { restart: "temporary" })]
      }).pipe(Layer.provide(Layer.succeed(Report.Reports, tell)))
      yield* ActorSystem.scoped(Effect.provide(quiet, tree))
      assert.deepStrictEqual(told, ["CrashReport", "SupervisorReport"])
    })
  )

  it.effect("are the program's no matter what the function does", () =>
    Effect.gen(function* () {
      const calls: Array<string> = []
      const throws = (report: Report.Report): Effect.Effect<never> => {
        calls.push(report._tag)
        throw new Error("a bug in the reporter")
      }
      assert.deepStrictEqual(yield* logged(throws), [])
      assert.deepStrictEqual(calls, ["CrashReport", "SupervisorReport"])
    })
  )

  it("say what happened in one line", () => {
    const offender = {
      id: "a",
      pid: undefined,
      restart: "permanent",
      shutdown: 5000,
      type: "worker",
      significant: false
    } as const
    const line = (errorContext: Report.ErrorContext, reason = boom, more: Partial<Report.Offender> = {}) =>
      Report.format(
        new Report.SupervisorReport({
          supervisor: "<1>" as never,
          errorContext,
          reason,
          offender: { ...offender, ...more }
        })
      )
    assert.strictEqual(
      line("startError", ExitReason.crashed(Cause.die(new Error("bug")))),
      'supervisor <1>: child "a" did not start: crashed: Error: bug'
    )
    assert.strictEqual(line("shutdown"), 'supervisor <1>: child "a" ended too often, so the supervisor gives up')
    assert.strictEqual(
      line("shutdownError", boom, { count: 2 }),
      'supervisor <1>: child "a" (2 processes) was stopped, and ended with another reason: boom'
    )
  })
})
