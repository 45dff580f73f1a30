/**
 * What happens in a run of tests, for reporters.
 *
 * **Example** (A reporter that prints the tests that end)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { RunEvent, Runner } from "vmtest"
 *
 * const quiet = Runner.run(tests, { output: "vmtest-output" }).pipe(
 *   Effect.provideService(RunEvent.Reporter, (event) =>
 *     event._tag === "TestEnded" ? Console.log(`${event.result.name}: ${event.result.status}`) : Effect.void
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { MachineEvent } from "../guest/MachineEvent.ts"
import * as TestContext from "./internal/testContext.ts"
import type { Change as ProcessChange } from "./internal/watchTree.ts"
import type { SubtestResult, TestResult } from "./TestResult.ts"

/** A test's name as lines begin with it: longer names leave no room for the line. */
export const shortName = (test: string): string => {
  const name = test.replaceAll(/\s+/g, " ")
  return name.length > 30 ? `${name.slice(0, 29)}…` : name
}

/** The short names of tests, in their order; those that are alike are numbered: `boots`, `boots (2)`. */
export const labelsOf = (tests: ReadonlyArray<string>): ReadonlyArray<string> => {
  const taken = new Set<string>()
  return tests.map((test) => {
    const name = shortName(test)
    let label = name
    // A test can have the name that would be the label of another.
    for (let number = 2; taken.has(label); number++) label = `${name} (${number})`
    taken.add(label)
    return label
  })
}

export type { Change as ProcessChange } from "./internal/watchTree.ts"

/** One thing that happened in a run. */
export type RunEvent = Happening & {
  /** The short name of its test, if that is another one than `shortName` gives, because several tests have that. */
  readonly label?: string | undefined
}

/** `test` is the name of the test in which it happened. */
type Happening =
  | { readonly _tag: "ImageProgress"; readonly image: string; readonly line: string }
  | {
      readonly _tag: "TestStarted"
      readonly test: string
      /** The script that declares it, as the command was given it. */
      readonly file?: string | undefined
      readonly machines: ReadonlyArray<string>
      /** 1, or a higher number if the test is retried. Default 1. */
      readonly attempt?: number | undefined
      /** The folder for its files, which is made when something is first written to it; undefined if it has none to itself. */
      readonly folder?: string | undefined
    }
  | {
      readonly _tag: "MachineEvent"
      readonly test: string
      readonly event: MachineEvent
      /** The names of the subtests around an action or a picture, the outermost first; undefined outside of subtests. */
      readonly within?: ReadonlyArray<string> | undefined
    }
  | {
      readonly _tag: "SubtestStarted"
      readonly test: string
      readonly subtest: string
      readonly within: ReadonlyArray<string>
    }
  | {
      readonly _tag: "SubtestEnded"
      readonly test: string
      readonly result: SubtestResult
      /** It failed softly: the test continues, and fails with this at its end. The failure is shown in full then. */
      readonly failsLater: boolean
    }
  | { readonly _tag: "Log"; readonly test: string; readonly line: string }
  | {
      /** It has been running for long, and does so still. */
      readonly _tag: "TestSlow"
      readonly test: string
      readonly millis: number
      /** How long nothing has been heard of it. */
      readonly quietMillis: number
      /** What its machines are busy with, a line each: `running "sleep 100" on web for 3s`. */
      readonly doing: ReadonlyArray<string>
    }
  | {
      /**
       * An attempt failed, and the test is tried again. A test that passed is run again, too, if another one failed that has run on the same
       * machines.
       */
      readonly _tag: "AttemptFailed"
      readonly test: string
      readonly result: TestResult
      /** The number of the attempt, from 1. */
      readonly attempt: number
      /** How many there can be. */
      readonly attempts: number
      /** The suite that is tried again as a whole, on fresh machines; undefined if the test has machines of its own. */
      readonly suite?: string | undefined
    }
  /** A process of the test's supervision tree started or ended. Only for reporters with {@link Detailed}. */
  | { readonly _tag: "ProcessChange"; readonly test: string; readonly change: ProcessChange }
  /** What a network of the test carried in the last `millis`, where that was something. Only for reporters with {@link Detailed}. */
  | {
      readonly _tag: "Traffic"
      readonly test: string
      /** Its name, or `vlan1`. */
      readonly network: string
      readonly packets: number
      readonly bytes: number
      readonly millis: number
    }
  | { readonly _tag: "TestEnded"; readonly result: TestResult }

/** Receives every event of a run; must return quickly and must not fail. Default: does nothing. */
export const Reporter = Context.Reference<(event: RunEvent) => Effect.Effect<void>>("vmtest/driver/Reporter", {
  defaultValue: () => () => Effect.void
})

/** Whether reporters want to hear of processes and of traffic as well. Default: false. */
export const Detailed = Context.Reference<boolean>("vmtest/driver/Detailed", { defaultValue: () => false })

/** Reports one event. */
export const report = (event: RunEvent): Effect.Effect<void> => Effect.flatMap(Reporter, (emit) => emit(event))

/** The name of the test that the running code belongs to: its body, and the fibers, callbacks and promises that it started. */
export const currentTest = (): string | undefined => TestContext.current()?.test

/** As {@link currentTest}, its short name, which no other test of the run has. */
export const currentLabel = (): string | undefined => TestContext.current()?.label
