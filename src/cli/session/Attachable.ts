/**
 * The sessions of this process that others can join: failed tests that are kept, and interactive sessions.
 *
 * **Example** (How many there are)
 *
 * ```ts
 * const count = Attachable.all().length
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Seat } from "../Seat.ts"

/** How somebody who had joined left. */
export interface Leaving {
  /** For people: `detached; the test is still paused`. */
  readonly reason: string
  /** How many lines failed. */
  readonly failures: number
}

/** A session that can be joined. */
export interface Attachable {
  readonly name: string
  readonly kind: "paused" | "interactive"
  /** Opens a prompt for somebody, until they leave or the session ends. */
  readonly join: (seat: Seat) => Effect.Effect<Leaving>
}

const known = new Set<Attachable>()

/** Lets others join until the scope closes. */
export const add = (one: Attachable): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.sync(() => known.add(one)),
      () => Effect.sync(() => known.delete(one))
    )
  )

/** Their names and kinds, in the order in which they began. */
export const all = (): ReadonlyArray<Pick<Attachable, "name" | "kind">> =>
  [...known].map(({ kind, name }) => ({ name, kind }))

/** The session of a name, or the only one; else a text that says why not. */
export const find = (name: string | undefined): Attachable | string => {
  const there = [...known]
  const names = there.map((one) => JSON.stringify(one.name)).join(", ")
  if (there.length === 0) return "it has no session to attach to: none of its tests is paused"
  const found = name === undefined ? there : there.filter((one) => one.name === name)
  if (found[0] === undefined) return `it has no session ${JSON.stringify(name)}; it has ${names}`
  if (name === undefined && found.length > 1) return `it has several sessions; choose one with --test: ${names}`
  return found[0]
}
