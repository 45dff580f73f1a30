/** Which stored things go: pure, so that the policy can be tested by itself. */

/** What the policy looks at. */
export interface Candidate {
  readonly id: string
  /** What it can be made again from: the newest of a key replaces the older ones. */
  readonly key: string
  readonly bytes: number
  /** Milliseconds since the epoch, as are all times here. */
  readonly builtAt: number
  readonly lastUsed: number
}

export interface Policy {
  readonly now: number
  /** What was not used for longer goes; milliseconds. */
  readonly olderThan: number
  /** The least recently used go until the rest is no larger. */
  readonly maxBytes: number
}

/** The ids that go, those replaced by a newer build first, then the least recently used. */
export const choose = (candidates: ReadonlyArray<Candidate>, policy: Policy): ReadonlyArray<string> => {
  const newest = new Map<string, number>()
  for (const { builtAt, key } of candidates) newest.set(key, Math.max(builtAt, newest.get(key) ?? 0))
  const replaced = ({ builtAt, key }: Candidate): boolean => builtAt < (newest.get(key) ?? 0)
  const ordered = [...candidates].sort(
    (a, b) => Number(replaced(b)) - Number(replaced(a)) || a.lastUsed - b.lastUsed || (a.id < b.id ? -1 : 1)
  )
  let total = candidates.reduce((sum, { bytes }) => sum + bytes, 0)
  return ordered
    .filter((one) => {
      const goes = replaced(one) || policy.now - one.lastUsed > policy.olderThan || total > policy.maxBytes
      if (goes) total -= one.bytes
      return goes
    })
    .map(({ id }) => id)
}
