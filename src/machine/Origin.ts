/**
 * Where a start of a machine comes from: a boot, or a saved machine that it continues from.
 *
 * **Example** (The first start from a saved machine, later ones are boots)
 *
 * ```ts
 * const origins = Origin.first(Origin.goOnFrom(saved), Origin.boots)
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ControlService, SavedMachine } from "../backends/Backend.ts"
import type { Machine } from "./Machine.ts"

/** How one start of a machine comes to be ready. */
export interface Origin {
  /** What it continues from; undefined for a boot. */
  readonly from: SavedMachine | undefined
  /** The name of that, for people: `snapshot 3f2a91c0 of web (debian, 512 MiB)`. */
  readonly name?: string | undefined
  /**
   * The identity of a machine that continues from a saved one. `declared` (the default): what the test declares, with its own
   * machine-id, clock and entropy. `kept`: that of the saved machine, with the current time and its own entropy. `new`: as
   * `declared`, and with new SSH host keys.
   */
  readonly identity?: "declared" | "kept" | "new" | undefined
  /** What to do instead when it cannot continue from there. Where this is undefined, the start fails with the reason. */
  readonly otherwise?: ((refusal: Refusal) => Effect.Effect<Origin, never, Scope.Scope>) | undefined
  /** Run when the guest's shell answers for the first time. */
  readonly onAnswer?: Effect.Effect<void> | undefined
  /** Run when a guest has booted, was told its name and addresses, and has come to rest; before its warm-up. */
  readonly onSettled?: ((control: ControlService) => Effect.Effect<void>) | undefined
  /** Keeps the time of an effect off the test's clock: that of settling and saving, which only the first of many machines takes. */
  readonly untimed?: (<A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>) | undefined
  /** Run when everything else is done, before anybody else can use the machine. Its failure is the start's. */
  readonly warmUp?: ((machine: Machine, control: ControlService) => Effect.Effect<void, unknown>) | undefined
}

/** Why a machine did not continue from a saved one. */
export interface Refusal {
  readonly reason: string
  /** Whether that is the saved machine's fault for sure, as of `LoadFailed`. */
  readonly damaged: boolean
}

/** A boot, and nothing else. */
export const boot: Origin = { from: undefined }

/** Where each start of a machine comes from; `start` counts from 1. What it holds is held until the machine ends. */
export type Origins = (start: number) => Effect.Effect<Origin, never, Scope.Scope>

/** Every start is a boot. */
export const boots: Origins = () => Effect.succeed(boot)

/** The first start of all comes from there, where that is given; the others as they would. */
export const first =
  (origin: Origin | undefined, origins: Origins): Origins =>
  (start) =>
    start === 1 && origin !== undefined ? Effect.succeed(origin) : origins(start)

/** Continues from a saved machine, or fails. */
export const goOnFrom = (from: SavedMachine): Origin => ({ from })
