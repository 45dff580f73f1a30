/** A console that is only text in memory, for guests that are only a script. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { lastLines } from "../internal/consoleLog.ts"

export class MemoryConsole {
  private text = ""
  private open = true
  private waiting: Array<() => void> = []

  readonly log: Effect.Effect<string> = Effect.sync(() => this.text)

  readonly stream: Stream.Stream<string> = Stream.unfold(0, (position) =>
    Effect.map(this.more(position), (more) => {
      if (!more) return undefined
      return [this.text.slice(position), this.text.length] as const
    })
  )

  readonly tail = (lines: number): Effect.Effect<string> => Effect.sync(() => lastLines(this.text, lines))

  append(text: string): void {
    if (!this.open) return
    this.text += text
    this.wake()
  }

  end(): void {
    this.open = false
    this.wake()
  }

  private more(position: number): Effect.Effect<boolean> {
    return Effect.callback<boolean>((resume) => {
      const look = () => {
        if (this.text.length > position) resume(Effect.succeed(true))
        else if (!this.open) resume(Effect.succeed(false))
        else this.waiting.push(look)
      }
      look()
      return Effect.sync(() => {
        this.waiting = this.waiting.filter((waiter) => waiter !== look)
      })
    })
  }

  private wake(): void {
    for (const look of this.waiting.splice(0)) look()
  }
}
