/**
 * `vmtest top`: the machines and the supervision trees of all running vmtests of this user.
 *
 * **Example** (The states of machines, for a script)
 *
 * ```sh
 * vmtest top --once --json
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Invocation } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Seat from "./Seat.ts"
import { complain, print, type Work } from "./Subcommand.ts"
import * as Runs from "./session/Runs.ts"
import * as TopView from "./session/TopView.ts"

/** Looks at all runs: once, again and again, or live on a terminal. */
export const top = ({ json, once }: Extract<Invocation, { readonly _tag: "Top" }>): Work => {
  const seat = Seat.own()
  if (seat.isTerminal && !once && !json) {
    return TopView.show(Runs.overviews, seat).pipe(
      Effect.as(ExitCode.passed),
      Effect.catch((error) => Effect.as(complain(error.message), ExitCode.unusable))
    )
  }
  const look = Effect.flatMap(Runs.overviews, (runs) => print(json ? JSON.stringify(runs) : TopView.render(runs)))
  const again = Effect.forever(Effect.andThen(look, Effect.sleep(TopView.interval)))
  return Effect.as(once ? look : again, ExitCode.passed)
}
