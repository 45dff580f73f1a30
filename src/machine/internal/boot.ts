/** One boot of a machine: what the processes of its tree hand to each other, and to those who wait. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Console, Hypervisor, MachineExit } from "../../backends/Backend.ts"
import { BootFailed, MachineDied } from "../../guest/MachineError.ts"
import type { MachineState } from "../../guest/MachineEvent.ts"
import { pausedMessage } from "../../guest/Paused.ts"
import type { ShellService } from "../../transport/Shell.ts"
import type { Machine } from "../Machine.ts"
import * as Origin from "../Origin.ts"

/** A value that may be taken back and given anew; who asks meanwhile waits. */
export class Cell<A, E> {
  private deferred: Deferred.Deferred<A, E> = Deferred.makeUnsafe()
  private given = false

  readonly get: Effect.Effect<A, E> = Effect.suspend(() => Deferred.await(this.deferred))

  give(value: A): void {
    this.settle(Exit.succeed(value))
  }

  fail(error: E): void {
    this.settle(Exit.fail(error))
  }

  takeBack(): void {
    if (!this.given) return
    this.given = false
    this.deferred = Deferred.makeUnsafe()
  }

  private settle(exit: Exit.Exit<A, E>): void {
    if (this.given) this.takeBack()
    this.given = true
    Deferred.doneUnsafe(this.deferred, exit)
  }
}

export type Loss = MachineDied | BootFailed

/** What the tree of one boot tells the machine. */
export interface Listener {
  readonly machine: string
  readonly onState: (state: MachineState, detail: string) => Effect.Effect<void>
}

export class Boot {
  readonly hypervisor = new Cell<Hypervisor, Loss>()
  readonly shell = new Cell<ShellService, Loss>()
  readonly ready = new Cell<void, Loss>()
  /** Fails when the machine ends and nobody had asked for that. */
  private readonly loss: Deferred.Deferred<never, Loss> = Deferred.makeUnsafe()
  private readonly over: Deferred.Deferred<void> = Deferred.makeUnsafe()
  private readonly listener: Listener
  /** There from the start of the hypervisor on, and after its end. */
  console: Console | undefined
  /** The test asked for the end: shutdown, crash, the end of the test. */
  asked = false
  isOver = false
  /** The test has paused it. */
  isPaused = false
  /** What it is, or will be when it goes on. */
  private current: MachineState = "booting"
  /** Asked when the hypervisor is to be started. */
  readonly comesFrom: Effect.Effect<Origin.Origin, never, Scope.Scope>
  /** A guest that went on from a saved one has its own time, entropy and identity. */
  renewed = false
  /** Where it really came from; known when the hypervisor is. */
  origin: Origin.Origin = Origin.boot
  /** The machine as only what makes it ready may use it: commands do not wait until it is. */
  readonly inside: () => Machine
  private readonly done = new Set<string>()
  /** Told when the guest was reset; set by the process that makes it ready again. */
  onReset: Effect.Effect<void> = Effect.void

  constructor(
    listener: Listener,
    comesFrom: Effect.Effect<Origin.Origin, never, Scope.Scope>,
    inside: (boot: Boot) => Machine
  ) {
    this.listener = listener
    this.comesFrom = comesFrom
    this.inside = () => inside(this)
  }

  /** A step that is taken once in a boot, however often the guest reboots or a process is started again. */
  once<E, R>(
    step: string,
    take: (origin: Origin.Origin, hypervisor: Hypervisor) => Effect.Effect<void, E, R>
  ): Effect.Effect<void, E | Loss, R> {
    return Effect.flatMap(this.hypervisor.get, (hypervisor) => {
      if (this.done.has(step)) return Effect.void
      this.done.add(step)
      return take(this.origin, hypervisor)
    })
  }

  readonly lost: Effect.Effect<never, Loss> = Effect.suspend(() => Deferred.await(this.loss))
  readonly ended: Effect.Effect<void> = Effect.suspend(() => Deferred.await(this.over))

  /** The hypervisor is gone. */
  end(exit: MachineExit): Effect.Effect<void> {
    const died = new MachineDied({
      machine: this.listener.machine,
      exitCode: exit.exitCode ?? -1,
      signal: exit.signal ?? "",
      doing: "",
      ended: this.asked && exit.signal === "SIGKILL" ? "test" : (exit.cause ?? ""),
      hypervisor: exit.stderr,
      console: exit.consoleTail
    })
    const poweredOff = exit.exitCode === 0 && exit.cause !== "reset"
    return this.finish(died, this.asked || poweredOff ? "stopped" : "crashed", this.asked ? "" : died.summary)
  }

  /** The machine did not come up. */
  fail(reason: string, console: string): Effect.Effect<void> {
    const why = this.isPaused ? `${reason} (${pausedMessage})` : reason
    const failed = new BootFailed({ machine: this.listener.machine, reason: why, console })
    return this.finish(failed, this.asked ? "stopped" : "crashed", this.asked ? "" : reason)
  }

  private finish(loss: Loss, state: MachineState, detail: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.isOver) return Effect.void
      this.isOver = true
      return Effect.andThen(
        this.listener.onState(state, detail),
        Effect.sync(() => {
          for (const cell of [this.hypervisor, this.shell, this.ready]) cell.fail(loss)
          Deferred.doneUnsafe(this.loss, Exit.fail(loss))
          Deferred.doneUnsafe(this.over, Exit.void)
        })
      )
    })
  }

  /** Told when a command found the shell gone; set by the process that owns the shell. */
  onShellLost: Effect.Effect<void> = Effect.void

  /** How often the guest was reset. */
  resets = 0

  /** Since when it is becoming what the test declared; undefined of a guest that is. */
  begun: number | undefined

  /** The guest was reset: what ran in it is gone, and it boots again. */
  readonly rebooted: Effect.Effect<void> = Effect.suspend(() => {
    this.resets += 1
    this.ready.takeBack()
    return Effect.andThen(
      this.state("booting"),
      Effect.suspend(() => this.onReset)
    )
  })

  /** What becomes of one that is paused is told when it goes on. */
  state(state: MachineState, detail = ""): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.current = state
      return this.isOver || this.isPaused ? Effect.void : this.listener.onState(state, detail)
    })
  }

  readonly paused: Effect.Effect<void> = Effect.suspend(() => {
    if (this.isOver) return Effect.void
    this.isPaused = true
    return this.listener.onState("paused", "")
  })

  readonly resumed: Effect.Effect<void> = Effect.suspend(() => {
    if (!this.isPaused) return Effect.void
    this.isPaused = false
    return this.state(this.current)
  })
}
