/** Where things are on the timeline. */
import type { Row, StateSpan, Test } from "./model.ts"

export const gutter = 118
export const axis = 20
const bar = 13

/** A bar or a tick of a lane; `y` and `height` are from the lane's top. */
export interface Shape {
  readonly row: Row
  readonly at: number
  readonly end: number
  readonly y: number
  readonly height: number
  readonly colour: string
}

export interface Lane {
  readonly name: string
  readonly top: number
  readonly height: number
  readonly shapes: ReadonlyArray<Shape>
  readonly states: ReadonlyArray<StateSpan>
  readonly traffic: ReadonlyArray<{
    readonly at: number
    readonly millis: number
    readonly bytes: number
    readonly packets: number
  }>
}

const colourOf = ({ kind, status }: Row): string => {
  if (status === "failed") return "--bad"
  if (status === "warning") return "--warn"
  return kind === "subtest" ? "--accent" : "--step"
}

/** Puts what overlaps below each other, on at most `most` levels. */
const stacked = (rows: ReadonlyArray<Row>, end: number, most: number): ReadonlyArray<Shape> => {
  const free: Array<number> = []
  return rows.map((row) => {
    const until = row.end ?? end
    const found = free.findIndex((one) => one <= row.at)
    const level = Math.min(found === -1 ? free.length : found, most - 1)
    free[level] = Math.max(free[level] ?? 0, until)
    return { row, at: row.at, end: until, y: 3 + level * bar, height: bar - 2, colour: colourOf(row) }
  })
}

const heightOf = (shapes: ReadonlyArray<Shape>, least: number) =>
  shapes.reduce((most, { height, y }) => Math.max(most, y + height + 3), least)

const ticks = (rows: ReadonlyArray<Row>, y: number, height: number, colour?: string): ReadonlyArray<Shape> =>
  rows.map((row) => ({ row, at: row.at, end: row.at, y, height, colour: colour ?? colourOf(row) }))

/** The lanes of a test: its subtests, each machine, each network, and the supervision tree. */
export const lanesOf = (test: Test): ReadonlyArray<Lane> => {
  const lanes: Array<Lane> = []
  let top = axis
  const add = (lane: Pick<Lane, "name" | "height"> & Partial<Lane>) => {
    lanes.push({ shapes: [], states: [], traffic: [], ...lane, top })
    top += lane.height
  }
  const subtests = stacked(
    test.rows.filter(({ kind }) => kind === "subtest"),
    test.end,
    4
  )
  if (subtests.length > 0) add({ name: "subtests", shapes: subtests, height: heightOf(subtests, 20) })
  for (const machine of test.machines) {
    const own = test.rows.filter((row) => row.machine === machine)
    const steps = stacked(
      own.filter(({ kind }) => kind === "step"),
      test.end,
      3
    )
    const height = heightOf(steps, 19) + 9
    const lines = ticks(
      own.filter(({ kind }) => kind === "console"),
      height - 8,
      6,
      "--dim"
    )
    const pictures = ticks(
      own.filter(({ kind }) => kind === "picture"),
      height - 9,
      8,
      "--traffic"
    )
    const crashes = ticks(
      own.filter(({ kind, status }) => kind === "machine" && status === "failed"),
      0,
      height
    )
    add({
      ...{ name: machine, height, states: test.states.get(machine) ?? [] },
      shapes: [...steps, ...lines, ...pictures, ...crashes]
    })
  }
  for (const [network, traffic] of test.traffic) add({ name: `network ${network}`, height: 28, traffic })
  const processes = test.rows.filter(({ kind }) => kind === "process")
  if (test.processes.size > 0) add({ name: "supervision", height: 20, shapes: ticks(processes, 3, 14) })
  return lanes
}

export const heightOfAll = (lanes: ReadonlyArray<Lane>): number => {
  const last = lanes.at(-1)
  return last === undefined ? axis : last.top + last.height
}
