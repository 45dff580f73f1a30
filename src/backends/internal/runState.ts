/** Who may let a guest stand still and go on: one at a time, so that it does what the last who asked for something wants. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Semaphore from "effect/Semaphore"
import type { ControlService, Exclusive, SavedMachine } from "../Backend.ts"
import type { ControlError, SaveError } from "../BackendError.ts"

/** What a hypervisor can do to its guest; nothing here knows of the other. */
interface Controls {
  readonly isRunning: Effect.Effect<boolean, ControlError>
  readonly stop: Effect.Effect<void, ControlError>
  /** Stops it in order to save it, where that is another way. Default: `stop`. */
  readonly hold?: Effect.Effect<void, ControlError>
  readonly resume: Effect.Effect<void, ControlError>
  /** Saves a paused guest. It need not continue by itself afterwards: it is resumed if it ran before. */
  readonly save: (directory: string) => Effect.Effect<SavedMachine, SaveError>
  /** What an error of the others is to a save. */
  readonly notSaved: (error: ControlError, directory: string) => SaveError
}

/** The part of a hypervisor that lets its guest stand still. */
export type RunState = Pick<ControlService, "pause" | "resume" | "exclusive" | "save">

/** In a fiber of its own: one that was interrupted cannot wait for an answer any more. */
export const apart = (effect: Effect.Effect<unknown>) => Effect.flatMap(Effect.forkDetach(effect), Fiber.await)

/** What the connections to one hypervisor share: who has it, and whether a guest is paused that a lost connection was to resume. */
export interface Turn {
  readonly one: Semaphore.Semaphore
  leftPaused: boolean
}

export const makeTurn = (): Turn => ({ one: Semaphore.makeUnsafe(1), leftPaused: false })

/** Resumes a guest that an earlier connection left paused. */
export const recover = (turn: Turn, resume: Effect.Effect<void, ControlError>): Effect.Effect<void, ControlError> =>
  Effect.suspend(() => {
    if (!turn.leftPaused) return Effect.void
    turn.leftPaused = false
    return resume
  })

export const make = (
  { resume, isRunning, notSaved, save, stop, hold = stop }: Controls,
  turn: Turn = makeTurn()
): RunState => {
  const { one } = turn
  const paused = Effect.tap(isRunning, (running) => (running ? hold : Effect.void))
  // A machine that ended meanwhile has better news than that it does not go on; of one that did not, nobody else would tell.
  const resumeOrWarn = Effect.catch(resume, (error) => {
    // The next connection resumes it.
    turn.leftPaused = error._tag === "TransportError"
    return Effect.logWarning(`could not resume a guest after it was saved: ${error.message}`)
  })
  const leave = (error: ControlError) =>
    Effect.sync(() => {
      turn.leftPaused = error._tag === "TransportError"
    })
  const resumeAgain = (ran: boolean) => (ran ? apart(resumeOrWarn) : Effect.void)

  const savePaused = (directory: string) => {
    const failed = Effect.mapError((error: ControlError) => notSaved(error, directory))
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const ran = yield* failed(paused)
        const exit = yield* Effect.exit(restore(save(directory)))
        if (exit._tag === "Failure") yield* resumeAgain(ran)
        else if (ran) yield* failed(Effect.tapError(resume, (error) => leave(error)))
        return yield* exit
      })
    )
  }

  const exclusive: Exclusive = { pause: Effect.asVoid(Effect.acquireRelease(paused, resumeAgain)), save: savePaused }
  return {
    pause: one.withPermit(stop),
    resume: one.withPermit(resume),
    exclusive: Effect.as(
      Effect.acquireRelease(one.take(1), () => one.release(1), { interruptible: true }),
      exclusive
    ),
    save: (directory) => one.withPermit(savePaused(directory))
  }
}
