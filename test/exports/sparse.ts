/** As `consumer.ts`, of a file that imports one name: what else is in the types has to be named all the same. */
import * as Effect from "effect/Effect"
import { Runner } from "vmtest"

export const run = Effect.suspend(() => Runner.run([], { output: "x" }))
