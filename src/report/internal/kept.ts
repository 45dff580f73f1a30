/** The records of tests in memory, until a page is made of them. */
import type { Of, RunRecord } from "../RunRecord.ts"

/** How many records of a test are kept, and how many of them may be lines of consoles. */
export const mostRecords = 20_000
export const mostLines = 10_000

interface Test {
  readonly lines: Array<string>
  consoles: number
  dropped: number
  lastAt: number
}

/** What ends a test, or says what it failed with, is kept in any case. */
const isVital = ({ type }: RunRecord) => type === "test-started" || type === "test-ended" || type === "subtest-ended"

const droppedOf = (number: number, { dropped, lastAt }: Test): ReadonlyArray<string> => {
  if (dropped === 0) return []
  const record: Of<"dropped"> = { type: "dropped", at: lastAt, test: number, records: dropped }
  return [JSON.stringify(record)]
}

/** Keeps records as lines. */
export const make = () => {
  const general: Array<string> = []
  const tests = new Map<number, Test>()

  const keep = (test: Test, record: RunRecord): void => {
    const isConsole = record.type === "console"
    const isFull = test.lines.length >= mostRecords || (isConsole && test.consoles >= mostLines)
    test.lastAt = record.at
    if (isFull && !isVital(record)) {
      test.dropped += 1
      return
    }
    if (isConsole) test.consoles += 1
    test.lines.push(JSON.stringify(record))
  }

  return {
    hear: (record: RunRecord): void => {
      if (!("test" in record)) {
        general.push(JSON.stringify(record))
        return
      }
      const test = tests.get(record.test) ?? { lines: [], consoles: 0, dropped: 0, lastAt: 0 }
      tests.set(record.test, test)
      keep(test, record)
    },
    /** The lines of one test, after those of the run. */
    ofTest: (number: number): ReadonlyArray<string> => {
      const test = tests.get(number)
      return test === undefined ? [] : [...general, ...test.lines, ...droppedOf(number, test)]
    },
    /** The lines of all tests. */
    all: (): ReadonlyArray<string> => [
      ...general,
      ...[...tests].flatMap(([number, test]) => [...test.lines, ...droppedOf(number, test)])
    ],
    forget: (number: number): void => void tests.delete(number)
  }
}
