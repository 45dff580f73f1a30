/** What a kernel says last on its console, for hypervisors that do not tell why their guest stands still. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { EndCause } from "../Backend.ts"

/** With the time that the kernel puts before everything it says: a program that prints such words has none. */
const halted = /^\[\s*\d+\.\d+\] reboot: (?:System halted|Power down)\s*$/
const panicked = /^\[\s*\d+\.\d+\] Kernel panic - not syncing/

/** How long a kernel may print its trace: one with `panic=0` halts for ever afterwards. */
const traceGrace = "2 seconds"

/** Ends a machine whose kernel has panicked, or whose guest has powered itself off, where the hypervisor runs on. `note` hears why first. */
export const watch = (options: {
  readonly console: Stream.Stream<string>
  /** Whether the hypervisor runs on when its guest powers itself off. */
  readonly halts: boolean
  readonly note: (cause: EndCause) => void
  readonly end: Effect.Effect<void>
}) => {
  let line = ""
  const causeOf = (text: string): EndCause | undefined =>
    options.halts && halted.test(text) ? "power-off" : panicked.test(text) ? "panic" : undefined
  return Stream.runForEach(options.console, (text) => {
    const lines = (line + text).split(/\r?\n/)
    line = lines.pop() ?? ""
    const cause = lines.map(causeOf).find((found) => found !== undefined)
    if (cause === undefined) return Effect.void
    options.note(cause)
    return cause === "panic" ? Effect.delay(options.end, traceGrace) : options.end
  })
}
