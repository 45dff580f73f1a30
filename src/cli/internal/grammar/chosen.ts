/** What the command line asks for, noted by the handler of its subcommand. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type { Invocation } from "../../CommandLine.ts"

export class Chosen extends Context.Service<Chosen, Ref.Ref<Option.Option<Invocation>>>()(
  "vmtest/cli/CommandLine/Chosen"
) {}

/** Notes what was asked for. */
export const choose = (invocation: Invocation): Effect.Effect<void, never, Chosen> =>
  Chosen.use((chosen) => Ref.set(chosen, Option.some(invocation)))
