import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { Connection } from "../Connection.ts"
import type { ShellError } from "../ShellError.ts"

/** Bytes that may wait for a reader before the connections they come from are paused, and when those go on. */
const high = 1024 * 1024
const low = 256 * 1024

/** Output on its way to a reader, who slows the command down by not reading. */
export class Flow<A> {
  readonly stream: Stream.Stream<A, ShellError>
  private readonly queue: Queue.Queue<A, ShellError | Cause.Done>
  private readonly size: (item: A) => number
  private readonly paused = new Set<Connection>()
  private waiting = 0
  private dropped = false
  private detached = false

  private constructor(queue: Queue.Queue<A, ShellError | Cause.Done>, size: (item: A) => number) {
    this.queue = queue
    this.size = size
    this.stream = Stream.fromQueue(queue).pipe(
      Stream.mapArray((items) => {
        for (const item of items) this.waiting -= size(item)
        if (this.waiting <= low) this.flowOn()
        return items
      })
    )
  }

  static make<A>(size: (item: A) => number): Effect.Effect<Flow<A>> {
    return Effect.map(Queue.unbounded<A, ShellError | Cause.Done>(), (queue) => new Flow(queue, size))
  }

  /** Takes what came from a connection, which is paused when too much waits. */
  push(item: A, from: Connection): void {
    if (this.dropped) return
    Queue.offerUnsafe(this.queue, item)
    this.waiting += this.size(item)
    if (this.detached || this.waiting <= high || this.paused.has(from)) return
    this.paused.add(from)
    from.pause()
  }

  /**
   * The command has ended: its connections go on, and are left to the next one. What is still to come of it is no more than
   * a pipe and a port of the guest hold.
   */
  detach(): void {
    this.detached = true
    this.flowOn()
  }

  /** Nothing comes any more, but these last items. */
  end(...last: ReadonlyArray<A>): void {
    if (!this.dropped) Queue.offerAllUnsafe(this.queue, last)
    Queue.endUnsafe(this.queue)
  }

  fail(error: ShellError): Effect.Effect<void> {
    return Effect.asVoid(Queue.fail(this.queue, error))
  }

  /** Nobody will read any more: what comes is thrown away. */
  drop(): void {
    this.dropped = true
    this.flowOn()
  }

  private flowOn(): void {
    const paused = [...this.paused]
    this.paused.clear()
    for (const connection of paused) connection.resume()
  }
}
