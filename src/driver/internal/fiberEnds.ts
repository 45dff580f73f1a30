/**
 * Fibers of tests that failed while nothing observed how they ended.
 *
 * Effect says nothing of them: `yield* Effect.forkScoped(load)` goes on as if the load did. So while a run is watched, each fiber of a test is
 * looked at when it ends, and from then on whether somebody looks at its end: `Fiber.join`, `Fiber.await`, `Effect.all` and their kin do.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Process from "../../actors/Process.ts"
import { read } from "../../host/Thrown.ts"
import * as TestContext from "./testContext.ts"

type Ended = Exit.Exit<unknown, unknown>
type Observer = (exit: Ended) => void

/** What is watched of a fiber. */
interface FiberLike {
  readonly context: Context.Context<never>
  evaluate(effect: unknown): void
  addObserver(observer: Observer): () => void
  interruptUnsafe(...args: ReadonlyArray<unknown>): void
  pollUnsafe(): unknown
}

interface Watched {
  /** Whether somebody will hear of its end. */
  heard: boolean
  /** Whether whoever starts it looks once, for itself, at whether it has ended at once. */
  starting: boolean
}

const known = new WeakMap<object, Watched>()
const silent = new WeakSet<Observer>()

/** An observer that does not show that somebody cares how the fiber ends. */
export const silently = (observer: Observer): Observer => {
  silent.add(observer)
  return observer
}

/** A scope only forgets the fiber. The function's own text is all that tells it from others. */
const isHousekeeping = (observer: Observer): boolean =>
  silent.has(observer) || observer.toString().includes("scopeRemoveFinalizer")

/**
 * Has somebody who asks later for the end of a fiber that has failed take it off the list. Who interrupts it does not ask; nor does `Effect.runFork` or
 * `Effect.forkIn`, which look once whether the fiber that they started has ended at once.
 */
const forgetWhenSeen = (fiber: FiberLike, exit: Ended, { unseen }: TestContext.TestContext, { starting }: Watched) => {
  let interrupting = false
  let looks = starting ? 0 : 1
  const see = () => {
    unseen.delete(fiber)
    return exit
  }
  Object.defineProperty(fiber, "_exit", {
    configurable: true,
    get: () => (interrupting || looks++ === 0 ? exit : see())
  })
  fiber.pollUnsafe = see
  fiber.interruptUnsafe = () => {
    interrupting = true
    queueMicrotask(() => {
      interrupting = false
    })
  }
}

/** It was interrupted, or came to the end of a stream or queue, which Effect tells as a failure with `Done`. */
const isOrderly = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.every(
    (reason) =>
      Cause.isInterruptReason(reason) || (Cause.isFailReason(reason) && read(() => Cause.isDone(reason.error), false))
  )

const noteEnd = (fiber: FiberLike, watched: Watched, context: TestContext.TestContext) => (exit: Ended) => {
  if (watched.heard || Exit.isSuccess(exit) || isOrderly(exit.cause)) return
  context.unseen.set(fiber, exit.cause)
  forgetWhenSeen(fiber, exit, context, watched)
  context.late?.(fiber)
}

/** The kind of effect that `Effect.cached` runs, whose callers get the end that it looks at. */
const onExit: unknown = Object.getPrototypeOf(Effect.onExit(Effect.void, () => Effect.void))

let watchers = 0
let unpatch = () => {}

const patch = (prototype: FiberLike) => {
  const { addObserver, evaluate } = prototype
  const watchedOf = (fiber: FiberLike): Watched | undefined => {
    const before = known.get(fiber)
    if (before !== undefined) return before
    const context = TestContext.current()
    if (context === undefined) return undefined
    // Processes that the script starts have supervisors and monitors, which hear of their ends.
    const process = Context.getOrUndefined(fiber.context, Process.Self)
    const watched = { heard: process !== Context.get(fiber.context, TestContext.ScriptProcess), starting: true }
    known.set(fiber, watched)
    addObserver.call(fiber, noteEnd(fiber, watched, context))
    return watched
  }
  prototype.evaluate = function (this: FiberLike, effect) {
    const watched = watchedOf(this)
    if (watched?.starting === true && Object.getPrototypeOf(Object(effect)) === onExit) watched.starting = false
    evaluate.call(this, effect)
    if (watched !== undefined) watched.starting = false
  }
  prototype.addObserver = function (this: FiberLike, observer) {
    const watched = isHousekeeping(observer) ? undefined : watchedOf(this)
    if (watched !== undefined) watched.heard = true
    return addObserver.call(this, observer)
  }
  unpatch = () => Object.assign(prototype, { addObserver, evaluate })
}

/** Watches the fibers of tests while the effect runs. */
export const watch = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(
    Effect.withFiber((fiber) =>
      Effect.sync(() => {
        watchers += 1
        if (watchers === 1) patch(Object.getPrototypeOf(fiber))
      })
    ),
    () => effect,
    () =>
      Effect.sync(() => {
        watchers -= 1
        if (watchers === 0) unpatch()
      })
  )
