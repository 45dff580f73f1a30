/** What is noted of a test while it runs, and what it failed with in the end. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { MachineSummary } from "../../machine/MachineTree.ts"
import * as Failure from "../Failure.ts"
import { report } from "../RunEvent.ts"
import type { TestCase } from "../TestCase.ts"
import type { TestResult } from "../TestResult.ts"
import type { UnrunEffect } from "../UnrunEffect.ts"
import * as KeepEvidence from "./keepEvidence.ts"
import { stepsOf } from "./scriptLocation.ts"
import * as Strays from "./strays.ts"

export type Subtest = TestResult["subtests"][number]

/** What is noted of a test while it runs. */
export interface Notes {
  /** The fiber of its body. */
  script: object | undefined
  /** Its machines when its body ended. */
  machines: ReadonlyArray<MachineSummary>
  readonly subtests: Array<Subtest>
  /** Failures that count at the end of the test. */
  readonly soft: Array<Failure.Failure>
  /** Failed subtests whose failure the script can have handled. */
  readonly mayBeHandled: Set<Subtest>
  readonly strays: Strays.Strays
}

/** Notes a subtest that has ended. */
export const noteSubtest =
  ({ mayBeHandled, soft, subtests }: Notes) =>
  (result: Subtest, failsLater: boolean): void => {
    subtests.push(result)
    // The script has the others: it fails with them, or has dealt with them.
    if (failsLater && result.failure !== undefined) soft.push(result.failure)
    if (!failsLater && result.failure !== undefined) mayBeHandled.add(result)
  }

/** The failure of a test that has passed except for Effects that were never run, unless the test allows them. */
const unrunOf = Effect.fnUntraced(function* (test: TestCase, errors: ReadonlyArray<UnrunEffect>) {
  const [first, ...others] = errors.map((error) => Failure.fromCause(Cause.fail(error)))
  if (first === undefined || test.unrun === "ignore") return undefined
  if (test.unrun !== "warn") return Failure.withParts(first, others)
  for (const { message, place } of [first, ...others]) {
    const where = place === undefined ? "" : `${place.file}:${place.line}: `
    yield* report({ _tag: "Log", test: test.name, line: `warning: ${where}${message}` })
  }
  return undefined
})

/** Whether a test whose program has ended like this fails, as it can be said while its machines run. One that is interrupted from outside does not. */
export const fails = (test: TestCase, exit: Exit.Exit<unknown, unknown>, { soft, strays }: Notes): boolean => {
  if (Exit.isFailure(exit)) return !Cause.hasInterruptsOnly(exit.cause)
  const failsWithUnrun = (test.unrun ?? "fail") === "fail" && strays.unrun().length > 0
  return soft.length > 0 || strays.failed() || failsWithUnrun
}

/** What the test failed with, if it did, with further failures as its evidence; and its subtests, those marked whose failure it handled. */
export const judge = Effect.fnUntraced(function* (
  test: TestCase,
  exit: Exit.Exit<unknown, unknown>,
  { mayBeHandled, script, soft, strays, subtests }: Notes,
  artefacts: string
) {
  const declaredAt = [test.declaredAt() ?? [], test.declaredFrom()].flat()
  const steps = script === undefined ? [] : stepsOf(script)
  const hard = Exit.isFailure(exit) ? Failure.fromCause(exit.cause, steps.length > 0 ? steps : declaredAt) : undefined
  // A fiber may have failed with what the test then failed with.
  const told = hard === undefined ? [] : Strays.errorsOf(hard.cause)
  const beside = strays.end().filter(({ error }) => !told.includes(error))
  const keep = KeepEvidence.make(artefacts)
  const itself = hard === undefined ? [] : [Failure.ofSubtest(hard, subtests)]
  const others = [...itself, ...soft, ...beside.map(({ cause }) => Failure.fromCause(cause, declaredAt))].map(
    (failure) => Failure.calledFrom(failure, declaredAt)
  )
  const first = others.shift() ?? (yield* unrunOf(test, strays.unrun()))
  const failedWith = new Set([hard ?? [], soft].flat().map(({ cause }) => Failure.errorOf(cause)))
  /** The innermost that failed with something else than the test. */
  const isHandled = (one: Subtest) =>
    one.failure !== undefined &&
    mayBeHandled.has(one) &&
    (one.failure.subtest?.length ?? 0) <= one.within.length + 1 &&
    !failedWith.has(Failure.errorOf(one.failure.cause))
  return {
    failure: first === undefined ? undefined : yield* keep(Failure.withParts(first, others)),
    subtests: yield* Effect.forEach(subtests, (one) =>
      isHandled(one) && one.failure !== undefined
        ? Effect.map(keep(one.failure), (failure) => ({ ...one, failure, handled: true }))
        : Effect.succeed(one)
    )
  }
})
