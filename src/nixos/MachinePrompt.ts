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
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { prompt } from "../cli/Prompt.ts"
import { complain } from "../cli/Subcommand.ts"
import type { TestCase, TestServices } from "../driver/TestCase.ts"
import * as Image from "../images/Image.ts"

const isName = (name: string) => /^[A-Za-z_$][\w$]*$/.test(name)

/** A test that opens a prompt on its machines. It passes, whatever the lines do, unless the input ends within one. */
export const insteadOf = (test: TestCase, history: string): TestCase => ({
  ...test,
  unrun: "ignore",
  body: (machines, driver) =>
    Effect.gen(function* () {
      const context = yield* Effect.context<TestServices>()
      const named = Object.fromEntries(Object.entries(machines).filter(([name]) => isName(name)))
      const testScript = Effect.suspend(() => test.body(machines, driver))
      yield* complain(
        `machines: ${Object.keys(machines).join(", ")}; Effects are run: driver.startAll(), testScript, …; type .exit to leave`
      )
      yield* prompt<TestServices>({
        scope: { ...named, machines, driver, testScript, Effect, Image },
        history,
        run: (effect) => Effect.provideContext(effect, Context.merge(context, Context.empty()))
      })
    })
})
