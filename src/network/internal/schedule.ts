/** Frames that are delivered later, in the order of their times. */

export interface Due {
  /** Nanoseconds on the switch's clock. */
  readonly at: number
  readonly deliver: () => void
}

/** A binary heap; of frames for the same time, the one that was added first is delivered first. */
export class Schedule {
  private readonly heap: Array<Due & { readonly order: number }> = []
  private added = 0

  /** The time of the next delivery. */
  get next(): number | undefined {
    return this.heap[0]?.at
  }

  get size(): number {
    return this.heap.length
  }

  add({ at, deliver }: Due): void {
    const { heap } = this
    let index = heap.length
    heap.push({ at, deliver, order: this.added++ })
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!this.isBefore(index, parent)) break
      this.swap(index, parent)
      index = parent
    }
  }

  /** Takes the next one if its time has come. */
  take(now: number): Due | undefined {
    const { heap } = this
    const first = heap[0]
    if (first === undefined || first.at > now) return undefined
    const last = heap.pop()
    if (last !== undefined && heap.length > 0) {
      heap[0] = last
      this.sink()
    }
    return first
  }

  private sink(): void {
    let index = 0
    for (;;) {
      const left = 2 * index + 1
      const smaller = left + 1 < this.heap.length && this.isBefore(left + 1, left) ? left + 1 : left
      if (smaller >= this.heap.length || !this.isBefore(smaller, index)) return
      this.swap(index, smaller)
      index = smaller
    }
  }

  private isBefore(one: number, other: number): boolean {
    const [a, b] = [this.heap[one], this.heap[other]]
    return a !== undefined && b !== undefined && (a.at < b.at || (a.at === b.at && a.order < b.order))
  }

  private swap(one: number, other: number): void {
    const [a, b] = [this.heap[one], this.heap[other]]
    if (a === undefined || b === undefined) return
    this.heap[one] = b
    this.heap[other] = a
  }
}
