/**
 * The guest's serial console: its output, and typing into it.
 *
 * It has everything that the guest writes to `/dev/console`, from the first line of its kernel.
 *
 * **Example** (Answering a prompt)
 *
 * ```ts
 * yield* box.waitForConsoleText("login: ")
 * yield* box.sendConsole("root\n")
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { ControlError } from "../backends/BackendError.ts"
import { lastLines } from "../host/Evidence.ts"
import { guard } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import type { DeadlineError, Guest, Unavailable } from "./Guest.ts"
import { search } from "./internal/textSearch.ts"
import type { InvalidArgument } from "./MachineError.ts"
import * as Pattern from "./Pattern.ts"
import type { PollingConditionFailed } from "./PollingCondition.ts"
import { WaitOptions } from "./Timeout.ts"
import { wait } from "./Wait.ts"

/** The console ended before the awaited text appeared. */
export class ConsoleEnded extends Schema.TaggedError<ConsoleEnded>()("ConsoleEnded", {
  machine: Schema.String,
  awaited: Schema.String,
  console: Schema.String
}) {
  override get message() {
    return `${this.machine}: the console ended before ${this.awaited} appeared`
  }
}

/** The console of a machine. */
export interface ConsoleMethods {
  /** The output of the console since the machine started, and as it comes, until the machine ends. */
  readonly console: Stream.Stream<string, Unavailable>
  /** The output of the console since the machine started, also if the machine has ended. */
  readonly getConsoleLog: () => Effect.Effect<string, Unavailable>
  /**
   * Waits until a pattern matches anywhere in the log of the console, and returns the match.
   *
   * The pattern is matched against all lines at once; `^` and `$` match at line ends with the flag `m`. A string is matched literally. It
   * works while the machine boots. A match at the very end of the log, in the middle of a line, counts if nothing follows for 100 ms. While
   * the console prints a lot, a regular expression is tried about twenty times a second, each time on the whole log.
   */
  readonly waitForConsoleText: (
    pattern: RegExp | string,
    options?: WaitOptions
  ) => Effect.Effect<string, Unavailable | DeadlineError | ConsoleEnded>
  /** Types a text into the console; `\n` is the Return key. */
  readonly sendConsole: (
    text: string
  ) => Effect.Effect<void, Unavailable | ControlError | PollingConditionFailed | InvalidArgument>
}

/** What its methods take. */
export const parameters = Arguments.of<ConsoleMethods>({
  getConsoleLog: Arguments.takes({}),
  waitForConsoleText: Arguments.takes({ pattern: Pattern.Pattern, options: Schema.optional(WaitOptions) }),
  sendConsole: Arguments.takes({ text: Schema.String })
})

/** How long after the end of a console to wait for the machine's death. */
const deathGrace = "1 second"

/** The console methods of a guest. */
export const make = (guest: Guest): ConsoleMethods =>
  Arguments.checked<ConsoleMethods>(guest.name, parameters, {
    // Its output can still be read after the machine has died.
    console: Stream.unwrap(Effect.map(guest.console, (console) => console.stream)).pipe(
      Stream.interruptWhen(guest.conditions.guard(Effect.never))
    ),
    getConsoleLog: () => Effect.flatMap(guest.console, (console) => console.log),
    waitForConsoleText: (pattern, options) => {
      const awaited = `${Pattern.shown(pattern)} on the console`
      const until = Effect.gen(function* () {
        const hypervisor = yield* guest.hypervisor
        return yield* search(hypervisor.console.stream, pattern, (text) =>
          // A console ends with its machine, whose death explains it better.
          Effect.andThen(
            Effect.sleep(deathGrace),
            Effect.fail(
              new ConsoleEnded({ machine: guest.name, awaited: Pattern.shown(pattern), console: lastLines(text, 20) })
            )
          )
        )
      })
      const lastSeen = Effect.map(
        Effect.flatMap(guest.hypervisor, (hypervisor) => hypervisor.console.tail(20)),
        (tail) => (tail.trim() === "" ? "the console is empty" : tail)
      )
      return wait(guest, { name: "waitForConsoleText", awaited, options, until, lastSeen })
    },
    sendConsole: (text) =>
      Effect.flatMap(guest.hypervisor, (hypervisor) =>
        guard(guest, { name: "sendConsole", doing: "typing into the console" }, hypervisor.console.write(text))
      )
  })
