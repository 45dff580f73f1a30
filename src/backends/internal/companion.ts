/** Programs beside a hypervisor without which its machine is not the declared one: when one of them ends, so does the machine. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { lastLines } from "../../host/Evidence.ts"
import * as HostProcess from "../../host/HostProcess.ts"

/** A program that runs as long as its machine. */
export interface Companion {
  /** As reasons call it: `its TPM's swtpm`. */
  readonly name: string
  readonly exited: HostProcess.HostProcess["exited"]
  /** The end of what it printed. */
  readonly said: Effect.Effect<string>
}

/** Companions of a hypervisor that ends hear of it; then it has this long to be gone itself. */
const ownEndTimeout = "5 seconds"
const killedTimeout = "500 millis"

/** Ends a machine whose companion has ended, unless it ends by itself; gives the reason before. */
export const watch = (
  companion: Companion | undefined,
  machine: Pick<HostProcess.HostProcess, "exited" | "kill">,
  note: (reason: string) => void
): Effect.Effect<void, never, Scope.Scope> =>
  companion === undefined
    ? Effect.void
    : Effect.gen(function* () {
        const status = yield* companion.exited
        const grace = status.exitCode === 0 ? ownEndTimeout : killedTimeout
        const ended = yield* Effect.timeoutOption(machine.exited, grace)
        if (ended._tag === "Some") return
        const said = lastLines(yield* companion.said, 1)
        note(`${companion.name} ended with ${HostProcess.describeStatus(status)}${said === "" ? "" : `: ${said}`}`)
        yield* machine.kill("SIGKILL")
      }).pipe(Effect.forkScoped, Effect.asVoid)
