/**
 * Stopping a process from outside and waiting for its end.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ExitReason from "../../ExitReason.ts"
import { SystemLetter } from "./loop.ts"
import { currentFiber } from "./park.ts"
import { type ProcessImpl, sendExit } from "./process.ts"
import { FunctionTimer } from "./timers.ts"
import { Watcher } from "./watcher.ts"

class Wait extends Watcher {
  private readonly onDown: (reason: ExitReason.ExitReason) => void
  private readonly onTimeout: () => void
  constructor(onDown: (reason: ExitReason.ExitReason) => void, onTimeout: () => void) {
    super()
    this.onDown = onDown
    this.onTimeout = onTimeout
  }
  down(reason: ExitReason.ExitReason) {
    this.cancel()
    this.onDown(reason)
  }
  fire() {
    this.onTimeout()
  }
}

/** Waits for the end of a process; `undefined` when `timeout` milliseconds pass first. */
export const awaitDown = (process: ProcessImpl, timeout: number): Effect.Effect<ExitReason.ExitReason | undefined> =>
  Effect.callback((resume) => {
    if (process.reason !== undefined) return resume(Exit.succeed(process.reason))
    const wait = new Wait(
      (reason) => resume(Exit.succeed(reason)),
      () => {
        wait.unwatch()
        resume(Exit.succeed(undefined))
      }
    )
    process.watch(wait)
    if (timeout !== Number.POSITIVE_INFINITY) process.system.addTimer(currentFiber(), wait, timeout)
    return Effect.sync(() => {
      wait.unwatch()
      wait.cancel()
    })
  })

/** Waits until every one of `processes` has ended, or `timeout` milliseconds have passed. */
export const awaitAllDown = (processes: ReadonlyArray<ProcessImpl>, timeout: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const waits = new Set<Wait>()
    const timer = new FunctionTimer(() => end())
    const leave = () => {
      timer.cancel()
      for (const wait of waits) wait.unwatch()
      waits.clear()
    }
    const end = () => {
      leave()
      resume(Exit.void)
    }
    for (const process of processes) {
      if (process.reason !== undefined) continue
      const wait = new Wait(() => {
        waits.delete(wait)
        if (waits.size === 0) end()
      }, end)
      process.watch(wait)
      waits.add(wait)
    }
    const system = processes[0]?.system
    if (waits.size === 0 || system === undefined) return end()
    // No time at all still leaves everyone the turn that they have been given.
    if (timeout <= 0) system.enqueue({ run: end, crash: () => {} })
    else if (timeout !== Number.POSITIVE_INFINITY) system.addTimer(currentFiber(), timer, timeout)
    return Effect.sync(leave)
  })

/** Asks a behaviour to end with `reason`, through its terminate callback. */
export const askToStop = (process: ProcessImpl, reason: ExitReason.ExitReason): void =>
  process.deliver(new SystemLetter((loop) => loop.stop(reason)))

/** How long a process that belongs to a Scope may take to stop before it is killed, in milliseconds; OTP's default. */
const patience = 5000

/** Stops a process with `shutdown`, kills it when that takes longer than `timeout`, and waits for its end. */
export const shutdownAndWait = (process: ProcessImpl, timeout = patience): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (process.reason !== undefined) return Exit.void
    askToStop(process, ExitReason.shutdown)
    return Effect.flatMap(awaitDown(process, timeout), (reason) => {
      if (reason !== undefined) return Exit.void
      sendExit(undefined, process, ExitReason.kill, false)
      return Effect.asVoid(awaitDown(process, Number.POSITIVE_INFINITY))
    })
  })
