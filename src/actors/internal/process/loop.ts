/**
 * The receive loop that behaviours share.
 *
 * A behaviour says what to do with a letter; the loop does the rest of what OTP's `gen` modules have in common: the
 * parent's exit ends the process through its terminate callback, a crash does too, and system letters (stop, suspend, look
 * at the state) are answered between messages. While nothing is asynchronous the process's fiber stays parked and letters
 * are handled straight from the run queue; a handler that returns an unfinished Effect wakes the fiber to run it.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import * as ExitReason from "../../ExitReason.ts"
import { ExitMessage, type Letter, Message } from "./mailbox.ts"
import { currentFiber } from "./park.ts"
import type { ProcessImpl, Waiter } from "./process.ts"

/** What a handler leaves to be done: nothing, or an Effect that has to run in the process's fiber. */
export type Work = Effect.Effect<unknown, unknown> | undefined

/** A letter for the loop itself. */
export class SystemLetter implements Letter {
  nextLetter: Letter | undefined = undefined
  readonly act: (loop: MessageLoop) => void
  constructor(act: (loop: MessageLoop) => void) {
    this.act = act
  }
}

/** Letters handled in one turn before others get theirs. */
const lettersPerTurn = 256

export abstract class MessageLoop extends Effectable.Class<never, unknown> implements Waiter {
  readonly process: ProcessImpl
  /** Runs before the next letter, whatever is in the mailbox. */
  protected next: (() => Work) | undefined = undefined
  private suspended = false
  private deaf = false
  private stopping: ExitReason.ExitReason | undefined = undefined
  private terminating = false
  private farewell: (() => void) | undefined = undefined

  constructor(process: ProcessImpl) {
    super()
    this.process = process
    process.behaviour = this
  }

  /** What an observer says of the process besides whether it waits. */
  get condition(): "suspended" | "exiting" | undefined {
    if (this.terminating || this.stopping !== undefined) return "exiting"
    return this.suspended ? "suspended" : undefined
  }

  /** Handles one letter. */
  protected abstract handle(letter: Letter): Work
  /** The behaviour's last act; not run for a process that is killed or does not trap exits and is signalled. */
  protected abstract terminate(reason: ExitReason.ExitReason): Work
  /** The state that `getState` shows. */
  abstract state: unknown

  /** The loop, to be run by the process once its init is done; ends only with the process. */
  guarded(): Effect.Effect<never, unknown> {
    return this.guard(this)
  }

  private guard(work: Effect.Effect<never, unknown>): Effect.Effect<never, unknown> {
    return Effect.catchCause(work, (cause) => this.crashed(cause))
  }

  /** Waits for letters without a fiber: one is made when a handler leaves something unfinished. */
  park(): void {
    this.process.waiter = this
    if (this.process.firstLetter !== undefined || this.next !== undefined) this.process.awaken()
  }

  recover(error: unknown): Effect.Effect<never, unknown> {
    return this.guard(Exit.die(error))
  }

  /** Ends the process after this letter; `farewell` runs between terminate and the end. */
  stop(reason: ExitReason.ExitReason, farewell?: () => void): void {
    this.stopping = reason
    this.farewell = farewell
  }

  suspend(): void {
    this.suspended = true
  }

  resume(): void {
    this.suspended = false
  }

  /** Leaves all letters alone until {@link listen}: what a handler has begun is not an Effect and not done yet. */
  protected ignoreLetters(): void {
    this.deaf = true
  }

  protected listen(): void {
    this.deaf = false
    if (this.process.reason === undefined) this.process.awaken()
  }

  asEffect(): Effect.Effect<never, unknown> {
    const work = this.pump()
    if (work !== undefined) return work
    this.process.waiter = this
    if (this.hasWork()) this.process.awaken()
    return currentFiber().yieldWith(() => {
      this.process.waiter = undefined
    })
  }

  wake(process: ProcessImpl): void {
    process.queued = true
    const work = this.pump()
    process.queued = false
    if (work !== undefined) process.execute(process.fiber === undefined ? this.guard(work) : work)
    else if (process.pending !== undefined || this.hasWork()) process.awaken()
  }

  private hasWork(): boolean {
    if (this.deaf) return false
    return this.next !== undefined || (this.process.firstLetter !== undefined && !this.suspended)
  }

  private pump(): Effect.Effect<never, unknown> | undefined {
    for (let turns = 0; turns < lettersPerTurn; turns++) {
      if (this.deaf) return undefined
      if (this.stopping !== undefined) return this.ending(this.stopping)
      let work: Work
      const next = this.next
      if (next !== undefined) {
        this.next = undefined
        work = next()
      } else {
        const letter = this.suspended ? this.takeUrgent() : this.process.takeFirst()
        if (letter === undefined) return undefined
        work = this.dispatch(letter)
      }
      if (work !== undefined) return Effect.flatMap(work, () => this)
    }
    if (this.stopping !== undefined) return this.ending(this.stopping)
    return undefined
  }

  private dispatch(letter: Letter): Work {
    if (letter instanceof SystemLetter) {
      letter.act(this)
      return undefined
    }
    if (this.isParentsExit(letter)) {
      this.stop(letter.value.reason)
      return undefined
    }
    return this.handle(letter)
  }

  private isParentsExit(letter: Letter): letter is Message & { readonly value: ExitMessage } {
    if (!(letter instanceof Message) || !(letter.value instanceof ExitMessage)) return false
    return letter.value.from !== undefined && letter.value.from === this.process.parent
  }

  /** A suspended process only listens to the system and to its parent's end. */
  private takeUrgent(): Letter | undefined {
    let before: Letter | undefined
    for (let letter = this.process.firstLetter; letter !== undefined; letter = letter.nextLetter) {
      if (letter instanceof SystemLetter || this.isParentsExit(letter)) {
        this.process.takeAfter(before, letter)
        return letter
      }
      before = letter
    }
    return undefined
  }

  private crashed(cause: Cause.Cause<unknown>): Effect.Effect<never, unknown> {
    return this.terminating ? Effect.failCause(cause) : (this.ending(ExitReason.fromCause(cause)) ?? Exit.die(cause))
  }

  private ending(reason: ExitReason.ExitReason): Effect.Effect<never, unknown> | undefined {
    this.terminating = true
    if (this.process.fiber === undefined) {
      const work = this.terminate(reason)
      if (work === undefined) {
        this.farewell?.()
        this.process.end(reason)
        return undefined
      }
      return this.leaving(work, reason)
    }
    return this.leaving(
      Effect.suspend(() => this.terminate(reason) ?? Exit.void),
      reason
    )
  }

  private leaving(work: Effect.Effect<unknown, unknown>, reason: ExitReason.ExitReason): Effect.Effect<never, unknown> {
    return Effect.flatMap(work, () => {
      this.farewell?.()
      return Exit.die(new ExitReason.ExitDefect(reason))
    })
  }
}
