/**
 * systemd units in a guest.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { CommandResult } from "../transport/Shell.ts"
import { CommandFailed } from "./Command.ts"
import {
  type CommandError,
  execute,
  type Guest,
  quote,
  type WaitError,
  type WaitOptions,
  waitInGuest
} from "./internal/Guest.ts"
import { InvalidArgument, section } from "./MachineError.ts"

/**
 * A unit is not in the state it should be in, and will not get there by itself.
 *
 * `state`, `subState` and `result` are systemd's ActiveState, SubState and Result; `journal` has the unit's last lines.
 */
export class UnitFailed extends Schema.TaggedError<UnitFailed>()("UnitFailed", {
  machine: Schema.String,
  unit: Schema.String,
  wanted: Schema.String,
  state: Schema.String,
  subState: Schema.String,
  result: Schema.String,
  loadState: Schema.String,
  journal: Schema.String
}) {
  override get message() {
    const known = this.loadState === "not-found" ? "is not known to systemd" : `is ${this.state} (${this.subState})`
    const result = this.result === "" || this.result === "success" ? "" : `, result ${this.result}`
    const pending = this.state === "inactive" ? ", and no job is pending" : ""
    return `${this.machine}: ${this.unit} ${known}${result}${pending}; wanted ${this.wanted}${section("journal", this.journal)}`
  }
}

/** Whose systemd is asked. */
export interface UnitOptions {
  /** The user whose own manager it is; the system's if absent. */
  readonly user?: string
}

/** The units of a machine. */
export interface UnitMethods {
  /** Runs `systemctl` with these arguments, given as one string to the shell. */
  readonly systemctl: (query: string, options?: UnitOptions) => Effect.Effect<CommandResult, CommandError>
  /**
   * Waits until a unit is active.
   *
   * Fails at once with `UnitFailed` when it is failed, or inactive with no job pending.
   */
  readonly waitForUnit: (
    unit: string,
    options?: UnitOptions & WaitOptions
  ) => Effect.Effect<void, WaitError | UnitFailed | InvalidArgument>
  /** All properties that `systemctl show` knows of a unit. */
  readonly getUnitInfo: (
    unit: string,
    options?: UnitOptions
  ) => Effect.Effect<Readonly<Record<string, string>>, CommandError | CommandFailed | InvalidArgument>
  /** One property of a unit, as `systemctl show` prints it. */
  readonly getUnitProperty: (
    unit: string,
    property: string,
    options?: UnitOptions
  ) => Effect.Effect<string, CommandError | CommandFailed | InvalidArgument>
  /** Fails with `UnitFailed` unless the unit is in this state (ActiveState, default `"active"`) now. */
  readonly requireUnitState: (
    unit: string,
    state?: string,
    options?: UnitOptions
  ) => Effect.Effect<void, CommandError | CommandFailed | UnitFailed | InvalidArgument>
  /** Starts a unit and waits for its job. */
  readonly startJob: (
    unit: string,
    options?: UnitOptions
  ) => Effect.Effect<void, CommandError | CommandFailed | InvalidArgument>
  /** Stops a unit and waits for its job. */
  readonly stopJob: (
    unit: string,
    options?: UnitOptions
  ) => Effect.Effect<void, CommandError | CommandFailed | InvalidArgument>
}

/** A user's manager is reached through that user's runtime folder, which a shell without a login does not know. */
const manager = (options: UnitOptions | undefined) =>
  options?.user === undefined
    ? { prelude: "", flag: "", execute: {} }
    : { prelude: 'export XDG_RUNTIME_DIR="/run/user/$(id -u)"\n', flag: "--user ", execute: { user: options.user } }

/**
 * Decided in the guest. Inactive counts only when the manager has no job at all: another unit's job may be about to start this one; and
 * it is looked at once more after that, because the job may have ended in between.
 */
const waitLoop = (unit: string, flag: string) => `set +eu
look() { s=$(systemctl ${flag}show -p LoadState -p ActiveState -p SubState -p Result -- ${unit} 2>&1); c=$?; }
while :; do
  look
  [ "$c" = 127 ] && { printf '%s\\n' "$s"; exit 127; }
  case "$s" in
    *ActiveState=active*) exit 0 ;;
    *ActiveState=failed*) printf '%s\\n' "$s"; exit 1 ;;
    *ActiveState=inactive*)
      if [ "$(systemctl ${flag}show -p NJobs 2>/dev/null)" = NJobs=0 ]; then
        look
        case "$s" in *ActiveState=inactive*|*ActiveState=failed*) printf '%s\\n' "$s"; exit 1 ;; esac
      fi ;;
  esac
  sleep 0.02
done`

const parse = (text: string): Record<string, string> => {
  const properties: Record<string, string> = {}
  for (const line of text.split("\n")) {
    const at = line.indexOf("=")
    if (at > 0) properties[line.slice(0, at)] = line.slice(at + 1)
  }
  return properties
}

/** The unit methods of a guest. */
export const make = (guest: Guest): UnitMethods => {
  const named = (unit: string): Effect.Effect<string, InvalidArgument> =>
    /^[A-Za-z0-9:_.\\@-]{1,255}$/.test(unit)
      ? Effect.succeed(quote(unit))
      : Effect.fail(
          new InvalidArgument({
            machine: guest.name,
            argument: "unit",
            value: unit,
            reason: "is not a unit name: letters, digits and :_.\\@- (systemd-escape makes one of anything)"
          })
        )

  const systemctl = (query: string, options?: UnitOptions) => {
    const { execute: as, flag, prelude } = manager(options)
    return execute(guest, `${prelude}systemctl ${flag}${query}`, as)
  }

  const checked = Effect.fnUntraced(function* (query: string, options: UnitOptions | undefined) {
    const result = yield* systemctl(query, options)
    if (result.exitCode === 0) return result.stdout
    return yield* new CommandFailed({
      machine: guest.name,
      command: `systemctl ${query}`,
      wanted: "success",
      ...result
    })
  })

  const failure = Effect.fnUntraced(function* (
    unit: string,
    wanted: string,
    properties: Readonly<Record<string, string>>,
    options: UnitOptions | undefined
  ) {
    const { execute: as, flag, prelude } = manager(options)
    const journal = yield* execute(
      guest,
      `${prelude}journalctl ${flag}-u ${quote(unit)} -n 20 -q --no-pager -o cat`,
      as
    )
    return yield* new UnitFailed({
      machine: guest.name,
      unit,
      wanted,
      state: properties.ActiveState ?? "unknown",
      subState: properties.SubState ?? "unknown",
      result: properties.Result ?? "",
      loadState: properties.LoadState ?? "",
      journal: journal.stdout
    })
  })

  const getUnitInfo = Effect.fnUntraced(function* (unit: string, options?: UnitOptions) {
    const name = yield* named(unit)
    return parse(yield* checked(`show -- ${name}`, options))
  })

  return {
    systemctl,
    waitForUnit: Effect.fnUntraced(function* (unit, options) {
      const name = yield* named(unit)
      const { flag, prelude } = manager(options)
      const user = options?.user === undefined ? {} : { user: options.user }
      const result = yield* waitInGuest(guest, {
        awaited: `${unit} to be active`,
        options,
        loop: prelude + waitLoop(name, flag),
        look: `${prelude}systemctl ${flag}--no-pager -n 5 status -- ${name} || true`,
        ...user
      })
      if (result.exitCode !== 0) return yield* failure(unit, "active", parse(result.stdout), options)
    }),
    getUnitInfo,
    getUnitProperty: Effect.fnUntraced(function* (unit, property, options) {
      const name = yield* named(unit)
      const value = parse(yield* checked(`show -p ${quote(property)} -- ${name}`, options))[property]
      if (value !== undefined) return value
      return yield* new InvalidArgument({
        machine: guest.name,
        argument: "property",
        value: property,
        reason: `is not a property of ${unit}`
      })
    }),
    requireUnitState: Effect.fnUntraced(function* (unit, state = "active", options) {
      const properties = yield* getUnitInfo(unit, options)
      if (properties.ActiveState !== state) return yield* failure(unit, state, properties, options)
    }),
    startJob: Effect.fnUntraced(function* (unit, options) {
      yield* checked(`start -- ${yield* named(unit)}`, options)
    }),
    stopJob: Effect.fnUntraced(function* (unit, options) {
      yield* checked(`stop -- ${yield* named(unit)}`, options)
    })
  }
}
