/** Subtests, which can be nested. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { Location } from "../../host/Location.ts"
import type { DriverService, SubtestOptions } from "../Driver.ts"
import * as Failure from "../Failure.ts"
import type { RunEvent } from "../RunEvent.ts"
import type { SubtestResult } from "../TestResult.ts"
import * as Refuse from "./refuse.ts"
import { stepsOf } from "./scriptLocation.ts"
import * as Spans from "./spans.ts"

/** A running subtest. */
interface Part {
  /** The names of the subtests around it, outermost first, and its own. */
  readonly path: ReadonlyArray<string>
  readonly around: Part | undefined
  /** Whether the test continues after an unhandled failure in it. */
  readonly soft: boolean
  /** The errors of subtests within it, and the path of the innermost subtest of each: it may fail with one of them itself. */
  readonly errors: Map<unknown, ReadonlyArray<string>>
  /** Whether a subtest in it failed softly. */
  failedWithin: boolean
}

/** The innermost subtest around a fiber. */
const Around = Context.Reference<Part | undefined>("vmtest/driver/Subtest", { defaultValue: () => undefined })

const none: ReadonlyArray<string> = []

/** The names of the subtests around a fiber, the outermost first. */
export const path: Effect.Effect<ReadonlyArray<string>> = Effect.map(Around, (part) => part?.path ?? none)

interface Options {
  readonly test: string
  readonly emit: (event: RunEvent) => Effect.Effect<void>
  /** Hears of each subtest's end; `failsLater` says whether the test counts its failure at its own end. */
  readonly onSubtest: (result: SubtestResult, failsLater: boolean) => void
  /** Why subtests are interrupted, once that is known. */
  readonly interruptedBy?: (() => unknown) | undefined
  /** The place of failures that have none in the script. */
  readonly declaredAt?: (() => Location | undefined) | undefined
}

/** A soft failure ends here; an interruption, which is the end of the test, does not. */
const survive = (cause: Cause.Cause<unknown>) =>
  Cause.hasInterrupts(cause) ? Effect.interrupt : Effect.succeed(undefined)

const place = { argument: "driver.subtest: the part", value: "driver.subtest: the value of the part," }

/** `DriverService.subtest`. */
export const make = ({ declaredAt, emit, interruptedBy, onSubtest, test }: Options): DriverService["subtest"] => {
  const subtest = <A, E, R>(
    name: string,
    effect: Effect.Effect<A, E, R>,
    { softFail = false }: SubtestOptions = {}
  ): Effect.Effect<A | undefined, E, R> =>
    Effect.gen(function* () {
      const around = yield* Around
      const within = around?.path ?? []
      const soft = softFail || around?.soft === true
      const part: Part = { path: [...within, name], around, soft, errors: new Map(), failedWithin: false }
      const started = yield* Clock.currentTimeMillis
      yield* emit({ _tag: "SubtestStarted", test, subtest: name, within })
      const fiber = Fiber.getCurrent()
      const failureOf = (given: Cause.Cause<unknown>): Failure.Failure => {
        const why = Cause.hasInterruptsOnly(given) ? interruptedBy?.() : undefined
        const cause = why === undefined ? given : Cause.fail(why)
        const steps = fiber === undefined ? [] : stepsOf(fiber)
        const error = Failure.errorOf(cause)
        const from = part.errors.get(error) ?? part.path
        // Equal strings can be different failures.
        if (typeof error === "object") around?.errors.set(error, from)
        return { ...Failure.fromCause(cause, steps.length > 0 ? steps : [declaredAt?.() ?? []].flat()), subtest: from }
      }
      const end = (exit: Exit.Exit<A, E>) =>
        Effect.gen(function* () {
          const millis = (yield* Clock.currentTimeMillis) - started
          const failure = Exit.isSuccess(exit) ? undefined : failureOf(exit.cause)
          const given = Exit.isFailure(exit) && !Cause.hasInterrupts(exit.cause)
          if (given && softFail) for (let at = around; at !== undefined; at = at.around) at.failedWithin = true
          const status = failure === undefined && !part.failedWithin ? "passed" : "failed"
          const result: SubtestResult = { name, within, status, millis, failure }
          onSubtest(result, given && softFail)
          yield* Effect.annotateCurrentSpan(Spans.status, status)
          yield* emit({ _tag: "SubtestEnded", test, result, failsLater: given && soft })
        })
      const body = Refuse.run(place, effect)
      return yield* Effect.onExit(Effect.provideService(body, Around, part), end).pipe(
        Effect.withSpan(...Spans.subtest(part.path)),
        (run) => (softFail ? Effect.catchCause(run, survive) : run)
      )
    })
  return subtest as DriverService["subtest"]
}
