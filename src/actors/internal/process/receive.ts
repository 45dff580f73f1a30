/** Taking messages from the mailbox of the process that runs, and waiting for one. */
import type * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import { type Letter, Message } from "./mailbox.ts"
import { currentFiber, type Parkable } from "./park.ts"
import type { ProcessImpl, Waiter } from "./process.ts"
import { self as currentProcess } from "./start.ts"
import { FunctionTimer } from "./timers.ts"

/** Takes the first message that fits, if there is one. */
export const takeMatching = <A>(process: ProcessImpl, select: (message: unknown) => A | undefined): A | undefined => {
  let before: Letter | undefined
  for (let letter = process.firstLetter; letter !== undefined; letter = letter.nextLetter) {
    const found = select(letter instanceof Message ? letter.value : letter)
    if (found !== undefined) {
      process.takeAfter(before, letter)
      return found
    }
    before = letter
  }
  return undefined
}

/** What a process takes of a message; undefined leaves the message where it is. */
export type Select<A> = (message: unknown) => A | undefined

/** One fiber that waits for a message. */
class Receiving<A> implements Waiter {
  private readonly fiber: Parkable
  private readonly select: Select<A> | undefined
  constructor(fiber: Parkable, select: Select<A> | undefined) {
    this.fiber = fiber
    this.select = select
  }
  wake(process: ProcessImpl): void {
    const message = take(process, this.select)
    if (message !== undefined) this.fiber.evaluate(message)
  }
}

/** A limit for a wait, and the failure when it has passed. */
interface Limit<E> {
  readonly millis: number
  readonly failure: Exit.Exit<never, E>
}

/** Takes a message, or waits for one. An Effect of its own, because one made of others would cost each message several times as much. */
export class Receive<A, E = never> extends Effectable.Class<A, E> {
  private readonly select: Select<A> | undefined
  private readonly limit: Limit<E> | undefined
  constructor(select: Select<A> | undefined, limit?: Limit<E>) {
    super()
    this.select = select
    this.limit = limit
  }
  asEffect(): Effect.Effect<A, E> {
    const fiber = currentFiber()
    const process = currentProcess()
    const found = take(process, this.select)
    if (found !== undefined) return found
    const { limit } = this
    if (limit !== undefined && limit.millis <= 0) return limit.failure
    if (process.waiter !== undefined) return Exit.die(new Error("two fibers of one process receive at the same time"))
    process.waiter = new Receiving(fiber, this.select)
    if (limit === undefined || limit.millis === Number.POSITIVE_INFINITY) {
      return fiber.yieldWith(() => {
        process.waiter = undefined
      })
    }
    const timer = new FunctionTimer(() => fiber.evaluate(limit.failure))
    process.system.addTimer(fiber, timer, limit.millis)
    return fiber.yieldWith(() => {
      process.waiter = undefined
      timer.cancel()
    })
  }
}

/** The first message, or the first that fits, if it is there. */
const take = <A>(process: ProcessImpl, select: Select<A> | undefined): Exit.Exit<A> | undefined => {
  if (select !== undefined) {
    const found = takeMatching(process, select)
    return found === undefined ? undefined : Exit.succeed(found)
  }
  const letter = process.takeFirst()
  if (letter === undefined) return undefined
  return Exit.succeed((letter instanceof Message ? letter.value : letter) as A)
}
