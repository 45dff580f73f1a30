/**
 * How often a supervisor may restart: at most `limit` attempts within `period` seconds.
 *
 * Time is counted in whole monotonic seconds and an attempt exactly a period old still counts, as in OTP, so that the real
 * window is up to a second longer than the period.
 */
export class Intensity {
  /** Every attempt of the supervisor's life. */
  total = 0
  /** When the attempts were, the oldest first; those before `head` are forgotten. */
  times: Array<number> = []
  private readonly limit: number
  private readonly period: number
  private head = 0

  constructor(limit: number, period: number) {
    this.limit = limit
    this.period = period
  }

  /** Counts an attempt; `false` when it is one too many. */
  attempt(now: number): boolean {
    this.total++
    this.times.push(now)
    while (now - (this.times[this.head] ?? now) > this.period) this.head++
    if (this.head > 64 && this.head * 2 > this.times.length) {
      this.times = this.times.slice(this.head)
      this.head = 0
    }
    return this.times.length - this.head <= this.limit
  }
}
