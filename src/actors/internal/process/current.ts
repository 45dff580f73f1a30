/**
 * The actor system of a fiber: the one provided, or one for the whole program, made when it is first needed.
 */
import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"
import { type Address, whereis } from "./names.ts"
import { ProcessImpl } from "./process.ts"
import { SystemImpl } from "./system.ts"

/** The clean-up of a killed process is given up after this many milliseconds. */
export const defaultAbandonAfter = 5000

export const CurrentSystem: Context.Reference<SystemImpl> = Context.Reference("vmtest/actors/ActorSystem", {
  defaultValue: () => new SystemImpl({ abandonAfter: defaultAbandonAfter })
})

export const currentSystem = (fiber: Fiber.Fiber<unknown, unknown>): SystemImpl => fiber.getRef(CurrentSystem)

/** The process behind an address, dead or alive, or nothing for a name that nobody has. */
export const resolve = (address: Address, fiber: Fiber.Fiber<unknown, unknown>): ProcessImpl | undefined => {
  if (address instanceof ProcessImpl) return address
  if (typeof address === "string" || "register" in address) return whereis(currentSystem(fiber), address)
  throw new TypeError("not a pid of this actor runtime")
}
