/** When a wait for a unit is over: what counts as the wanted state, what can no longer become it, and how long `active` must last. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { quote } from "../../host/Quote.ts"
import type { Guest } from "../Guest.ts"
import { fullName, type UnitState } from "../systemd/unitStates.ts"
import { manager, type UnitOptions } from "./unitFailure.ts"

/** Services of these types are active from the start of their program, before it is known whether it works (systemd.service(5), Type=). */
export const activeAtOnce: ReadonlySet<string> = new Set(["simple", "exec", "idle"])

/** How long a service of such a type must have been active; multiplied by the slowness of the guest. */
const steadyTime = Duration.millis(250)

/** The same for a service that systemd has restarted by itself: a program that fails lives longer than a moment, too. */
const restartedTime = Duration.seconds(2)

/** Whether this is a oneshot service that has run to its end since the guest booted, and does not stay active. */
export const endedWell = ({ activeState, pending, service, started }: UnitState): boolean =>
  service?.type === "oneshot" &&
  !service.remains &&
  service.result === "success" &&
  !service.killed &&
  started &&
  activeState === "inactive" &&
  !pending

/** Where a unit rests until somebody starts it, so only one without a job is there. */
const rests = new Set(["inactive", "failed"])

/** A unit without a file; one whose file was removed while it runs is there. Programs create scopes, which are gone when they end. */
const isUnknown = ({ activeState, loadState }: UnitState, unit: string): boolean =>
  loadState === "not-found" && activeState === "inactive" && !unit.endsWith(".scope")

/** What a wait knows of its unit. */
export interface Awaited {
  readonly unit: string
  /** An ActiveState. */
  readonly wanted: string
  /** Whether the unit was there before in this wait. */
  readonly existed: boolean
}

/** Whether a unit is in the wanted state. In a guest that is shutting down no state counts: it is that of the boot before. */
export const isWanted = (state: UnitState, { existed, unit, wanted }: Awaited): boolean => {
  if (state.stopping) return false
  if (wanted === "active" && endedWell(state)) return true
  if (state.activeState !== wanted) return false
  return !rests.has(wanted) || (!state.pending && (existed || !isUnknown(state, unit)))
}

/** Whether a unit that is not in the wanted state cannot get there by itself. */
export const isHopeless = (state: UnitState, { unit, wanted }: Awaited): boolean => {
  if (state.stopping || !rests.has(state.activeState)) return false
  // It stays failed until somebody starts or resets it.
  if (state.activeState === "failed" && (wanted === "active" || wanted === "inactive")) return !state.pending
  // Another unit's job may be about to start this one, but no job starts a unit that does not exist.
  return state.idle || (isUnknown(state, unit) && state.up && !state.pending)
}

/** The guest's own monotonic clock, in microseconds. */
const now = (guest: Guest) =>
  Effect.flatMap(guest.shell, (shell) =>
    shell.execute("read up rest </proc/uptime; echo $up", { timeout: "10 seconds" })
  ).pipe(Effect.map(({ stdout }) => Number(stdout) * 1_000_000))

/**
 * How long an active unit must still stay active to count: a service that fails at once, or that systemd restarts again and again, is active in
 * between. `unsteady` says that it left this state during the wait. In milliseconds.
 */
export const mustLast = (guest: Guest, { activeSince, service }: UnitState, unsteady: boolean) => {
  const least =
    unsteady || (service?.restarts ?? 0) > 0
      ? restartedTime
      : service !== undefined && activeAtOnce.has(service.type)
        ? steadyTime
        : Duration.zero
  const required = Duration.toMillis(Duration.times(least, guest.backend.timeScale))
  if (required === 0 || activeSince === undefined) return Effect.succeed(required)
  return Effect.map(now(guest), (time) => Math.max(0, required - (time - activeSince) / 1000))
}

/** Runs a command of the manager's user. */
const ask = (guest: Guest, command: string, options: UnitOptions | undefined) => {
  const { execute, prelude } = manager(options)
  return Effect.flatMap(guest.shell, (shell) =>
    shell.execute(`${prelude}${command}`, { timeout: "1 minute", ...execute })
  )
}

/**
 * Whether a unit is still active. The guest has to start a program for this answer, so one that was started before, and fails at once, has failed by
 * then, however slow the guest is.
 */
export const isStillActive = (guest: Guest, unit: string, options: UnitOptions | undefined) =>
  Effect.map(
    ask(guest, `systemctl ${manager(options).flag}is-active --quiet -- ${quote(unit)}`, options),
    ({ exitCode }) => exitCode === 0
  )

/** The messages of systemd that a unit's start is done, or has failed (sd-messages.h: SD_MESSAGE_UNIT_STARTED, SD_MESSAGE_UNIT_FAILED). */
const [startDone, startFailed] = ["39f53479d3a045ac8e11786248231fbf", "be02cf6855d2428ba40df7e9d022f03d"]

/** Whether a oneshot has ended well that systemd has forgotten since, as it does with units that no other one names: the journal knows. */
export const endedWellBefore = (guest: Guest, unit: string, state: UnitState, options: UnitOptions | undefined) => {
  const { activeState, service, started } = state
  const forgotten = service?.type === "oneshot" && !service.remains && !started && activeState === "inactive"
  if (!forgotten) return Effect.succeed(false)
  const field = options?.user === undefined ? "UNIT" : "USER_UNIT"
  const matches = `${field}=${quote(fullName(unit))} MESSAGE_ID=${startDone} MESSAGE_ID=${startFailed}`
  const command = `journalctl --sync 2>/dev/null || true
journalctl -b -q --no-pager -n 1 -o json --output-fields=MESSAGE_ID ${matches} 2>/dev/null | grep -q ${startDone}`
  return Effect.map(ask(guest, command, undefined), ({ exitCode }) => exitCode === 0)
}
