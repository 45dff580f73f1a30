/**
 * The guest's serial console: what it says, and what is typed into it.
 *
 * What a guest writes to `/dev/console` is in it, from the first line of its kernel on.
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

/** The console ended before the awaited text was in it. */
export class ConsoleEnded extends Schema.TaggedError<ConsoleEnded>()("ConsoleEnded", {
  machine: Schema.String,
  awaited: Schema.String,
  console: Schema.String
}) {
  override get message() {
    return `${this.machine}: the console ended before ${this.awaited} was in it`
  }
}

/** The console of a machine. */
export interface ConsoleMethods {
  /** Everything the console said since the machine started, then what it says, until the machine ends. */
  readonly console: Stream.Stream<string, Unavailable>
  /** Everything the console said since the machine started, also when it has ended since. */
  readonly getConsoleLog: () => Effect.Effect<string, Unavailable>
  /**
   * Waits until a pattern is somewhere in the whole log of the console, and gives what it matched.
   *
   * The pattern sees all lines at once; `^` and `$` match at line ends if it has the flag `m`. A string is taken literally. Works while the
   * machine boots. A match that ends where the log does, in the middle of a line, counts once nothing came for 100 ms. While
   * much is printed, a regular expression is tried some twenty times a second: each time it reads the whole log.
   */
  readonly waitForConsoleText: (
    pattern: RegExp | string,
    options?: WaitOptions
  ) => Effect.Effect<string, Unavailable | DeadlineError | ConsoleEnded>
  /** Types a text into the console; `\n` is the return key. */
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

/** The console methods of a guest. */
export const make = (guest: Guest): ConsoleMethods =>
  Arguments.checked<ConsoleMethods>(guest.name, parameters, {
    // A dead machine does not end it: what it said stays readable.
    console: Stream.unwrap(Effect.map(guest.console, (console) => console.stream)).pipe(
      Stream.interruptWhen(guest.conditions.guard(Effect.never))
    ),
    getConsoleLog: () => Effect.flatMap(guest.console, (console) => console.log),
    waitForConsoleText: (pattern, options) => {
      const awaited = `${Pattern.shown(pattern)} on the console`
      const until = Effect.gen(function* () {
        const hypervisor = yield* guest.hypervisor
        return yield* search(hypervisor.console.stream, pattern, (text) =>
          // A console ends with its machine, whose death is the better news.
          Effect.andThen(
            Effect.sleep("1 second"),
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
