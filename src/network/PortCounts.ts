/**
 * What passed a port of a VLAN, in frames.
 *
 * **Example** (Two ports together)
 *
 * ```ts
 * const { lost } = PortCounts.sum([yield* web.link().counts(), yield* db.link().counts()])
 * ```
 *
 * @since 0.1.0
 */

/** What passed a port since it was made, in frames. */
export interface PortCounts {
  /** Frames that its card sent, lost ones included. */
  readonly sent: number
  /** Frames that were given to its card. */
  readonly received: number
  /** Frames that its impairments lost, or that its card did not read in time. Those that a partition keeps apart do not count. */
  readonly lost: number
  /** Frames that passed twice. */
  readonly duplicated: number
  /** Frames with a flipped bit that passed. */
  readonly corrupted: number
  /** Frames that overtook others. One that passed twice is counted once. */
  readonly reordered: number
}

/** Nothing has passed. */
export const none: PortCounts = { sent: 0, received: 0, lost: 0, duplicated: 0, corrupted: 0, reordered: 0 }

/** The counts of several ports, or of one port at several times. */
export const sum = (all: ReadonlyArray<PortCounts>): PortCounts =>
  all.reduce(
    (a, b) => ({
      sent: a.sent + b.sent,
      received: a.received + b.received,
      lost: a.lost + b.lost,
      duplicated: a.duplicated + b.duplicated,
      corrupted: a.corrupted + b.corrupted,
      reordered: a.reordered + b.reordered
    }),
    none
  )
