/**
 * What a Python script can do with the start scripts of machines; nothing by default.
 *
 * Machines of a declaration have no start script. Whatever starts machines from scripts provides this service to the tests that it runs.
 *
 * **Example** (A driver that makes machines from command lines)
 *
 * ```ts
 * const program = script.pipe(Effect.provideService(StartScripts, { ...none, create: ({ command }) => start(command) }))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { NotAvailable } from "./PythonError.ts"

/** Changes of the script's environment since it was started; null for a variable that it took away. */
export type Environment = Readonly<Record<string, string | null>>

/** A machine that a script makes from a command. */
export interface Creation {
  readonly command: string
  /** Undefined: that of the command. */
  readonly name: string | undefined
  readonly keepState: boolean
  readonly environment: Environment
}

/** What a script can do with start scripts. */
export interface StartScriptsService {
  /** Makes a machine of the driver, which does not run yet, and gives its name. */
  readonly create: (creation: Creation) => Effect.Effect<string, unknown>
  /** Hears of each start of a machine before it happens, and whether a reboot of the guest keeps the machine. */
  readonly beforeStart: (
    machine: string,
    start: { readonly environment: Environment; readonly allowReboot: boolean }
  ) => Effect.Effect<void, unknown>
  /** The command that starts a machine. */
  readonly commandOf: (machine: string) => Effect.Effect<string, unknown>
  /** Has a machine started by another command from its next start on. */
  readonly setCommand: (machine: string, command: string) => Effect.Effect<void, unknown>
}

const reason = "it is not available yet: vmtest does not start machines from start scripts or QEMU command lines"

/** No start scripts. */
export const none: StartScriptsService = {
  create: () =>
    Effect.fail(new NotAvailable({ what: "create_machine", reason: `${reason}; declare the machine with the test` })),
  beforeStart: () => Effect.void,
  commandOf: (machine) =>
    Effect.fail(
      new NotAvailable({
        what: `${machine}.start_command`,
        reason: "the machine is started from its declaration, and has no start script"
      })
    ),
  setCommand: (machine) =>
    Effect.fail(
      new NotAvailable({
        what: `${machine}.start_command`,
        reason: "the machine is started from its declaration; change that instead of the start command"
      })
    )
}

/** The start scripts of the test's machines. Default: none. */
export const StartScripts = Context.Reference<StartScriptsService>("vmtest/python/StartScripts", {
  defaultValue: () => none
})
