import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as DatabaseUrl from "../../src/fleet/DatabaseUrl.ts"

const refused = (url: string, reason: string) =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(DatabaseUrl.parse(url))
    assert.strictEqual(error.problem, "url", url)
    assert.include(error.message, reason, url)
    assert.notInclude(error.message, "secret", url)
  })

describe("the URL of a fleet", () => {
  it.effect("names a user and a database of Postgres, and a mode of TLS that there is", () =>
    Effect.gen(function* () {
      yield* refused("", "could not use the database (not a URL): the URL must be such as postgres://USER")
      yield* refused("db.example.org/vmtest?password=secret", "the URL must be such as postgres://USER")
      yield* refused("postgres://a:secret@127.0.0.1:99999/vmtest", "the URL must be such as postgres://USER")
      yield* refused("mysql://a:secret@127.0.0.1/x", "the URL must begin with postgres://, got mysql://")
      yield* refused("postgres://127.0.0.1/vmtest", "the URL must name a user, such as postgres://USER")
      yield* refused("postgres://:secret@127.0.0.1/vmtest", "the URL must name a user")
      yield* refused("postgres://a:secret@127.0.0.1", "the URL must name a database")
      yield* refused("postgres://a:secret@127.0.0.1/", "the URL must name a database")
      yield* refused(
        "postgres://a:secret@127.0.0.1/x?sslmode=requier",
        'sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full, got "requier"; did you mean "require"?'
      )
      yield* refused("postgres://a:secret@127.0.0.1/x?sslmode=", 'verify-full, got ""')
      yield* DatabaseUrl.parse("postgres:///vmtest?host=/run/postgresql&user=a")
      yield* DatabaseUrl.parse("postgresql://a@[::1]/?dbname=vmtest")
    })
  )

  it.effect("leads to another host over TLS only", () =>
    Effect.gen(function* () {
      const reason = "the connection to another host must be encrypted: add ?sslmode=require"
      for (const rest of ["", "?sslmode=disable", "?sslmode=allow", "?sslmode=prefer"])
        yield* refused(`postgres://a:secret@db.example.org/vmtest${rest}`, reason)
      // The driver takes the last of several.
      yield* refused("postgres://a:secret@localhost/vmtest?host=localhost&host=db.example.org", reason)
      yield* refused("postgres://a:secret@db.example.org/vmtest?sslmode=require&sslmode=disable", reason)
      yield* DatabaseUrl.parse("postgres://a@db.example.org/vmtest?sslmode=verify-full")
      yield* DatabaseUrl.parse("postgres://a@db.example.org/vmtest", { insecure: true })
    })
  )
})
