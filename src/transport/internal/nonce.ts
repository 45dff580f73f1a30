import { randomBytes } from "node:crypto"
import * as Effect from "effect/Effect"

/** 128 bits that nobody can guess, as 32 hexadecimal digits. */
export const nonce: Effect.Effect<string> = Effect.sync(() => randomBytes(16).toString("hex"))
