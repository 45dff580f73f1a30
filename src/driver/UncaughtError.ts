/**
 * Errors of a test outside its body: in callbacks, promises and forked fibers.
 *
 * **Example** (Recognizing them in a result)
 *
 * ```ts
 * import type { TestResult } from "vmtest"
 *
 * const failedOutsideItsBody = ({ failure }: TestResult) =>
 *   failure?.kind === "UncaughtError" || failure?.kind === "ForkedFiberFailed"
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Schema from "effect/Schema"
import { isError, kindOf, messageOf, property } from "../host/Thrown.ts"
import { named } from "./internal/errorText.ts"
import * as TestContext from "./internal/testContext.ts"

/** An error in one line or more: its kind, and its message. */
export const described = (error: unknown): string => {
  if (!isError(error)) return named(kindOf(error), messageOf(error))
  return property(error, "message") === "" ? kindOf(error) : `${kindOf(error)}: ${messageOf(error)}`
}

/** A callback of the test threw an error, or a promise was rejected, and nothing caught it. `cause` is the error itself. */
export class UncaughtError extends Schema.TaggedError<UncaughtError>()("UncaughtError", {
  test: Schema.String,
  cause: Schema.Defect()
}) {
  override get message() {
    return `an error in a callback or a promise was not caught: ${described(this.cause)}`
  }
}

/** A fiber that the test forked failed, and no `Fiber.join` or `Fiber.await` saw it. `cause` is its error. */
export class ForkedFiberFailed extends Schema.TaggedError<ForkedFiberFailed>()("ForkedFiberFailed", {
  test: Schema.String,
  cause: Schema.Defect()
}) {
  override get message() {
    return `a forked fiber failed, and nothing joined it: ${described(this.cause)}`
  }
}

/** The error for a fiber that ended with this cause. */
export const ofFiber = (test: string, cause: Cause.Cause<unknown>): ForkedFiberFailed =>
  new ForkedFiberFailed({ test, cause: Cause.squash(cause) })

/**
 * Assigns an uncaught error to the test whose callback or promise it comes from. Call it in handlers of `uncaughtException` and
 * `unhandledRejection`.
 *
 * Gives the test's name, and whether the test fails with the error (one that has ended cannot); undefined if the error comes from no test.
 */
export const claim = (error: unknown): { readonly test: string; readonly fails: boolean } | undefined => {
  const context = TestContext.current()
  return context === undefined ? undefined : { test: context.test, fails: context.thrown(error) }
}
