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
import * as Evidence from "../host/Evidence.ts"
import * as Fields from "../host/Fields.ts"
import { quote } from "../host/Quote.ts"
import type { CommandResult } from "../transport/Shell.ts"
import { guard, traced } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import { CommandFailed } from "./Command.ts"
import type { CommandError, DeadlineError, Guest } from "./Guest.ts"
import * as NewUnits from "./internal/newUnits.ts"
import { fail, lastLines, manager, parse, type UnitFailed, UnitOptions } from "./internal/unitFailure.ts"
import * as UnitWait from "./internal/unitWait.ts"
import * as Journal from "./Journal.ts"
import { InvalidArgument } from "./MachineError.ts"
import { execute, relabel } from "./Run.ts"
import * as UnitStates from "./systemd/unitStates.ts"
import * as UserManager from "./systemd/userManager.ts"
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
export {
  /** The service manager of a user could not start, so the user has no units. */
  NoUserManager
} from "./systemd/userManager.ts"

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

/** How a unit is waited for. */
export const WaitForUnitOptions = Fields.options(
  {
    ...UnitOptions.fields,
    /** The state to wait for, an ActiveState of systemd. Default `"active"`. */
    state: Schema.optional(ActiveState),
    ...WaitOptions.fields
  },
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
   * Waits until a unit is in a state, by default `active`. systemd itself reports it, so nothing is polled.
   *
   * **Details**
   *
   * `active` must last: a service that systemd has restarted by itself counts when it has been active for 2 seconds, and one of `Type=simple`,
   * `exec` or `idle`, which is active from the start of its program, after 250 ms; both three times as long under emulation. A oneshot service
   * counts as active when it has ended well since the guest booted, unless it has `RemainAfterExit=yes`.
   *
   * It fails at once with `UnitFailed` if the unit has failed, or is inactive while systemd has no job pending, and so cannot get to the state by
   * itself. A unit that does not exist fails it once the boot is over, whatever jobs are pending, unless it is a scope: a program may still
   * install it before, and a scope can be created at any time. The service manager of a user is waited for; if that could not start, the wait
   * fails with `NoUserManager`. A name without a suffix is a service. In a guest that is shutting down no state counts: the wait continues in the
   * next boot, if the guest may reboot.
   *
   * **Gotchas**
   *
   * A service of `Type=simple` is active before it listens. Wait for its port, too, with `waitForOpenPort`. States that a unit only passes
   * through, such as `activating`, can be over before systemd reports them.
   */
  readonly waitForUnit: (
    unit: string,
    options?: WaitForUnitOptions
  ) => Effect.Effect<void, CommandError | DeadlineError | UnitFailed | UnitStates.NoSystemd | UserManager.NoUserManager>
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
    if (user === undefined) return "systemd has not answered"
    return `the service manager of ${user} is not running: ${yield* UserManager.reasonOf(guest.shell, user)}`
  }
  const { activeState, service, stopping, subState } = seen.state
  const restarts = service?.restarts ?? 0
  const restarted = restarts === 0 ? "" : `; systemd has restarted it ${restarts === 1 ? "once" : `${restarts} times`}`
  const ending = stopping ? "; the guest is shutting down" : ""
  const lasted = Duration.format(Duration.millis((yield* Clock.currentTimeMillis) - seen.since))
  // The state is known; a frozen guest cannot add anything.
  const journal = yield* Effect.timeoutOrElse(lastLines(guest, unit, user), {
    duration: "4 seconds",
    orElse: () => Effect.succeed("the guest did not answer within 4 seconds")
  })
  // An error shows ten lines, and the first one says most.
  return `${activeState} (${subState}) for ${lasted}${restarted}${ending}\n${Evidence.lastLines(journal, 9)}`
})

/** What a state means to a wait; that a unit is active has to last. */
interface Verdict {
  readonly state: UnitState
  readonly is: "wanted" | "active" | "hopeless" | "other"
}

/** Waits until a unit is in the wanted state and stays there, or cannot get there by itself. */
const settledState = Effect.fnUntraced(function* (
  guest: Guest,
  states: UnitStates.UnitStates,
  unit: string,
  options: WaitForUnitOptions | undefined
) {
  const wanted = options?.state ?? "active"
  let seen: Seen | undefined
  let existed = false
  /** Whether it was active in this wait, and then was not. */
  let unsteady = false
  const note = (state: UnitState) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      existed ||= state.loadState !== "not-found"
      const before = seen?.state
      unsteady ||=
        state.subState === "auto-restart" || (before?.activeState === "active" && state.activeState !== "active")
      const same = before?.activeState === state.activeState && before.subState === state.subState
      seen = { state, since: same && seen !== undefined ? seen.since : now }
    })
  const judge = (state: UnitState): Verdict => {
    const awaited = { unit, wanted, existed }
    if (!UnitWait.isWanted(state, awaited))
      return { state, is: UnitWait.isHopeless(state, awaited) ? "hopeless" : "other" }
    return { state, is: state.activeState === "active" ? "active" : "wanted" }
  }
  /** Gives a verdict that ends the wait; that a unit is active, only when it has lasted. */
  const settled = (verdict: Verdict) => {
    if (verdict.is === "other") return Stream.empty
    if (verdict.is !== "active") return Stream.succeed(verdict)
    const lasted = Effect.gen(function* () {
      const left = yield* UnitWait.mustLast(guest, verdict.state, unsteady)
      if (left === 0) return true
      yield* Effect.sleep(left)
      return yield* UnitWait.isStillActive(guest, unit, options)
    })
    // One that is not active any more is in another state in a moment.
    return Stream.flatMap(Stream.fromEffect(lasted), (yes) => (yes ? Stream.succeed(verdict) : Stream.empty))
  }
  return yield* wait(guest, {
    awaited: `${unit} to be ${wanted}`,
    options,
    until: Stream.suspend(() => {
      // What was seen before a reboot of the guest says nothing of the boot after it.
      seen = undefined
      existed = unsteady = false
      return states.of(unit, options?.user)
    }).pipe(
      Stream.tap(note),
      Stream.map(judge),
      // What follows such a state does not take it back.
      Stream.takeUntil(({ is }) => is === "wanted" || is === "hopeless"),
      Stream.switchMap(settled),
      Stream.runHead,
      // The states of a unit never end.
      Effect.flatMap((verdict) => (verdict._tag === "Some" ? Effect.succeed(verdict.value) : Effect.never))
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
    const { is, state } = yield* settledState(guest, states, unit, options)
    const wanted = options?.state ?? "active"
    if (is === "hopeless" && wanted === "active") {
      const done = UnitWait.endedWellBefore(guest, unit, state, options)
      if (yield* guard(guest, `asking whether ${unit} has run`, Effect.mapError(done, relabel(`waitForUnit ${unit}`))))
        return
    }
    if (is === "hopeless") return yield* fail(guest, { unit, wanted, seen: state, awaited: true, options })
    const type = state.service?.type ?? ""
    if (is === "active" && UnitWait.activeAtOnce.has(type)) NewUnits.note(guest, { unit, type })
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
