/** A fleet for tests: a Postgres, and for each test a database, a folder and processes of its own. */
import { afterAll, afterEach, beforeAll } from "vitest"
import { type Cluster, startCluster } from "../test/fleet/postgres.ts"
import { type Command, endAll, project, vmtest } from "../test/fleet/processes.ts"

/** Words of the command line; what comes first may be for the environment. */
type Arguments = ReadonlyArray<string | Readonly<Record<string, string>>>

/** One test's fleet. */
export interface Fleet {
  readonly folder: string
  readonly url: string
  /** Starts `vmtest fleet …`. */
  readonly command: (...args: Arguments) => Command
  /** Starts a worker, and waits until it takes jobs. */
  readonly worker: (...args: Arguments) => Promise<Command>
  readonly sql: (text: string) => string
  readonly cluster: Cluster
}

/** Gives what starts the fleet of a test, with these files in its folder. */
export const fleets = (): ((files: Readonly<Record<string, string>>) => Fleet) => {
  let cluster: Cluster
  let count = 0
  const cleanups: Array<() => void> = []
  beforeAll(async () => {
    cluster = await startCluster()
  })
  afterAll(() => cluster?.remove())
  afterEach(() => {
    endAll()
    for (const cleanup of cleanups.splice(0)) cleanup()
  })
  return (files) => {
    count += 1
    const env = { VMTEST_FLEET_URL: cluster.createDatabase(`fleet${count}`) }
    const { folder, remove } = project(files)
    cleanups.push(remove)
    const command = (...args: Arguments) => {
      const words = args.filter((one) => typeof one === "string")
      const more = args.filter((one) => typeof one !== "string")
      return vmtest(["fleet", ...words], { cwd: folder, env: Object.assign({}, env, ...more) })
    }
    return {
      ...{ folder, command, cluster, url: env.VMTEST_FLEET_URL, sql: (text) => cluster.sql(text, `fleet${count}`) },
      worker: async (...args) => {
        const started = command(
          ...args.filter((one) => typeof one !== "string"),
          "worker",
          ...args.filter((one) => typeof one === "string")
        )
        await started.says(/waiting for test files/)
        return started
      }
    }
  }
}
