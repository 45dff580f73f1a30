/** A console that is only text in memory, for guests that are only a script. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { lastLines, Readers } from "../internal/consoleLog.ts"

export class MemoryConsole {
  private text = ""
  private open = true
  private readonly readers = new Readers()

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
    this.readers.wake()
  }

  end(): void {
    this.open = false
    this.readers.wake()
  }

  private more(position: number): Effect.Effect<boolean> {
    return this.readers.more(() => (this.text.length > position ? true : this.open ? undefined : false))
  }
}
