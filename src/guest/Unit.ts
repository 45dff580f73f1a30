/**
 * systemd units in a guest.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { section } from "../host/Evidence.ts"
import { quote } from "../host/Quote.ts"
import type { CommandResult } from "../transport/Shell.ts"
import { CommandFailed } from "./Command.ts"
import {
  type CommandError,
  type DeadlineError,
  execute,
  type Guest,
  guard,
  relabel,
  type WaitOptions,
  wait
} from "./Guest.ts"
import * as Journal from "./Journal.ts"
import { InvalidArgument } from "./MachineError.ts"
import * as UnitStates from "./systemd/unitStates.ts"

/**
 * A unit is not in the state it should be in, and will not get there by itself.
 *
 * `state`, `subState`, `result`, `loadState` and `loadError` are systemd's ActiveState, SubState, Result, LoadState and LoadError; `journal`
 * has the unit's last lines.
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
  /** Whether it was waited for: then no job was pending that could change its state. */
  awaited: Schema.Boolean,
  journal: Schema.String
}) {
  /** Why there is nothing to start, or the state. */
  private get known(): string {
    switch (this.loadState) {
      case "not-found":
        return "is not known to systemd"
      case "masked":
        return "is masked, so systemd does not start it"
      case "loaded":
      case "":
        return `is ${this.state} (${this.subState})`
      default:
        return `could not be loaded (${this.loadState}${this.loadError === "" ? "" : `: ${this.loadError}`})`
    }
  }

  override get message() {
    const known = this.known
    const result = this.result === "" || this.result === "success" ? "" : `, result ${this.result}`
    const waits = this.loadState === "loaded" || this.loadState === ""
    const pending = this.awaited && this.state === "inactive" && waits ? ", and no job is pending" : ""
    return `${this.machine}: ${this.unit} ${known}${result}${pending}; wanted ${this.wanted}${section("journal", this.journal)}`
  }
}

export {
  /** The guest has no systemd that runs, so it has no units. */
  NoSystemd
} from "./systemd/unitStates.ts"

type UnitState = UnitStates.UnitState

/** Whose systemd is asked. */
export interface UnitOptions {
  /** The user whose own manager it is; the system's if absent. An unknown one is a `CommandRejected`. */
  readonly user?: string
}

/** The units of a machine. */
export interface UnitMethods {
  /** Runs `systemctl` with these arguments, given as one string to the shell. */
  readonly systemctl: (
    query: string,
    options?: UnitOptions
  ) => Effect.Effect<CommandResult, CommandError | InvalidArgument>
  /**
   * Waits until a unit is active. Heard from systemd itself, not asked again and again.
   *
   * Fails at once with `UnitFailed` when it is failed, or inactive with no job pending in the manager. One that the manager does not know
   * fails whatever is pending for others once the manager has come up: until then a program of the boot may install it, and a scope may
   * be made at any time. The manager of a user that does not run yet is waited for. A name without a suffix is a service.
   */
  readonly waitForUnit: (
    unit: string,
    options?: UnitOptions & WaitOptions
  ) => Effect.Effect<void, CommandError | DeadlineError | UnitFailed | UnitStates.NoSystemd>
  /** All properties that `systemctl show` knows of a unit; one with several values has them on several lines. */
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
  /**
   * Fails with `UnitFailed` unless the unit is in this state (ActiveState, default `"active"`) now. One that systemd does not know is in none.
   */
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

/** What is wrong with a name that no unit can have, or one that `systemctl` would take for a pattern. */
const problemOf = (unit: string): string | undefined => {
  if (!/^[A-Za-z0-9:_.\\@-]{1,255}$/.test(unit)) {
    return "is not a unit name: letters, digits and :_.\\@- (systemd-escape makes one of anything)"
  }
  return /@(\.[a-z]+)?$/.test(unit)
    ? "is a template: a unit made of it has something between the @ and the suffix"
    : undefined
}

/** systemd's own (unit_active_state_table of its src/basic/unit-def.c). */
const activeStates = "active reloading inactive failed activating deactivating maintenance refreshing".split(" ")

/** What a unit's state says to somebody who waits for it to be active: nothing yet, or what it is. */
const isSettled = ({ activeState, idle, loadState, pending, up }: UnitState, unit: string): boolean => {
  switch (activeState) {
    case "active":
      return true
    case "failed":
      return !pending
    case "inactive":
      // Another unit's job may be about to start this one; but no job starts what there is not. Scopes are made by programs, whenever they like.
      return idle || (loadState === "not-found" && up && !pending && !unit.endsWith(".scope"))
    default:
      return false
  }
}

/** `systemctl show` prints a property that has several values on several lines. */
const parse = (text: string): Record<string, string> => {
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

/** The unit methods of a guest. */
export const make = (guest: Guest): UnitMethods => {
  const states = UnitStates.make(guest.shell, guest.scope)

  const named = (unit: string): Effect.Effect<string, InvalidArgument> => {
    const reason = problemOf(unit)
    return reason === undefined
      ? Effect.succeed(quote(unit))
      : Effect.fail(new InvalidArgument({ machine: guest.name, argument: "unit", value: unit, reason }))
  }

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

  /**
   * Asks for what explains a state that is known, under the name of what that was asked for; the test has run no such command. What cannot be
   * had is no reason to hide what it would explain.
   */
  const explain = (doing: string, command: string, timeout: Duration.Input, as: UnitOptions = {}) =>
    Effect.flatMap(guest.shell, (shell) =>
      guard(guest, doing, Effect.mapError(shell.execute(command, { ...as, timeout }), relabel(doing)))
    ).pipe(
      Effect.catchTag(["CommandTimeout", "CommandRejected", "ShellLost", "ShellNotReady"], (error) =>
        Effect.succeed({ stdout: "", stderr: error.message })
      )
    )

  /** The unit's last lines. */
  const lastLines = (unit: string, user: string | undefined) =>
    Effect.map(
      explain(
        `reading the journal of ${unit}`,
        `journalctl --sync 2>/dev/null || true\n${Journal.command({ unit, user, lines: 20, output: "cat" })}`,
        "10 seconds"
      ),
      ({ stderr, stdout }) => stdout || stderr
    )

  const failure = Effect.fnUntraced(function* (
    unit: string,
    wanted: string,
    seen: Pick<UnitState, "activeState" | "subState">,
    awaited: boolean,
    options: UnitOptions | undefined
  ) {
    const { execute: as, flag, prelude } = manager(options)
    const shown = yield* explain(
      `asking why ${unit} is ${seen.activeState}`,
      `${prelude}systemctl ${flag}show -p Result -p LoadState -p LoadError -- ${quote(unit)}`,
      "1 minute",
      as
    )
    const { LoadError = "", LoadState = "", Result = "" } = parse(shown.stdout)
    // One whose file was removed may have run.
    const unheardOf = LoadState === "not-found" && seen.activeState === "inactive"
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
      journal: unheardOf ? "" : yield* lastLines(unit, options?.user)
    })
  })

  const waitForUnit = Effect.fnUntraced(function* (unit: string, options: (UnitOptions & WaitOptions) | undefined) {
    yield* named(unit)
    let seen: { readonly state: UnitState; readonly since: number } | undefined
    const note = (state: UnitState) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const before = seen?.state
        if (before?.activeState === state.activeState && before.subState === state.subState) return
        seen = { state, since: now }
      })
    const lastSeen = Effect.gen(function* () {
      if (seen === undefined) {
        return options?.user === undefined
          ? "systemd has not answered"
          : `the service manager of ${options.user} does not run: it does while the user is logged in, or lingers (loginctl enable-linger)`
      }
      const { activeState, subState } = seen.state
      const so = Duration.format(Duration.millis((yield* Clock.currentTimeMillis) - seen.since))
      // The state is known; a guest that froze has no more to say.
      const journal = yield* Effect.timeoutOrElse(lastLines(unit, options?.user), {
        duration: "4 seconds",
        orElse: () => Effect.succeed("the guest does not answer within 4 seconds")
      })
      return `${activeState} (${subState}), so for ${so}\n${journal}`
    })
    const { state } = yield* wait(guest, {
      awaited: `${unit} to be active`,
      options,
      until: states.of(unit, options?.user).pipe(
        Stream.tap(note),
        Stream.filter((state) => isSettled(state, unit)),
        Stream.runHead,
        Effect.flatMap((state) => (state._tag === "Some" ? Effect.succeed({ state: state.value }) : Effect.never))
      ),
      lastSeen
    }).pipe(
      Effect.catchTag("BusRefused", ({ reason }) =>
        Effect.fail(new InvalidArgument({ machine: guest.name, argument: "unit", value: unit, reason }))
      ),
      Effect.mapError(relabel(`waitForUnit ${unit}`))
    )
    if (state.activeState !== "active") return yield* failure(unit, "active", state, true, options)
  })

  const getUnitInfo = Effect.fnUntraced(function* (unit: string, options?: UnitOptions) {
    const name = yield* named(unit)
    return parse(yield* checked(`show -- ${name}`, options))
  })

  return {
    systemctl,
    waitForUnit: (unit, options) => waitForUnit(unit, options),
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
      if (!activeStates.includes(state)) {
        const reason = `is not an ActiveState: those are ${activeStates.join(", ")}`
        return yield* new InvalidArgument({ machine: guest.name, argument: "state", value: state, reason })
      }
      const { ActiveState = "unknown", LoadState, SubState = "unknown" } = yield* getUnitInfo(unit, options)
      // A unit whose file was removed while it runs is not found, but active.
      if (ActiveState === state && !(LoadState === "not-found" && ActiveState === "inactive")) return
      return yield* failure(unit, state, { activeState: ActiveState, subState: SubState }, false, options)
    }),
    startJob: Effect.fnUntraced(function* (unit, options) {
      yield* checked(`start -- ${yield* named(unit)}`, options)
    }),
    stopJob: Effect.fnUntraced(function* (unit, options) {
      yield* checked(`stop -- ${yield* named(unit)}`, options)
    })
  }
}
