/**
 * A command as a process: it runs its work, and ends with its exit code, whatever ends it.
 *
 * **Example** (A command that does one thing)
 *
 * ```ts
 * Process.run(Effect.as(Subcommand.print("hello"), ExitCode.passed))
 * ```
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as CommandName from "./CommandName.ts"
import * as Ending from "./Ending.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Ancestors from "./internal/ancestors.ts"
import type * as Subcommand from "./Subcommand.ts"

const say = (text: string) => process.stderr.write(`${text}\n`)

/**
 * The first SIGINT, SIGTERM or SIGHUP interrupts the work, which then cleans up; another SIGINT or SIGTERM ends the process at once. What
 * it started ends with it either way.
 */
const watchSignals = (): { readonly received: () => boolean } => {
  let count = 0
  const onSignal = (signal: NodeJS.Signals) => {
    count += 1
    if (count > 1) Ending.exitNow(ExitCode.interrupted)
    say(`\n${CommandName.before(`${signal}: cleaning up; send it again to stop at once`)}`)
  }
  // A closed terminal: the runtime knows only the other two. It comes twice, from the terminal and from the end of its shell, and nobody asks for haste.
  const onHangup = () => count > 0 || process.emit("SIGTERM", "SIGHUP")
  for (const [signal, handler] of [
    ["SIGINT", onSignal],
    ["SIGTERM", onSignal],
    ["SIGHUP", onHangup]
  ] as const) {
    // The launcher's own, which ended the process at once while there was nothing to clean up. Without any listener, be it for a moment,
    // Node forgets a signal that has come while the library was read and that no listener has heard of yet.
    const earlier = process.rawListeners(signal)
    process.on(signal, handler)
    for (const listener of earlier) process.off(signal, listener as NodeJS.SignalsListener)
  }
  return { received: () => count > 0 }
}

/** The process that started this one, as the launcher found it, or as it is now. */
const parent = (): number => {
  const noted: unknown = Reflect.get(globalThis, Symbol.for("vmtest/parent"))
  return typeof noted === "number" ? noted : process.ppid
}

/** A user who ends npx wants to end vmtest. If a signal has come to both, that is no second one. */
const endWithPackageManager = (hasReceived: () => boolean) =>
  Effect.andThen(
    Ancestors.gone(parent()),
    Effect.sync(() => {
      if (hasReceived()) return
      say(`\n${CommandName.before("the package manager that started it has ended")}`)
      process.kill(process.pid, "SIGTERM")
    })
  )

/** Does the work, then ends the process; nothing may follow it. */
export const run = (work: Subcommand.Work): void => {
  const signals = watchSignals()
  Ending.guardExit()
  Ending.refuseExit()
  Effect.runFork(endWithPackageManager(signals.received))
  NodeRuntime.runMain(work.pipe(Ending.orUncaught, Effect.provide(NodeServices.layer)), {
    disableErrorReporting: true,
    teardown: (exit) => {
      if (signals.received()) return Ending.exit(ExitCode.interrupted)
      if (Exit.isSuccess(exit)) return Ending.exit(Number(exit.value))
      if (Cause.hasInterruptsOnly(exit.cause)) return Ending.exit(ExitCode.interrupted)
      say(CommandName.before(`internal error in vmtest\n${Cause.pretty(exit.cause)}`))
      Ending.exit(ExitCode.failed)
    }
  })
}
