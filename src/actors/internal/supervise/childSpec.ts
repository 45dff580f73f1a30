/**
 * Checking supervisor flags and child specs, in OTP's order and with OTP's reasons.
 *
 * The types rule most of this out; specs that come from data, and plain JavaScript, do not have them.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { InvalidSpec, type Problem } from "../../SupervisorError.ts"

export type Strategy = "oneForOne" | "oneForAll" | "restForOne" | "simpleOneForOne"
export type AutoShutdown = "never" | "anySignificant" | "allSignificant"
export type Restart = "permanent" | "transient" | "temporary"
export type ChildType = "worker" | "supervisor"

/** Milliseconds, or one of two words. */
export type Shutdown = number | "brutalKill" | "infinity"

export interface Flags {
  readonly strategy: Strategy
  readonly intensity: number
  /** Whole seconds. */
  readonly period: number
  readonly autoShutdown: AutoShutdown
}

/** A start: an Effect, or for simple_one_for_one's template a function of the arguments that startChild is given. */
export type Start = Effect.Effect<unknown, unknown> | ((...args: Array<unknown>) => Effect.Effect<unknown, unknown>)

/** A child spec with nothing left out. */
export interface CheckedSpec {
  readonly id: unknown
  readonly start: Start
  readonly restart: Restart
  readonly shutdown: Shutdown
  readonly type: ChildType
  readonly significant: boolean
  readonly modules: ReadonlyArray<unknown> | "dynamic"
}

type Checked<A> = Result.Result<A, InvalidSpec>
type Raw = Readonly<Record<string, unknown>>

const isRecord = (value: unknown): value is Raw => typeof value === "object" && value !== null
const bad = (of: "supervisor" | "child", problem: Problem, value: unknown): Result.Result<never, InvalidSpec> =>
  Result.fail(new InvalidSpec({ of, problem, value }))

const strategies: ReadonlyArray<unknown> = ["oneForOne", "oneForAll", "restForOne", "simpleOneForOne"]
const autoShutdowns: ReadonlyArray<unknown> = ["never", "anySignificant", "allSignificant"]
const restarts: ReadonlyArray<unknown> = ["permanent", "transient", "temporary"]
const types: ReadonlyArray<unknown> = ["worker", "supervisor"]

const isStrategy = (value: unknown): value is Strategy => strategies.includes(value)
const isAutoShutdown = (value: unknown): value is AutoShutdown => autoShutdowns.includes(value)
const isRestart = (value: unknown): value is Restart => restarts.includes(value)
const isType = (value: unknown): value is ChildType => types.includes(value)
const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0
const isModules = (value: unknown): value is CheckedSpec["modules"] => value === "dynamic" || Array.isArray(value)

const millisOf = (value: unknown): number | undefined => {
  const duration = Duration.fromInput(value as Duration.Input)
  return Option.isSome(duration) ? Duration.toMillis(duration.value) : undefined
}

/** OTP's defaults: one restart in 5 seconds. */
export const checkFlags = (raw: Raw): Checked<Flags> => {
  const { strategy = "oneForOne", intensity = 1, period = 5000, autoShutdown = "never" } = raw
  if (!isStrategy(strategy)) return bad("supervisor", "invalidStrategy", strategy)
  if (!isCount(intensity)) return bad("supervisor", "invalidIntensity", intensity)
  const millis = millisOf(period)
  if (millis === undefined || millis <= 0 || millis % 1000 !== 0) return bad("supervisor", "invalidPeriod", period)
  if (!isAutoShutdown(autoShutdown)) return bad("supervisor", "invalidAutoShutdown", autoShutdown)
  return Result.succeed({ strategy, intensity, period: millis / 1000, autoShutdown })
}

const checkShutdown = (value: unknown): Shutdown | undefined => {
  if (value === "brutalKill" || value === "infinity") return value
  const millis = typeof value === "number" ? value : millisOf(value)
  if (millis === undefined || Number.isNaN(millis) || millis < 0) return undefined
  return millis === Number.POSITIVE_INFINITY ? "infinity" : millis
}

export const checkSpec = (raw: unknown, autoShutdown: AutoShutdown): Checked<CheckedSpec> => {
  if (!isRecord(raw)) return bad("child", "invalidChildSpec", raw)
  const { id, start, restart = "permanent", type = "worker", significant = false, modules = [] } = raw
  if (id === undefined) return bad("child", "missingId", raw)
  if (start === undefined) return bad("child", "missingStart", raw)
  if (!Effect.isEffect(start) && typeof start !== "function") return bad("child", "invalidStart", start)
  if (!isRestart(restart)) return bad("child", "invalidRestart", restart)
  if (significant === true && autoShutdown === "never") {
    return bad("child", "significantWithoutAutoShutdown", id)
  }
  if (significant === true && restart === "permanent") return bad("child", "significantAndPermanent", id)
  if (typeof significant !== "boolean") return bad("child", "invalidSignificant", significant)
  if (!isType(type)) return bad("child", "invalidType", type)
  const { shutdown = type === "worker" ? 5000 : "infinity" } = raw
  const checkedShutdown = checkShutdown(shutdown)
  if (checkedShutdown === undefined) return bad("child", "invalidShutdown", shutdown)
  if (!isModules(modules)) return bad("child", "invalidModules", modules)
  return Result.succeed({
    id,
    start: start as Start,
    restart,
    shutdown: checkedShutdown,
    type,
    significant,
    modules
  })
}

/** All specs of a supervisor, before anything is started. */
export const checkSpecs = (raws: ReadonlyArray<unknown>, flags: Flags): Checked<ReadonlyArray<CheckedSpec>> => {
  if (flags.strategy === "simpleOneForOne" && raws.length !== 1) return bad("supervisor", "badStartSpec", raws)
  const specs: Array<CheckedSpec> = []
  const ids = new Set<unknown>()
  for (const raw of raws) {
    const spec = checkSpec(raw, flags.autoShutdown)
    if (Result.isFailure(spec)) return Result.fail(spec.failure)
    if (ids.has(spec.success.id)) return bad("child", "duplicateChildName", spec.success.id)
    ids.add(spec.success.id)
    specs.push(spec.success)
  }
  return Result.succeed(specs)
}
