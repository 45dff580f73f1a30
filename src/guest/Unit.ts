/**
 * systemd units in a guest.
 *
 * **Example** (A service that restarts)
 *
 * ```ts
 * yield* web.waitForUnit("nginx")
 * yield* web.stopJob("nginx")
 * yield* web.requireUnitState("nginx", "inactive")
 * yield* web.startJob("nginx")
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Fields from "../host/Fields.ts"
import { quote } from "../host/Quote.ts"
import type { CommandResult } from "../transport/Shell.ts"
import { traced } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import { CommandFailed } from "./Command.ts"
import type { CommandError, DeadlineError, Guest } from "./Guest.ts"
import { fail, lastLines, manager, parse, type UnitFailed, UnitOptions } from "./internal/unitFailure.ts"
import * as Journal from "./Journal.ts"
import { InvalidArgument } from "./MachineError.ts"
import { execute, relabel } from "./Run.ts"
import * as UnitStates from "./systemd/unitStates.ts"
import { WaitOptions } from "./Timeout.ts"
import { wait } from "./Wait.ts"

export {
  /** A unit is not in the wanted state. */
  UnitFailed,
  /** Whose systemd is asked. */
  UnitOptions
} from "./internal/unitFailure.ts"
export {
  /** The guest does not run systemd, so it has no units. */
  NoSystemd
} from "./systemd/unitStates.ts"

/** How a unit is waited for. */
export const WaitForUnitOptions = Fields.options(
  { ...UnitOptions.fields, ...WaitOptions.fields },
  '{ timeout: "5 seconds" }'
)

/** How a unit is waited for. */
export interface WaitForUnitOptions extends Schema.Schema.Type<typeof WaitForUnitOptions> {}

type UnitState = UnitStates.UnitState

/** The units of a machine. */
export interface UnitMethods {
  /** Runs `systemctl` with these arguments, one string for the shell. */
  readonly systemctl: (
    query: string,
    options?: UnitOptions
  ) => Effect.Effect<CommandResult, CommandError | InvalidArgument>
  /**
   * Waits until a unit is active. systemd itself reports it, so nothing is polled.
   *
   * It fails at once with `UnitFailed` if the unit has failed, or is inactive while systemd has no job pending. A unit that does not exist
   * fails it once the boot is over, whatever jobs are pending, unless it is a scope: a program may still install it before, and a scope can be
   * created at any time. The service manager of a user is waited for. A name without a suffix is a service.
   */
  readonly waitForUnit: (
    unit: string,
    options?: WaitForUnitOptions
  ) => Effect.Effect<void, CommandError | DeadlineError | UnitFailed | UnitStates.NoSystemd>
  /** All properties of a unit that `systemctl show` prints; several values of one property are lines. */
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
   * Fails with `UnitFailed` unless the unit is in this state (ActiveState, default `"active"`) now. A unit that does not exist has no state.
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

/** systemd's states (unit_active_state_table in its src/basic/unit-def.c). */
const ActiveState = Schema.Literals([
  "active",
  "reloading",
  "inactive",
  "failed",
  "activating",
  "deactivating",
  "maintenance",
  "refreshing"
])

/** The name of a unit that can be started: no template. */
const UnitName = Journal.UnitName.check(
  Schema.makeFilter((unit: string) => !/@(\.[a-z]+)?$/.test(unit), {
    expected: "the name of a unit, not of a template: with something between the @ and the suffix"
  })
)

const ofUnit = Arguments.takes({ unit: UnitName, options: Schema.optional(UnitOptions) })

/** What its methods take. */
export const parameters = Arguments.of<UnitMethods>({
  systemctl: Arguments.takes({ query: Schema.String, options: Schema.optional(UnitOptions) }),
  waitForUnit: Arguments.takes({ unit: UnitName, options: Schema.optional(WaitForUnitOptions) }),
  getUnitInfo: ofUnit,
  getUnitProperty: Arguments.takes({
    unit: UnitName,
    property: Schema.String,
    options: Schema.optional(UnitOptions)
  }),
  requireUnitState: Arguments.takes({
    unit: UnitName,
    state: Schema.optional(ActiveState),
    options: Schema.optional(UnitOptions)
  }),
  startJob: ofUnit,
  stopJob: ofUnit
})

/** Whether a wait for a unit to be active ends with this state. */
const isSettled = ({ activeState, idle, loadState, pending, up }: UnitState, unit: string): boolean => {
  switch (activeState) {
    case "active":
      return true
    case "failed":
      return !pending
    case "inactive":
      // Another unit's job may be about to start this one, but no job starts a unit that does not exist. Programs create scopes at any time.
      return idle || (loadState === "not-found" && up && !pending && !unit.endsWith(".scope"))
    default:
      return false
  }
}

/** The last state that a wait has seen, and since when. */
interface Seen {
  readonly state: UnitState
  readonly since: number
}

const describeSeen = Effect.fnUntraced(function* (
  guest: Guest,
  unit: string,
  user: string | undefined,
  seen: Seen | undefined
) {
  if (seen === undefined) {
    return user === undefined
      ? "systemd has not answered"
      : `the service manager of ${user} is not running; it starts when the user logs in, or with loginctl enable-linger ${user}`
  }
  const { activeState, subState } = seen.state
  const lasted = Duration.format(Duration.millis((yield* Clock.currentTimeMillis) - seen.since))
  // The state is known; a frozen guest cannot add anything.
  const journal = yield* Effect.timeoutOrElse(lastLines(guest, unit, user), {
    duration: "4 seconds",
    orElse: () => Effect.succeed("the guest did not answer within 4 seconds")
  })
  return `${activeState} (${subState}) for ${lasted}\n${journal}`
})

/** Waits until a unit is active, or cannot become active by itself; gives its state then. */
const settledState = Effect.fnUntraced(function* (
  guest: Guest,
  states: UnitStates.UnitStates,
  unit: string,
  options: WaitForUnitOptions | undefined
) {
  let seen: Seen | undefined
  const note = (state: UnitState) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const before = seen?.state
      if (before?.activeState === state.activeState && before.subState === state.subState) return
      seen = { state, since: now }
    })
  return yield* wait(guest, {
    awaited: `${unit} to be active`,
    options,
    until: states.of(unit, options?.user).pipe(
      Stream.tap(note),
      Stream.filter((state) => isSettled(state, unit)),
      Stream.runHead,
      // The states of a unit never end.
      Effect.flatMap((state) => (state._tag === "Some" ? Effect.succeed(state.value) : Effect.never))
    ),
    lastSeen: Effect.suspend(() => describeSeen(guest, unit, options?.user, seen))
  }).pipe(
    Effect.catchTag("BusRefused", ({ reason }) =>
      Effect.fail(
        new InvalidArgument({
          machine: guest.name,
          method: "waitForUnit",
          argument: "unit",
          value: unit,
          reason: `unit ${JSON.stringify(unit)} ${reason}`
        })
      )
    ),
    Effect.mapError(relabel(`waitForUnit ${unit}`))
  )
})

/** The unit methods of a guest. */
export const make = (guest: Guest): UnitMethods => {
  const states = UnitStates.make(guest.shell, guest.scope)

  const spanned = <A, E>(
    name: string,
    unit: string,
    options: UnitOptions | undefined,
    effect: Effect.Effect<A, E>
  ): Effect.Effect<A, E> => traced(guest, { name, attributes: { unit, user: options?.user } }, effect)

  const systemctl = (query: string, options?: UnitOptions) => {
    const { execute: as, flag, prelude } = manager(options)
    return execute(guest, `${prelude}systemctl ${flag}${query}`, as)
  }

  const run = Effect.fnUntraced(function* (query: string, options: UnitOptions | undefined) {
    const result = yield* systemctl(query, options)
    if (result.exitCode === 0) return result.stdout
    return yield* new CommandFailed({
      machine: guest.name,
      command: `systemctl ${query}`,
      wanted: "success",
      ...result
    })
  })

  const waitForUnit = Effect.fnUntraced(function* (unit: string, options: WaitForUnitOptions | undefined) {
    const state = yield* settledState(guest, states, unit, options)
    if (state.activeState === "active") return
    return yield* fail(guest, { unit, wanted: "active", seen: state, awaited: true, options })
  })

  const getUnitInfo = Effect.fnUntraced(function* (unit: string, options?: UnitOptions) {
    return parse(yield* run(`show -- ${quote(unit)}`, options))
  })

  const getUnitProperty = Effect.fnUntraced(function* (unit: string, property: string, options?: UnitOptions) {
    const value = parse(yield* run(`show -p ${quote(property)} -- ${quote(unit)}`, options))[property]
    if (value !== undefined) return value
    const reason = `property must be one that ${unit} has, got ${JSON.stringify(property)}`
    const method = "getUnitProperty"
    return yield* new InvalidArgument({ machine: guest.name, method, argument: "property", value: property, reason })
  })

  const requireUnitState = Effect.fnUntraced(function* (unit: string, state: string, options?: UnitOptions) {
    const { ActiveState = "unknown", LoadState, SubState = "unknown" } = yield* getUnitInfo(unit, options)
    // A unit whose file was removed while it runs is not found, but active.
    if (ActiveState === state && !(LoadState === "not-found" && ActiveState === "inactive")) return
    const seen = { activeState: ActiveState, subState: SubState }
    return yield* fail(guest, { unit, wanted: state, seen, awaited: false, options })
  })

  const job = Effect.fnUntraced(function* (verb: "start" | "stop", unit: string, options?: UnitOptions) {
    yield* run(`${verb} -- ${quote(unit)}`, options)
  })

  return Arguments.checked<UnitMethods>(guest.name, parameters, {
    systemctl: (query, options) =>
      traced(guest, { name: "systemctl", attributes: { user: options?.user } }, systemctl(query, options)),
    waitForUnit: (unit, options) => spanned("waitForUnit", unit, options, waitForUnit(unit, options)),
    getUnitInfo: (unit, options) => spanned("getUnitInfo", unit, options, getUnitInfo(unit, options)),
    getUnitProperty: (unit, property, options) =>
      spanned("getUnitProperty", unit, options, getUnitProperty(unit, property, options)),
    requireUnitState: (unit, state = "active", options) =>
      spanned("requireUnitState", unit, options, requireUnitState(unit, state, options)),
    startJob: (unit, options) => spanned("startJob", unit, options, job("start", unit, options)),
    stopJob: (unit, options) => spanned("stopJob", unit, options, job("stop", unit, options))
  })
}
