/** A Postgres of the tests' own: a cluster in a temporary folder, run by a user who is not root, gone at the end. */
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

const binFolder = (): string | undefined => {
  const base = "/usr/lib/postgresql"
  const versions = existsSync(base) ? readdirSync(base).sort((a, b) => Number(b) - Number(a)) : []
  return versions.map((version) => join(base, version, "bin")).find((bin) => existsSync(join(bin, "initdb")))
}

/** Why there can be no Postgres here; undefined if there can. */
export const missing: string | undefined =
  binFolder() === undefined
    ? "Postgres is not installed: apt-get install postgresql"
    : existsSync(new URL("../../node_modules/@effect/sql-pg", import.meta.url))
      ? undefined
      : "@effect/sql-pg is not installed: npm ci"

/** The user that Postgres runs as; it refuses to run as root. */
const userId = (name: string): { readonly uid: number; readonly gid: number } | undefined => {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((one) => one.startsWith(`${name}:`))
  const [, , uid, gid] = line?.split(":") ?? []
  return uid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) }
}

const asUser = () => (process.getuid?.() === 0 ? (userId("postgres") ?? userId("nobody")) : undefined)

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

/** A cluster that runs. */
export interface Cluster {
  readonly port: number
  readonly folder: string
  /** The URL of a database, as its owner, with a password. */
  readonly url: (database: string, user?: string, password?: string) => string
  /** Runs SQL as the superuser. */
  readonly sql: (text: string, database?: string, url?: string) => string
  readonly createDatabase: (name: string) => string
  readonly stop: (mode?: "fast" | "immediate") => void
  readonly start: () => void
  readonly remove: () => void
}

/** Makes a cluster and starts it, with SCRAM for everybody. */
export const startCluster = async (
  options: { readonly folder?: string; readonly settings?: ReadonlyArray<string> } = {}
): Promise<Cluster> => {
  const bin = binFolder()
  if (bin === undefined) throw new Error(missing)
  const user = asUser()
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), "vmtest-pg-"))
  if (user !== undefined) chownSync(folder, user.uid, user.gid)
  chmodSync(folder, 0o700)
  const data = join(folder, "data")
  const port = await freePort()
  const run = (program: string, args: ReadonlyArray<string>, env: Record<string, string> = {}) => {
    const result = spawnSync(join(bin, program), args, {
      ...(user ?? {}),
      cwd: folder,
      encoding: "utf8",
      // A server that pg_ctl starts would hold a pipe open.
      stdio: program === "pg_ctl" ? "ignore" : "pipe",
      env: { PATH: process.env.PATH, LC_ALL: "C.UTF-8", ...env }
    })
    if (result.status !== 0) throw new Error(`${program} ${args.join(" ")}: ${result.stderr ?? result.error}`)
    return result.stdout ?? ""
  }
  const secret = join(folder, "secret")
  writeFileSync(secret, "root\n")
  if (user !== undefined) chownSync(secret, user.uid, user.gid)
  run("initdb", ["-D", data, "-U", "root", "--auth=scram-sha-256", `--pwfile=${secret}`, "-E", "UTF8", "--no-sync"])
  const settings = [
    ...[`port=${port}`, "listen_addresses=127.0.0.1", `unix_socket_directories=${folder}`],
    ...["max_connections=200", "shared_buffers=32MB", ...(options.settings ?? [])]
  ]
  writeFileSync(join(data, "postgresql.auto.conf"), settings.map((one) => one.replace(/=(.*)/, " = '$1'")).join("\n"))
  const start = () => void run("pg_ctl", ["-D", data, "-l", join(folder, "log"), "-w", "-t", "60", "start"])
  const stop = (mode = "fast") => void run("pg_ctl", ["-D", data, "-m", mode, "-w", "-t", "60", "stop"])
  start()
  const url = (database: string, name = "root", password = "root") =>
    `postgres://${name}:${password}@127.0.0.1:${port}/${database}`
  const sql = (text: string, database = "postgres", target = url(database)) =>
    run("psql", ["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-d", target, "-c", text]).trim()
  return {
    ...{ port, folder, url, sql, start, stop },
    createDatabase: (name) => {
      sql(`CREATE DATABASE ${name}`)
      return url(name)
    },
    remove: () => {
      try {
        stop("immediate")
      } catch {
        // Stopped already.
      }
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
