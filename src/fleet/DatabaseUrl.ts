/**
 * The URL of a fleet's database, and the rule about unencrypted connections.
 *
 * Workers run the code that comes through the database, so a connection to another host must be encrypted. `sslmode=require` encrypts and checks the
 * server's certificate.
 *
 * **Example** (Reading a URL)
 *
 * ```ts
 * const url = yield* DatabaseUrl.parse("postgres://ci@db.example.org/vmtest?sslmode=require")
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { DatabaseUnusable } from "./FleetError.ts"

/** A URL that may be used. */
export interface DatabaseUrl {
  /** With the password. */
  readonly secret: string
  /** Without it, for messages. */
  readonly shown: string
}

/** How to treat a URL. */
export interface UrlOptions {
  /** Whether a connection to another host may be unencrypted. Default false. */
  readonly insecure?: boolean | undefined
}

const example = "postgres://USER:PASSWORD@HOST/DATABASE?sslmode=require"

/** The parts of a text that is a URL, and undefined of any other. */
const parsed = (text: string): URL | undefined => (URL.canParse(text) ? new URL(text) : undefined)

/** The URL without its password. A text that is no URL may have a password anywhere, so nothing of it is shown. */
export const shown = (text: string): string => {
  const url = parsed(text)
  if (url === undefined) return "(not a URL)"
  if (url.password !== "") url.password = "***"
  if (url.searchParams.has("password")) url.searchParams.set("password", "***")
  return url.href
}

/** Whether the connection does not leave this host. */
const isLocal = (url: URL): boolean => {
  const host = url.searchParams.get("host") ?? url.hostname
  return host === "" || host.startsWith("/") || ["localhost", "127.0.0.1", "[::1]", "::1"].includes(host)
}

/** Modes of TLS that never fall back to an unencrypted connection. */
const encrypted = new Set(["require", "verify-ca", "verify-full"])

/** Reads a URL. Fails if it is not one of Postgres, or if it leads to another host without TLS. */
export const parse = (text: string, options: UrlOptions = {}): Effect.Effect<DatabaseUrl, DatabaseUnusable> =>
  Effect.suspend(() => {
    const refuse = (reason: string) =>
      Effect.fail(new DatabaseUnusable({ database: shown(text), problem: "url", reason }))
    const url = parsed(text)
    if (url === undefined) return refuse(`the URL must be such as ${example}`)
    if (url.protocol !== "postgres:" && url.protocol !== "postgresql:")
      return refuse(`the URL must begin with postgres://, got ${url.protocol}//`)
    if (options.insecure !== true && !isLocal(url) && !encrypted.has(url.searchParams.get("sslmode") ?? ""))
      return refuse(
        "the connection to another host must be encrypted: add ?sslmode=require to the URL, or --insecure on a network that you trust"
      )
    return Effect.succeed({ secret: text, shown: shown(text) })
  })
