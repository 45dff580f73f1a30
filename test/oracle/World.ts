/**
 * A world of its own for one scenario: a scheduler that is pumped by hand and a Clock that only moves when nothing else can.
 * So a scenario runs at once, to the end, without ever sleeping, and always in the same order.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scheduler from "effect/Scheduler"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import { SystemImpl } from "../../src/actors/internal/process/system.ts"
import * as Report from "../../src/actors/Report.ts"

interface Sleeper {
  readonly at: number
  readonly wake: () => void
}

export class World {
  readonly system = new SystemImpl({ abandonAfter: 5000 })
  /** Milliseconds since the scenario began. */
  now = 0
  private tasks: Array<() => void> = []
  private sleepers: Array<Sleeper> = []
  private idlers: Array<() => void> = []

  /** Succeeds as soon as nothing can go on without time passing. */
  readonly idle: Effect.Effect<void> = Effect.callback((resume) => {
    this.idlers.push(() => resume(Exit.void))
  })

  private readonly dispatcher: Scheduler.SchedulerDispatcher = {
    scheduleTask: (task) => {
      this.tasks.push(task)
    },
    flush: () => this.pump()
  }

  private readonly scheduler: Scheduler.Scheduler = {
    executionMode: "sync",
    shouldYield: (fiber) => fiber.currentOpCount >= 2048,
    makeDispatcher: () => this.dispatcher
  }

  private readonly clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => this.now,
    currentTimeMillis: Effect.sync(() => this.now),
    currentTimeNanosUnsafe: () => BigInt(Math.round(this.now * 1e6)),
    currentTimeNanos: Effect.sync(() => BigInt(Math.round(this.now * 1e6))),
    monotonicTimeNanosUnsafe: () => BigInt(Math.round(this.now * 1e6)),
    monotonicTimeNanos: Effect.sync(() => BigInt(Math.round(this.now * 1e6))),
    sleep: (duration) =>
      Effect.callback((resume) => {
        const sleeper = { at: this.now + Duration.toMillis(duration), wake: () => resume(Exit.void) }
        this.sleepers.push(sleeper)
        return Effect.sync(() => {
          this.sleepers = this.sleepers.filter((each) => each !== sleeper)
        })
      })
  }

  /** Runs an Effect to its end. */
  run<A, E>(effect: Effect.Effect<A, E>, reporting: Report.Reporting = "quiet"): Exit.Exit<A, E> {
    const context = Context.empty().pipe(
      Context.add(Scheduler.Scheduler, this.scheduler),
      Context.add(Clock.Clock, this.clock),
      Context.add(ActorSystem.ActorSystem, this.system),
      Context.add(Report.Reports, reporting)
    )
    const fiber = Effect.runForkWith(context)(effect)
    for (;;) {
      this.pump()
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return exit
      const idler = this.idlers.shift()
      if (idler !== undefined) idler()
      else if (!this.pass()) return Exit.die(new Error("nothing is left that could go on"))
    }
  }

  private pump(): void {
    while (this.tasks.length > 0) {
      const tasks = this.tasks
      this.tasks = []
      for (const task of tasks) task()
    }
  }

  /** Moves the time on to the next sleeper's end. */
  private pass(): boolean {
    const [first] = this.sleepers.sort((a, b) => a.at - b.at)
    if (first === undefined) return false
    this.sleepers.shift()
    this.now = Math.max(this.now, first.at)
    first.wake()
    return true
  }
}
