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
import { near } from "../host/Spelling.ts"
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

const isOfPostgres = ({ protocol }: URL): boolean => protocol === "postgres:" || protocol === "postgresql:"

/** The URL without its password. Another text may have a password anywhere, so nothing of it is shown. */
export const shown = (text: string): string => {
  const url = parsed(text)
  if (url === undefined) return "(not a URL)"
  if (!isOfPostgres(url)) return "(not a URL of Postgres)"
  if (url.password !== "") url.password = "***"
  if (url.searchParams.has("password")) url.searchParams.set("password", "***")
  return url.href
}

/** A parameter, as the driver takes it: of several the last. */
const parameter = (url: URL, name: string): string | undefined => url.searchParams.getAll(name).at(-1)

/** Whether the connection does not leave this host. */
const isLocal = (url: URL): boolean => {
  const host = parameter(url, "host") ?? url.hostname
  return host === "" || host.startsWith("/") || ["localhost", "127.0.0.1", "[::1]", "::1"].includes(host)
}

/** Modes of TLS that never fall back to an unencrypted connection. */
const encrypted = ["require", "verify-ca", "verify-full"]

/** All modes of TLS, as libpq has them. */
const modes = ["disable", "allow", "prefer", ...encrypted]

/** What a URL lacks, or has wrong; undefined if it can be used. */
const problemOf = (url: URL, insecure: boolean): string | undefined => {
  if (!isOfPostgres(url)) return `the URL must begin with postgres://, got ${url.protocol}//`
  const mode = parameter(url, "sslmode")
  if (mode !== undefined && !modes.includes(mode)) {
    const meant = near(mode, modes)
    return `sslmode must be one of ${modes.join(", ")}, got ${JSON.stringify(mode)}${meant === undefined ? "" : `; did you mean ${JSON.stringify(meant)}?`}`
  }
  if (url.username === "" && (parameter(url, "user") ?? "") === "")
    return `the URL must name a user, such as ${example}`
  if (url.pathname.replace(/^\//, "") === "" && (parameter(url, "dbname") ?? "") === "")
    return `the URL must name a database, such as ${example}`
  if (!insecure && !isLocal(url) && !encrypted.includes(mode ?? ""))
    return "the connection to another host must be encrypted: add ?sslmode=require to the URL, or --insecure on a network that you trust"
  return undefined
}

/** Reads a URL. Fails if it is not one of Postgres, names no user or no database, or leads to another host without TLS. */
export const parse = (text: string, options: UrlOptions = {}): Effect.Effect<DatabaseUrl, DatabaseUnusable> =>
  Effect.suspend(() => {
    const refuse = (reason: string) =>
      Effect.fail(new DatabaseUnusable({ database: shown(text), problem: "url", reason }))
    const url = parsed(text)
    if (url === undefined) return refuse(`the URL must be such as ${example}`)
    const problem = problemOf(url, options.insecure === true)
    return problem === undefined ? Effect.succeed({ secret: text, shown: shown(text) }) : refuse(problem)
  })
