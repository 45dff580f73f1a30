/**
 * What runs do, as text: a header for each run, its machines, and its supervision tree.
 *
 * **Example** (The text of one look)
 *
 * ```ts
 * const text = TopView.render(yield* Runs.overviews)
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { TerminalUnavailable } from "../../host/Terminal.ts"
import * as TerminalReport from "../../report/TerminalReport.ts"
import * as Listing from "../internal/listing.ts"
import type { Seat } from "../Seat.ts"
import * as Attachable from "./Attachable.ts"
import * as RunOverview from "./RunOverview.ts"

type Overview = RunOverview.RunOverview
type Process = Overview["processes"][number]

/** How long to wait between two looks, in milliseconds. */
export const interval = 1000

/** A share of processors between two looks, in percent of one. */
const shares = (before: ReadonlyArray<Overview>, now: Overview) => {
  const earlier = before.find(({ run }) => run === now.run)
  const seconds = new Map(
    earlier?.tests.flatMap(({ machines }) => machines.map(({ cpuSeconds, pid }) => [pid, cpuSeconds] as const))
  )
  return (pid: number | undefined, cpuSeconds: number | undefined): string => {
    const then = seconds.get(pid)
    if (earlier === undefined || then === undefined || cpuSeconds === undefined || now.at <= earlier.at) return ""
    return `${Math.round(((cpuSeconds - then) * 100_000) / (now.at - earlier.at))}%`
  }
}

const machineRows = (now: Overview, before: ReadonlyArray<Overview>): ReadonlyArray<string> => {
  const share = shares(before, now)
  const rows = now.tests.flatMap(({ fork, machines, test }) =>
    machines.map(({ addresses, cpuSeconds, memory, name, pid, resident, state }) => [
      ...[name, state, share(pid, cpuSeconds)],
      resident === undefined ? "" : Listing.size(resident),
      ...[Listing.size(memory), addresses[0] ?? "", pid === undefined ? "" : String(pid)],
      fork === undefined ? test : `${test} (${fork})`
    ])
  )
  if (rows.length === 0) return []
  return Listing.table([["MACHINE", "STATE", "CPU", "USED", "MEMORY", "ADDRESS", "PID", "TEST"], ...rows]).split("\n")
}

const treeRows = (processes: ReadonlyArray<Process>): ReadonlyArray<string> => {
  const living = new Set(processes.map(({ pid }) => pid))
  const childrenOf = (parent: string | undefined) =>
    processes.filter((one) =>
      parent === undefined ? one.parent === undefined || !living.has(one.parent) : one.parent === parent
    )
  const rowsOf = (process: Process, indent: string, isLast: boolean): ReadonlyArray<ReadonlyArray<string>> => {
    const { kind, mailbox, pid, received, restarts, status, uptime } = process
    const children = childrenOf(pid)
    const row = [
      ...[`${indent}${isLast ? "└─" : "├─"} ${pid}`, kind, status, TerminalReport.duration(uptime)],
      ...[String(received), mailbox === 0 ? "" : String(mailbox), restarts === 0 ? "" : String(restarts)]
    ]
    const below = `${indent}${isLast ? "   " : "│  "}`
    return [row, ...children.flatMap((child, index) => rowsOf(child, below, index === children.length - 1))]
  }
  const roots = childrenOf(undefined)
  const rows = roots.flatMap((root, index) => rowsOf(root, "", index === roots.length - 1))
  if (rows.length === 0) return []
  return Listing.table([["PROCESS", "KIND", "STATUS", "UP", "RECEIVED", "WAITING", "RESTARTS"], ...rows]).split("\n")
}

const runRows = (now: Overview, before: ReadonlyArray<Overview>): ReadonlyArray<string> => {
  const kinds = { paused: "paused at its failure", interactive: "interactive" }
  const sessions = now.attachable.map(
    ({ kind, name }) => `${JSON.stringify(name)} is ${kinds[kind]}; join it: npx vmtest attach ${now.run}`
  )
  const parts = [machineRows(now, before), treeRows(now.processes)].filter((rows) => rows.length > 0)
  return [
    `run ${now.run}  pid ${now.pid}  up ${TerminalReport.duration(now.uptime)}  vmtest ${now.command.join(" ")}`,
    ...sessions,
    ...parts.flatMap((rows) => ["", ...rows])
  ]
}

/** The text of a look at runs. With those of an earlier look, it has the shares of processors. */
export const render = (now: ReadonlyArray<Overview>, before: ReadonlyArray<Overview> = []): string =>
  now.length === 0 ? "no vmtest is running" : now.map((run) => runRows(run, before).join("\n")).join("\n\n")

/** Keys that scroll, and by how many lines. */
const scrolling: Readonly<Record<string, number>> = {
  ...{ "\u001b[A": -1, k: -1, "\u001b[B": 1, j: 1, "\u001b[5~": -20, "\u001b[6~": 20, " ": 20 }
}

/** q, Ctrl-C, Ctrl-D and Escape. */
const leaving = ["q", "\u0003", "\u0004", "\u001b"]

/** Shows what runs do on a terminal, again every second, until q, Escape or Ctrl-C is pressed. */
export const show = (
  looks: Effect.Effect<ReadonlyArray<Overview>>,
  seat: Seat
): Effect.Effect<void, TerminalUnavailable> =>
  Effect.gen(function* () {
    const terminal = yield* seat.open
    let { columns, rows } = terminal.size
    let [before, now]: [ReadonlyArray<Overview>, ReadonlyArray<Overview>] = [[], []]
    let top = 0
    const draw = Effect.suspend(() => {
      const lines = render(now, before).split("\n")
      const height = Math.max(1, rows - 1)
      top = Math.max(0, Math.min(top, lines.length - height))
      const page = lines.slice(top, top + height).map((line) => `${line.slice(0, columns)}\u001b[K`)
      const below = lines.length - top - height
      const footer = below > 0 ? `${below} more lines: arrow keys; q leaves` : "q leaves"
      return terminal.write(
        `\u001b[H${page.join("\r\n")}\r\n\u001b[7m${footer.slice(0, columns)}\u001b[0m\u001b[K\u001b[J`
      )
    })
    // Another screen, without a cursor; and back.
    yield* Effect.acquireRelease(terminal.write("\u001b[?1049h\u001b[?25l"), () =>
      terminal.write("\u001b[?25h\u001b[?1049l")
    )
    const next = Effect.gen(function* () {
      const seen = yield* looks
      before = now
      now = seen
      yield* draw
    })
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(next, Effect.sleep(interval))))
    yield* terminal.events.pipe(
      Stream.mapEffect((event) => {
        if (event._tag === "Resized") {
          ;({ columns, rows } = event.size)
          return Effect.as(draw, true)
        }
        const key = Buffer.from(event.bytes).toString("latin1")
        if (leaving.includes(key)) return Effect.succeed(false)
        top += scrolling[key] ?? 0
        return Effect.as(draw, true)
      }),
      Stream.takeWhile((stays) => stays),
      Stream.runDrain
    )
  }).pipe(Effect.scoped)

/** What this process, whose run is called `run`, does: live on a terminal, else once. */
export const live = (seat: Seat, run: string): Effect.Effect<void, TerminalUnavailable> => {
  const look = Effect.map(
    Effect.suspend(() => RunOverview.look({ run, attachable: Attachable.all() })),
    (one) => [one]
  )
  return seat.isTerminal ? show(look, seat) : Effect.map(look, (now) => void seat.output.write(`${render(now)}\n`))
}
