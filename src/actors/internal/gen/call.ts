/**
 * Requests that wait for a reply.
 *
 * One object is everything that a call needs: the letter in the server's mailbox, the `from` that is replied to, the
 * deadline, and the watch on the server's death. A reply, the deadline and the death race; the first one settles it.
 */
import type * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import { type CallError, CallingSelf, CallTimeout, NoProcess, ServerExit } from "../../CallError.ts"
import type * as ExitReason from "../../ExitReason.ts"
import { resolve } from "../process/current.ts"
import type { Letter } from "../process/mailbox.ts"
import type { Address } from "../process/names.ts"
import { currentFiber, type Parkable } from "../process/park.ts"
import { describe, type ProcessImpl } from "../process/process.ts"
import type { Runnable } from "../process/system.ts"
import { Watcher } from "../process/watcher.ts"

export class PendingCall extends Watcher implements Letter, Runnable {
  nextLetter: Letter | undefined = undefined
  readonly tag: string
  readonly payload: unknown
  private readonly server: ProcessImpl
  private readonly timeout: number
  private readonly fiber: Parkable
  private result: Exit.Exit<unknown, unknown> | undefined = undefined
  private waiting = true

  constructor(fiber: Parkable, server: ProcessImpl, tag: string, payload: unknown, timeout: number) {
    super()
    this.fiber = fiber
    this.server = server
    this.tag = tag
    this.payload = payload
    this.timeout = timeout
  }

  /** Answers the caller; the second answer and a late one are dropped. */
  settle(result: Exit.Exit<unknown, unknown>): void {
    if (!this.waiting || this.result !== undefined) return
    this.result = result
    this.server.system.enqueue(this)
  }

  down(reason: ExitReason.ExitReason): void {
    this.settle(Exit.fail(new ServerExit({ server: describe(this.server), request: this.tag, reason })))
  }

  fire(): void {
    this.settle(Exit.fail(new CallTimeout({ server: describe(this.server), request: this.tag, timeout: this.timeout })))
  }

  /** The caller does not wait any more: it goes on, or was interrupted. */
  leave(): void {
    this.waiting = false
    this.unwatch()
    this.cancel()
  }

  run(): void {
    if (this.waiting && this.result !== undefined) this.fiber.evaluate(this.result)
  }

  crash(): void {}
}

class Call extends Effectable.Class<unknown, unknown> {
  private readonly address: Address
  private readonly tag: string
  private readonly payload: unknown
  private readonly timeout: number

  constructor(address: Address, tag: string, payload: unknown, timeout: number) {
    super()
    this.address = address
    this.tag = tag
    this.payload = payload
    this.timeout = timeout
  }

  asEffect() {
    const fiber = currentFiber()
    const server = resolve(this.address, fiber)
    if (server === undefined || server.reason !== undefined) {
      const name =
        typeof this.address === "string" ? `"${this.address}"` : server === undefined ? "name" : describe(server)
      return Exit.fail(new NoProcess({ server: name, request: this.tag }))
    }
    if (server.fiber === fiber) {
      return Exit.fail(new CallingSelf({ server: describe(server), request: this.tag }))
    }
    const call = new PendingCall(fiber, server, this.tag, this.payload, this.timeout)
    server.watch(call)
    server.deliver(call)
    if (this.timeout !== Number.POSITIVE_INFINITY) server.system.addTimer(fiber, call, this.timeout)
    return fiber.yieldWith(() => call.leave())
  }
}

/** Calls without types; `timeout` in milliseconds. */
export const call = (
  address: Address,
  tag: string,
  payload: unknown,
  timeout: number
): Effect.Effect<unknown, unknown | CallError> => new Call(address, tag, payload, timeout)

/** A one-way message to a server. */
export class Cast implements Letter {
  nextLetter: Letter | undefined = undefined
  readonly tag: string
  readonly payload: unknown
  constructor(tag: string, payload: unknown) {
    this.tag = tag
    this.payload = payload
  }
}
