/**
 * The prompt of `nixos-test-driver --interactive` for a script in TypeScript: the test's machines, which start at their first use, and its script.
 *
 * **Example** (A prompt instead of a test)
 *
 * ```ts
 * const interactive = MachinePrompt.insteadOf(test("greets", {}, () => Effect.void), "/home/me/.history")
 * ```
 *
 * @since 0.1.0
 */
import type { Duplex } from "node:stream"
import * as Effect from "effect/Effect"
import * as Seat from "../cli/Seat.ts"
import { complain } from "../cli/Subcommand.ts"
import * as Session from "../cli/session/Session.ts"
import type { DriverService } from "../driver/Driver.ts"
import type { TestCase, TestServices } from "../driver/TestCase.ts"

/** What a prompt has, and who is at it. */
export interface PromptOf {
  readonly driver: DriverService
  /** Runs the script, for `.test` and for lines. */
  readonly testScript?: Effect.Effect<unknown, unknown, TestServices>
  /** Where lines are remembered, on a terminal. */
  readonly history: string
  /** Default: standard input and output. */
  readonly connection?: Duplex
}

/** Opens a prompt with the names of machines, until its input ends. An error of a line is printed there, and fails nothing. */
export const open = Effect.fnUntraced(function* ({ connection, driver, history, testScript }: PromptOf) {
  const context = yield* Effect.context<TestServices>()
  yield* Session.open({
    ...{ live: () => ({ driver, context }), history },
    seat: connection === undefined ? undefined : Seat.lines(connection),
    ...(testScript === undefined ? {} : { names: { testScript: callable(testScript) }, test: () => testScript })
  })
})

/** An Effect that can be called, too, as methods are, and is itself what that gives. */
const callable = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> & (() => Effect.Effect<A, E, R>) => {
  const call = () => effect
  return new Proxy(call as typeof call & Effect.Effect<A, E, R>, {
    get: (_, key) => Reflect.get(effect, key),
    has: (_, key) => Reflect.has(effect, key),
    getPrototypeOf: () => Reflect.getPrototypeOf(effect)
  })
}

/** A test that opens a prompt on its machines. It passes, unless the input ends within a statement. */
export const insteadOf = (test: TestCase, history: string): TestCase => ({
  ...test,
  unrun: "ignore",
  // A mistake in the script is met when the script is run.
  source: undefined,
  body: (machines, driver) =>
    Effect.gen(function* () {
      const testScript = Effect.suspend(() => test.body(machines, driver))
      yield* complain(
        `machines: ${Object.keys(machines).join(", ")}; Effects are run: driver.startAll(), testScript, …; .help lists commands, .exit leaves`
      )
      yield* open({ driver, history, testScript })
    })
})
