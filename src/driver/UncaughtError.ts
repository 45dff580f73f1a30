/**
 * Errors of a test that its body does not wait for.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Schema from "effect/Schema"
import * as TestContext from "./internal/testContext.ts"

const described = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  return error.message === "" ? error.name : `${error.name}: ${error.message}`
}

/** A callback of the test threw an error, or a promise was rejected with one, and nothing caught it. `cause` is the error itself. */
export class UncaughtError extends Schema.TaggedError<UncaughtError>()("UncaughtError", {
  test: Schema.String,
  cause: Schema.Defect()
}) {
  override get message() {
    return `an error in a callback or a promise was not caught: ${described(this.cause)}`
  }
}

/** A fiber that the test forked failed, and nothing asked for its end: neither `Fiber.join` nor `Fiber.await`. `cause` is its error. */
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
 * Gives an error that reached the process uncaught to the test whose callback or promise it comes from.
 *
 * Gives the test's name, and whether it fails with it: one that has ended cannot. Undefined for an error that comes from no test. For handlers of
 * `uncaughtException` and `unhandledRejection`; to be called from within them.
 */
export const claim = (error: unknown): { readonly test: string; readonly fails: boolean } | undefined => {
  const context = TestContext.current()
  return context === undefined ? undefined : { test: context.test, fails: context.thrown(error) }
}
