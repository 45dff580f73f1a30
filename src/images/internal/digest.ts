/** Digests of descriptions and files. */
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Stream from "node:stream/promises"
import * as Effect from "effect/Effect"

/** JSON with the keys of every object in order, so that equal data has equal text. */
export const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : inner
  )

/** SHA-256 in hex. */
export const sha256 = (data: string | Uint8Array): string => Crypto.createHash("sha256").update(data).digest("hex")

/** SHA-256 of a file in hex; about 2 s a GiB. Fails with what the system says. */
export const sha256File = (path: string): Effect.Effect<string, Error> =>
  Effect.tryPromise({
    try: (signal) => {
      const hash = Crypto.createHash("sha256")
      return Stream.pipeline(Fs.createReadStream(path, { highWaterMark: 1 << 20 }), hash, { signal }).then(() =>
        hash.digest("hex")
      )
    },
    catch: (error) => (error instanceof Error ? error : new Error(String(error)))
  })
