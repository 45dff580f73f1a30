/**
 * What a running vmtest is doing, as `vmtest top` shows it: its tests, their machines, and its supervision tree.
 *
 * **Example** (What this process is doing)
 *
 * ```ts
 * const overview = yield* RunOverview.look({ run: "3f2a91c0", attachable: [] })
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Observer from "../../actors/Observer.ts"
import * as Overview from "../../driver/Overview.ts"

/** A machine of a run. */
export const MachineView = Schema.Struct({
  name: Schema.String,
  state: Schema.String,
  came: Schema.optionalKey(Schema.String),
  image: Schema.String,
  /** Bytes that the guest has. */
  memory: Schema.Number,
  cpus: Schema.Number,
  /** The process of its hypervisor, while it runs. */
  pid: Schema.optionalKey(Schema.Number),
  /** Seconds that the hypervisor has used processors for. */
  cpuSeconds: Schema.optionalKey(Schema.Number),
  /** Bytes of the host that the hypervisor uses. */
  resident: Schema.optionalKey(Schema.Number),
  addresses: Schema.Array(Schema.String)
})

/** A test of a run, or a fork of its machines. */
export const TestView = Schema.Struct({
  test: Schema.String,
  fork: Schema.optionalKey(Schema.String),
  /** Milliseconds since the epoch. */
  startedAt: Schema.Number,
  machines: Schema.Array(MachineView)
})

/** A process of the supervision tree. */
export const ProcessView = Schema.Struct({
  /** `<12 web>` */
  pid: Schema.String,
  /** The process that started it; its children are in the order of their starts. */
  parent: Schema.optionalKey(Schema.String),
  kind: Schema.String,
  status: Schema.Literals(["waiting", "running", "suspended", "exiting"]),
  /** Messages that wait. */
  mailbox: Schema.Number,
  received: Schema.Number,
  restarts: Schema.Number,
  /** Milliseconds. */
  uptime: Schema.Number
})

/** A session that `vmtest attach` can join. */
export const AttachableView = Schema.Struct({
  name: Schema.String,
  /** A failed test that is kept, or an interactive session. */
  kind: Schema.Literals(["paused", "interactive"])
})

/** A run at one moment; the format of `vmtest top --json`. */
export const RunOverview = Schema.Struct({
  version: Schema.Literal(1),
  /** The name of its state folder, which `vmtest attach` takes. */
  run: Schema.String,
  pid: Schema.Number,
  /** Its command line, without the program. */
  command: Schema.Array(Schema.String),
  /** Its working folder. */
  folder: Schema.String,
  /** Milliseconds since the epoch. */
  at: Schema.Number,
  /** Milliseconds since the start of the process. */
  uptime: Schema.Number,
  attachable: Schema.Array(AttachableView),
  tests: Schema.Array(TestView),
  processes: Schema.Array(ProcessView)
})

/** A run at one moment; the format of `vmtest top --json`. */
export type RunOverview = typeof RunOverview.Type

/** Clock ticks of a second, as `/proc` counts: 100 on every Linux that Node runs on. */
const ticks = 100

/** What proc(5) says in `/proc/<pid>/stat` that a process has used: fields 14, 15 and 24. */
const usageOf = (pid: number | undefined): { readonly cpuSeconds?: number; readonly resident?: number } => {
  if (pid === undefined) return {}
  const stat = Result.getOrElse(
    Result.try(() => Fs.readFileSync(`/proc/${pid}/stat`, "utf8")),
    () => ""
  )
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  const [user, system, pages] = [fields[11], fields[12], fields[21]].map(Number)
  if (user === undefined || system === undefined || pages === undefined || Number.isNaN(pages)) return {}
  return { cpuSeconds: (user + system) / ticks, resident: pages * 4096 }
}

const machineView = ({ came, cards, pid, ...machine }: Overview.MachineOverview): typeof MachineView.Type => ({
  ...machine,
  ...(came === undefined ? {} : { came }),
  ...(pid === undefined ? {} : { pid }),
  ...usageOf(pid),
  addresses: cards.flatMap(({ ipv4, ipv6 }) => ipv4 ?? ipv6 ?? [])
})

/** What this process is doing. */
export const look = Effect.fnUntraced(function* (of: {
  readonly run: string
  readonly attachable: ReadonlyArray<typeof AttachableView.Type>
}) {
  const drivers = yield* Overview.all
  const { at, processes } = yield* Observer.snapshot
  const overview: RunOverview = {
    ...{ version: 1, ...of, at, pid: process.pid, command: process.argv.slice(2), folder: process.cwd() },
    uptime: Math.round(process.uptime() * 1000),
    tests: drivers.map(({ fork, machines, startedAt, test }) => ({
      ...{ test, startedAt, machines: machines.map(machineView) },
      ...(fork === undefined ? {} : { fork })
    })),
    processes: processes.map(({ kind, mailbox, parent, pid, received, restarts, status, uptime }) => ({
      ...{ pid: String(pid), kind, status, mailbox, received, restarts, uptime },
      ...(parent === undefined ? {} : { parent: String(parent) })
    }))
  }
  return overview
})
