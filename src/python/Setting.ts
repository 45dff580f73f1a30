/**
 * What a Python script is run for, besides its machines: a prompt in its place, breakpoints, and what its driver is configured with.
 *
 * **Example** (A prompt with the names of a script)
 *
 * ```ts
 * const program = Effect.provideService(run, Setting, { ...usual, prompt: { history: "/home/me/.history" } })
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** How a guest is reached by SSH over vsock: the sockets of its device, at the hypervisor's end and at the host's, and the command for a shell. */
export interface VsockPair {
  readonly guest: string
  readonly host: string
  readonly command: string
}

/** What a Python script is run for. */
export interface ScriptSetting {
  /** Where the lines of the prompt are remembered, if there is one. The script is run by `test_script()` then. */
  readonly prompt: { readonly history: string } | undefined
  /** The command that attaches to a breakpoint; without one, breakpoints are nothing. */
  readonly debugHook: string | undefined
  /** The VLANs that the script has names for, besides those of its machines. */
  readonly vlans: ReadonlyArray<number>
  /** The backdoors of machines by name; undefined where the configuration has none. */
  readonly vsocks: Readonly<Record<string, VsockPair>> | undefined
  /** Seconds: what the script has as `global_timeout` instead of the time limit of its test, which a prompt does not have. */
  readonly globalTimeout: number | undefined
  /** Shows the consoles of machines, or not. */
  readonly showConsoles: (shown: boolean) => Effect.Effect<void>
}

/** A script that is run for its result. */
export const usual: ScriptSetting = {
  prompt: undefined,
  debugHook: undefined,
  vlans: [],
  vsocks: undefined,
  globalTimeout: undefined,
  showConsoles: () => Effect.void
}

/** The setting of the scripts that are run where it is provided. Default: {@link usual}. */
export const Setting = Context.Reference<ScriptSetting>("vmtest/python/Setting", { defaultValue: () => usual })
