/** What errors of Postgres, of Node's sockets and of the SQL client mean to who uses a fleet. */
import * as Predicate from "effect/Predicate"
import { type DatabaseProblem, DatabaseUnusable } from "../FleetError.ts"

const property = (value: unknown, name: string): string | undefined => {
  const found = Predicate.hasProperty(value, name) ? value[name] : undefined
  return typeof found === "string" ? found : undefined
}

/** The innermost cause of an error, which has Postgres's or Node's own code. */
const rootOf = (error: unknown, depth = 0): unknown => {
  const reason = Predicate.hasProperty(error, "reason") ? error.reason : undefined
  const inner = Predicate.isObject(reason) ? reason : Predicate.hasProperty(error, "cause") ? error.cause : undefined
  return depth > 8 || !Predicate.isObject(inner) ? error : rootOf(inner, depth + 1)
}

/** What codes mean: the longest that the code begins with counts. */
const meanings: ReadonlyArray<readonly [string, DatabaseProblem, string]> = [
  ["28", "refused", "the user or the password is wrong"],
  ["3D000", "refused", "there is no such database"],
  ["42501", "forbidden", "the role may not do this"],
  ["25006", "forbidden", "the database is read-only"],
  ["53100", "full", "its disk is full"],
  ["53200", "full", "it is out of memory"],
  ["53300", "unreachable", "it has no free connection"],
  ["57P", "unreachable", "the server is stopping or starting"],
  ["08", "unreachable", "the connection was lost"],
  ["ENOTFOUND", "unreachable", "no such host"],
  ["EAI_AGAIN", "unreachable", "its host name could not be looked up"],
  ["ECONNREFUSED", "unreachable", "nothing listens there"],
  ["ECONNRESET", "unreachable", "the connection was lost"],
  ["EPIPE", "unreachable", "the connection was lost"],
  ["ETIMEDOUT", "unreachable", "it did not answer in time"],
  ["EHOSTUNREACH", "unreachable", "its host cannot be reached"],
  ["ENETUNREACH", "unreachable", "its network cannot be reached"],
  ["ENOENT", "unreachable", "there is no such socket"]
]

/** An error of the client in the words of a fleet. */
export const problemOf = (shown: string, error: unknown): DatabaseUnusable => {
  const root = rootOf(error)
  const code = property(root, "code") ?? ""
  const said = property(root, "message") ?? String(root)
  const meaning = meanings.find(([begin]) => code !== "" && code.startsWith(begin))
  if (meaning !== undefined) {
    const [, problem, what] = meaning
    return new DatabaseUnusable({ database: shown, problem, reason: said === "" ? what : `${what} (${said})` })
  }
  const tag = Predicate.hasProperty(error, "reason") ? property(error.reason, "_tag") : undefined
  const problem = tag === "ConnectionError" ? "unreachable" : tag === "AuthenticationError" ? "refused" : "other"
  return new DatabaseUnusable({ database: shown, problem, reason: said })
}
