/** Why a unit is not in the wanted state, as systemd and the journal explain it. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { section } from "../../host/Evidence.ts"
import * as Fields from "../../host/Fields.ts"
import { quote } from "../../host/Quote.ts"
import { guard } from "../Action.ts"
import type { Guest } from "../Guest.ts"
import * as Journal from "../Journal.ts"
import { relabel } from "../Run.ts"
import type { UnitState } from "../systemd/unitStates.ts"
import * as UserManager from "../systemd/userManager.ts"

/**
 * A unit is not in the wanted state, and will not get there by itself.
 *
 * `state`, `subState`, `result`, `loadState` and `loadError` are systemd's ActiveState, SubState, Result, LoadState and LoadError; `journal` has
 * the unit's last lines.
 */
export class UnitFailed extends Schema.TaggedError<UnitFailed>()("UnitFailed", {
  machine: Schema.String,
  unit: Schema.String,
  wanted: Schema.String,
  state: Schema.String,
  subState: Schema.String,
  result: Schema.String,
  loadState: Schema.String,
  loadError: Schema.String,
  /** Whether the test waited for it. Then no job was pending that could change its state. */
  awaited: Schema.Boolean,
  /** How often systemd has restarted it by itself; 0 for units other than services. */
  restarts: Schema.Int,
  journal: Schema.String
}) {
  /** Why systemd cannot start it, or its state. */
  private get condition(): string {
    switch (this.loadState) {
      case "not-found":
        return "does not exist"
      case "masked":
        return "is masked, so systemd cannot start it"
      case "loaded":
      case "":
        return `is ${this.state} (${this.subState})`
      default:
        return `could not be loaded (${this.loadState}${this.loadError === "" ? "" : `: ${this.loadError}`})`
    }
  }

  override get message() {
    const condition = this.condition
    const result = this.result === "" || this.result === "success" ? "" : `, result ${this.result}`
    const waits = this.loadState === "loaded" || this.loadState === ""
    const pending = this.awaited && this.state === "inactive" && waits ? ", and no job is pending" : ""
    const times = this.restarts === 1 ? "once" : `${this.restarts} times`
    const restarted = this.restarts === 0 ? "" : `, after systemd had restarted it ${times}`
    return `${this.machine}: ${this.unit} ${condition}${result}${restarted}${pending}; expected ${this.wanted}${section("journal", this.journal)}`
  }
}

/** Whose service manager to ask. */
export const UnitOptions = Fields.options(
  {
    /** The user whose service manager it is. Default: the system's. An unknown user is a `CommandRejected`. */
    user: Schema.optional(Schema.String)
  },
  '{ user: "alice" }'
)

/** Whose service manager to ask. */
export interface UnitOptions extends Schema.Schema.Type<typeof UnitOptions> {}

/** A user's manager is reached through the user's runtime folder, which a shell without a login does not know; one that does not run says why. */
export const manager = (options: UnitOptions | undefined) =>
  options?.user === undefined
    ? { prelude: "", flag: "", execute: {} }
    : { prelude: UserManager.prelude(options.user), flag: "--user ", execute: { user: options.user } }

/** `systemctl show` prints one line for each value of a property. */
export const parse = (text: string): Record<string, string> => {
  const properties: Record<string, string> = {}
  for (const line of text.split("\n")) {
    const at = line.indexOf("=")
    if (at <= 0) continue
    const name = line.slice(0, at)
    const before = properties[name]
    properties[name] = (before === undefined ? "" : `${before}\n`) + line.slice(at + 1)
  }
  return properties
}

/**
 * Runs a command that explains a known state. Its errors name what it was run for, since the test ran no such command, and never hide the
 * state itself.
 */
const explain = (
  guest: Guest,
  doing: string,
  command: string,
  { timeout, user }: UnitOptions & { readonly timeout: Duration.Input }
) =>
  Effect.flatMap(guest.shell, (shell) => {
    const options = user === undefined ? { timeout } : { timeout, user }
    return guard(guest, doing, Effect.mapError(shell.execute(command, options), relabel(doing)))
  }).pipe(
    Effect.catchTag(["CommandTimeout", "CommandRejected", "ShellLost", "ShellNotReady"], (error) =>
      Effect.succeed({ stdout: "", stderr: error.message })
    )
  )

/** The unit's last lines in the journal. */
export const lastLines = (guest: Guest, unit: string, user: string | undefined) =>
  Effect.map(
    explain(
      guest,
      `reading the journal of ${unit}`,
      `journalctl --sync 2>/dev/null || true\n${Journal.command({ unit, user, lines: 20, output: "cat" })}`,
      { timeout: "10 seconds" }
    ),
    ({ stderr, stdout }) => stdout || stderr
  )

/** The wanted and the actual state of a unit. */
interface Mismatch {
  readonly unit: string
  readonly wanted: string
  readonly seen: Pick<UnitState, "activeState" | "subState">
  readonly awaited: boolean
  readonly options: UnitOptions | undefined
}

/** Fails with the reason why a unit is not in the wanted state. */
export const fail = Effect.fnUntraced(function* (guest: Guest, { awaited, options, seen, unit, wanted }: Mismatch) {
  const { execute: as, flag, prelude } = manager(options)
  const shown = yield* explain(
    guest,
    `asking why ${unit} is ${seen.activeState}`,
    `${prelude}systemctl ${flag}show -p Result -p NRestarts -p LoadState -p LoadError -- ${quote(unit)}`,
    { timeout: "1 minute", ...as }
  )
  const { LoadError = "", LoadState = "", NRestarts = "0", Result = "" } = parse(shown.stdout)
  // A unit whose file was removed may have run, and then it has a journal.
  const neverExisted = LoadState === "not-found" && seen.activeState === "inactive"
  return yield* new UnitFailed({
    machine: guest.name,
    unit,
    wanted,
    state: seen.activeState,
    subState: seen.subState,
    result: Result,
    loadState: LoadState,
    // `org.freedesktop.systemd1.BadUnitSetting "Unit … has a bad unit file setting."`
    loadError: LoadError.trim(),
    awaited,
    restarts: Number(NRestarts),
    journal: neverExisted ? "" : yield* lastLines(guest, unit, options?.user)
  })
})
