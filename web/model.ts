/** What the viewer shows, made of the records of a run. */
import type { Of, RecordedFailure, RunRecord } from "../src/report/RunRecord.ts"

/** What a row of the list is about. */
export type Kind = "subtest" | "step" | "machine" | "console" | "log" | "process" | "picture"

/** A line of the list of what happened in a test. */
export interface Row {
  /** Its place in the test's rows. */
  readonly index: number
  readonly kind: Kind
  /** Milliseconds since 1970. */
  readonly at: number
  /** When it ended; undefined for what has no length, or did not end. */
  end: number | undefined
  /** How deep it is in subtests and steps. */
  readonly depth: number
  readonly machine: string | undefined
  readonly title: string
  /** Beside the title: the outcome of a step, the reason of an end. */
  note: string
  status: "ok" | "failed" | "warning" | "running" | "plain"
  readonly within: ReadonlyArray<string>
  readonly start: RunRecord
  stop: RunRecord | undefined
}

/** A state of a machine, until the next one. */
export interface StateSpan {
  readonly state: Of<"machine">["state"]
  readonly at: number
  readonly end: number
}

/** A process of the supervision tree, over its life. */
export interface Process {
  readonly id: number
  readonly name: string
  readonly kind: string
  readonly parent: number | undefined
  readonly at: number
  end: number | undefined
  reason: string | undefined
  orderly: boolean
  restarted: boolean
}

export interface Test {
  readonly number: number
  name: string
  file: string | undefined
  status: string
  /** It failed, and was tried again. */
  retried: boolean
  attempt: number
  at: number
  end: number
  millis: number
  failure: RecordedFailure | undefined
  result: Of<"test-ended"> | undefined
  readonly rows: Array<Row>
  readonly machines: Array<string>
  readonly states: Map<string, Array<StateSpan>>
  readonly traffic: Map<string, Array<Of<"traffic">>>
  readonly processes: Map<number, Process>
  readonly pictures: Array<Of<"picture">>
  /** How many records were left out. */
  dropped: number
  /** The row that explains the failure best. */
  failing: Row | undefined
}

export interface Run {
  readonly vmtest: string
  readonly at: number
  readonly end: number
  readonly interrupted: boolean
  readonly tests: ReadonlyArray<Test>
  readonly images: ReadonlyArray<Of<"image">>
}

const newTest = (number: number, at: number): Test => ({
  ...{ number, name: "", file: undefined, status: "running", retried: false, attempt: 1, at, end: at, millis: 0 },
  ...{ failure: undefined, result: undefined, rows: [], machines: [], states: new Map(), traffic: new Map() },
  ...{ processes: new Map(), pictures: [], dropped: 0, failing: undefined }
})

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
const control = /\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b[@-_]|[\u0000-\u0008\u000b-\u001f\u007f]/g

/** A text without what would move a terminal's cursor. */
export const plain = (text: string): string => text.replace(control, "")

const nothing: ReadonlyArray<string> = []

/** Fills a test with its records, which come in the order of time. */
class Filling {
  private readonly open = new Map<string, Row>()
  private readonly steps = new Map<number, Row>()
  private scriptEnded = false

  readonly test: Test

  constructor(test: Test) {
    this.test = test
  }

  private add(
    kind: Kind,
    start: RunRecord & { readonly machine?: string },
    title: string,
    more: Partial<Pick<Row, "depth" | "note" | "status" | "within" | "end">> = {}
  ): Row {
    const row: Row = {
      ...{ index: this.test.rows.length, kind, at: start.at, end: undefined, depth: 0, machine: start.machine, title },
      ...{ note: "", status: "plain", within: nothing, start, stop: undefined },
      ...more
    }
    this.test.rows.push(row)
    return row
  }

  private addMachine(machine: string): void {
    if (!this.test.machines.includes(machine)) this.test.machines.push(machine)
  }

  private startStep(record: Of<"step-started">): void {
    const around = record.part === undefined ? undefined : this.steps.get(record.part)
    const within = record.within ?? nothing
    const depth = around === undefined ? within.length : around.depth + 1
    const row = this.add("step", record, record.action, { depth, within, status: "running" })
    this.steps.set(record.step, row)
  }

  private endStep(record: Of<"step-ended">): void {
    const row = this.steps.get(record.step)
    if (row === undefined) return
    row.end = record.at
    row.stop = record
    row.note = record.outcome === "exit code 0" ? "" : record.outcome
    const isOff = record.failed ? record.outcome !== "interrupted" : (record.exitCode ?? 0) !== 0
    row.status = isOff ? (record.failed ? "failed" : "warning") : "ok"
  }

  private endSubtest(record: Of<"subtest-ended">): void {
    const key = [...record.within, record.name].join("\n")
    const row = this.open.get(key)
    if (row === undefined) return
    this.open.delete(key)
    row.end = record.at
    row.stop = record
    row.status = record.status === "passed" ? "ok" : "failed"
    row.note = record.failure?.message.split("\n")[0] ?? ""
  }

  private changeState(record: Of<"machine">): void {
    const { machine, state } = record
    this.addMachine(machine)
    const spans = this.test.states.get(machine) ?? []
    const last = spans.at(-1)
    if (last !== undefined) spans[spans.length - 1] = { ...last, end: record.at }
    spans.push({ state, at: record.at, end: record.at })
    this.test.states.set(machine, spans)
    const status = state === "crashed" ? "failed" : "plain"
    this.add("machine", record, `${machine} is ${state}`, { note: record.detail.split("\n")[0] ?? "", status })
  }

  private changeProcess(record: Of<"process">): void {
    const known = this.test.processes.get(record.process)
    if (record.change === "started") {
      if (known !== undefined) return
      const { at, kind, name, parent, process: id } = record
      this.test.processes.set(id, {
        ...{ id, name, kind, parent, at, end: undefined, reason: undefined, orderly: true, restarted: false }
      })
      return
    }
    if (known === undefined) return
    // When the script has ended, everything ends.
    const isOver = this.scriptEnded
    if (record.change === "ended" && record.name === "Script") this.scriptEnded = true
    if (record.change === "restarted") {
      if (isOver) return
      known.restarted = true
      this.add("process", record, `${record.name} was started again`, { status: "warning" })
      return
    }
    known.end = record.at
    known.reason = record.reason
    known.orderly = record.orderly ?? true
    if (!known.orderly && !isOver)
      this.add("process", record, `${record.name} ended`, { note: record.reason ?? "", status: "failed" })
  }

  private finish(record: Of<"test-ended">): void {
    const { test } = this
    test.result = record
    test.name = record.name
    test.file = record.file
    test.status = record.status
    test.retried = record.retried ?? false
    test.at = record.startedAt
    test.millis = record.millis
    test.failure = record.failure
  }

  hear(record: RunRecord): void {
    this.test.end = Math.max(this.test.end, record.at)
    switch (record.type) {
      case "test-started":
        this.test.name = record.name
        this.test.file = record.file
        this.test.at = record.at
        this.test.attempt = record.attempt ?? 1
        for (const machine of record.machines) this.addMachine(machine)
        break
      case "test-ended":
        this.finish(record)
        break
      case "subtest-started": {
        const { name, within } = record
        const row = this.add("subtest", record, name, { depth: within.length, within, status: "running" })
        this.open.set([...within, name].join("\n"), row)
        break
      }
      case "subtest-ended":
        this.endSubtest(record)
        break
      case "machine":
        this.changeState(record)
        break
      case "booting":
        this.add("machine", record, record.detail.split("\n")[0] ?? "", { status: "warning" })
        break
      case "console":
        this.addMachine(record.machine)
        this.add("console", record, plain(record.line))
        break
      case "step-started":
        this.startStep(record)
        break
      case "step-ended":
        this.endStep(record)
        break
      case "picture": {
        const within = record.within ?? nothing
        this.test.pictures.push(record)
        this.add("picture", record, record.path.split("/").at(-1) ?? "", { within, depth: within.length })
        break
      }
      case "log":
        this.add("log", record, plain(record.line))
        break
      case "slow":
        this.add("log", record, `it has been running for ${duration(record.millis)}`, { status: "warning" })
        break
      case "process":
        this.changeProcess(record)
        break
      case "traffic": {
        const all = this.test.traffic.get(record.network) ?? []
        all.push(record)
        this.test.traffic.set(record.network, all)
        break
      }
      case "dropped":
        this.test.dropped += record.records
        break
    }
  }
}

/** The row that explains a test's failure: the last step that went wrong in the subtest that failed, or the last step there. */
const failingOf = ({ failure, rows, status }: Test): Row | undefined => {
  if (status === "passed" || status === "skipped") return undefined
  const path = failure?.subtest ?? nothing
  const isIn = ({ within }: Row) => path.every((name, index) => within[index] === name)
  const inside = rows.filter((row) => row.kind === "step" && isIn(row))
  // Steps of scripts in Python do not say which subtest they are in.
  const failed = rows.findLast(
    (row) =>
      row.kind === "subtest" && row.status === "failed" && row.title === path.at(-1) && row.depth === path.length - 1
  )
  const meanwhile = rows.filter(
    (row) => row.kind === "step" && failed !== undefined && row.at >= failed.at && row.at <= (failed.end ?? row.at)
  )
  const steps = inside.length > 0 ? inside : meanwhile
  return (
    steps.findLast((row) => row.status === "failed" || row.status === "warning") ??
    steps.findLast((row) => row.status === "running") ??
    steps.at(-1) ??
    rows.findLast((row) => row.kind === "subtest" && row.status === "failed")
  )
}

const finishStates = ({ end, states }: Test): void => {
  for (const spans of states.values()) {
    const last = spans.at(-1)
    if (last !== undefined) spans[spans.length - 1] = { ...last, end }
  }
}

/** The records of a page: a line each. */
export const recordsOf = (text: string): ReadonlyArray<RunRecord> =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as RunRecord)

/** A run, of its records. */
export const runOf = (records: ReadonlyArray<RunRecord>): Run => {
  const tests = new Map<number, Filling>()
  const images: Array<Of<"image">> = []
  let vmtest = ""
  let interrupted = false
  for (const record of records) {
    if (record.type === "run-started") vmtest ||= record.vmtest
    else if (record.type === "run-ended") interrupted ||= record.interrupted
    else if (record.type === "image") images.push(record)
    else {
      const filling = tests.get(record.test) ?? new Filling(newTest(record.test, record.at))
      tests.set(record.test, filling)
      filling.hear(record)
    }
  }
  const all = [...tests.values()].map(({ test }) => test)
  for (const test of all) {
    if (test.result === undefined) test.status = "interrupted"
    if (test.result === undefined) test.millis = test.end - test.at
    finishStates(test)
    test.failing = failingOf(test)
    if (test.failing?.status === "warning") test.failing.status = "failed"
  }
  const times = records.map(({ at }) => at)
  const at = times.reduce((one, other) => Math.min(one, other), Number.POSITIVE_INFINITY)
  const end = times.reduce((one, other) => Math.max(one, other), 0)
  return { vmtest, at, end, interrupted, tests: all, images }
}

/** Whether a test is among those to look at first. */
export const isBad = ({ retried, status }: Test): boolean =>
  !retried && (status === "failed" || status === "timedOut" || status === "interrupted")

/** A time for people: `850 ms`, `3.2 s`, `2 min 5 s`. */
export function duration(millis: number): string {
  if (millis < 1000) return `${Math.round(millis)} ms`
  if (millis < 120_000) return `${(millis / 1000).toFixed(1)} s`
  const seconds = Math.round(millis / 1000)
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}

/** A time in a test, from its start: `0:03.250`. */
export const clock = (millis: number): string => {
  const all = Math.max(0, millis)
  const minutes = Math.floor(all / 60_000)
  return `${minutes}:${((all % 60_000) / 1000).toFixed(3).padStart(6, "0")}`
}

/** All that can be searched of a row, in lower case. */
export const textOf = (row: Row): string => {
  const parts = [row.title, row.note, row.machine ?? ""]
  if (row.start.type === "step-started") parts.push(row.start.command ?? "")
  if (row.stop?.type === "step-ended") parts.push(row.stop.stdout ?? "", row.stop.stderr ?? "", row.stop.error ?? "")
  return parts.join("\n").toLowerCase()
}

/** The console of a machine around a time: the lines before it, and those after it. */
export const consoleAround = (test: Test, machine: string | undefined, at: number, most = 200) => {
  const lines = test.rows.filter((row) => row.kind === "console" && (machine === undefined || row.machine === machine))
  const next = lines.findIndex((row) => row.at > at)
  const split = next === -1 ? lines.length : next
  return { before: lines.slice(Math.max(0, split - most), split), after: lines.slice(split, split + most / 4) }
}

/** A process and those below it. */
export interface Node {
  readonly process: Process
  readonly children: ReadonlyArray<Node>
}

/** The supervision tree of a test at a time. */
export const treeAt = ({ processes }: Test, at: number): ReadonlyArray<Node> => {
  const alive = [...processes.values()].filter((one) => one.at <= at && (one.end === undefined || one.end > at))
  const ids = new Set(alive.map(({ id }) => id))
  const below = (parent: number): ReadonlyArray<Node> =>
    alive.filter((one) => one.parent === parent).map((process) => ({ process, children: below(process.id) }))
  return alive
    .filter(({ parent }) => parent === undefined || !ids.has(parent))
    .map((process) => ({ process, children: below(process.id) }))
}
