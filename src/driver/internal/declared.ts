/** What a test's declaration may be, for scripts that no compiler checked. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Spelling from "../../host/Spelling.ts"
import type { TestOptions } from "../TestCase.ts"
import { bodyExample, isAsync, isGenerator } from "./refuse.ts"

const fields: Spelling.FieldsOf<TestOptions<Record<never, never>>> = {
  machines: true,
  timeout: true,
  waitTimeout: true
}

/** NixOS's word among them. */
const aliases: Spelling.Aliases = { nodes: "machines", vms: "machines", hosts: "machines" }

const example = "{ machines: { web: { image: Image.tiny() } } }"

/** What is wrong with the options of a test. */
const ofOptions = (options: unknown): string | undefined => {
  if (typeof options === "function") return `it has no options before its body; give ${example}, or {} for no machines`
  if (!Predicate.isObject(options)) return `its options are no object such as ${example}`
  const unknown = Spelling.unknownField(options, fields, { aliases })
  if (unknown !== undefined) return `its ${unknown.field} ${unknown.reason}`
  if (options.machines === undefined || Predicate.isObject(options.machines)) return undefined
  const what = Array.isArray(options.machines) ? "an array" : `a ${typeof options.machines}`
  return `its machines are ${what}; an object of names and declarations is meant, such as ${example}`
}

/** What is wrong with a body, before it is run. */
const ofBody = (body: unknown): string | undefined => {
  if (Effect.isEffect(body)) return "its body is an Effect, and no function that gives one; put () => in front of it"
  if (isAsync(body)) return `its body is async; write ${bodyExample}, where yield* is what await is elsewhere`
  if (isGenerator(body)) return `its body is a generator function; write ${bodyExample}`
  if (typeof body === "function") return undefined
  return `${body === undefined ? "it has no body" : "its body is no function"}; write ${bodyExample}`
}

/** What is wrong with how a test is declared, its machines and times apart. */
export const problemOf = (options: unknown, body: unknown): string | undefined => ofOptions(options) ?? ofBody(body)
