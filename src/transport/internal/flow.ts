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
  private connections: ReadonlyArray<Connection> = []
  private waiting = 0
  private paused = false
  private dropped = false

  private constructor(queue: Queue.Queue<A, ShellError | Cause.Done>, size: (item: A) => number) {
    this.queue = queue
    this.size = size
    this.stream = Stream.fromQueue(queue).pipe(
      Stream.mapArray((items) => {
        for (const item of items) this.waiting -= size(item)
        if (this.paused && this.waiting <= low) this.flowOn()
        return items
      })
    )
  }

  static make<A>(size: (item: A) => number): Effect.Effect<Flow<A>> {
    return Effect.map(Queue.unbounded<A, ShellError | Cause.Done>(), (queue) => new Flow(queue, size))
  }

  /** Names the connections that the items come from. */
  attach(...connections: ReadonlyArray<Connection>): void {
    this.connections = connections
  }

  push(item: A): void {
    if (this.dropped) return
    Queue.offerUnsafe(this.queue, item)
    this.waiting += this.size(item)
    if (this.waiting > high && !this.paused) {
      this.paused = true
      for (const connection of this.connections) connection.pause()
    }
  }

  end(): void {
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
    if (!this.paused) return
    this.paused = false
    for (const connection of this.connections) connection.resume()
  }
}
