/**
 * Telling reports: done in the turn of the one who reports, by whatever its References say.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { log, type Report, Reports } from "../../Report.ts"

/** Makes and tells a report, unless nobody wants it. */
export const tell = (context: Context.Context<never>, make: () => Report): void => {
  const reporting = Context.get(context, Reports)
  if (reporting === "quiet") return
  Effect.runForkWith(context)(
    Effect.suspend((): Effect.Effect<unknown> => (reporting === "log" ? log(make()) : reporting(make())))
  )
}
