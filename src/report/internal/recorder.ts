/** Makes records of the events of a run. */
import { readFileSync, statSync } from "node:fs"
import * as Result from "effect/Result"
import type * as Failure from "../../driver/Failure.ts"
import { type RunEvent, shortName } from "../../driver/RunEvent.ts"
import type { SubtestResult, TestResult } from "../../driver/TestResult.ts"
import type { MachineEvent } from "../../guest/MachineEvent.ts"
import type { Of, RecordedFailure, RecordedSubtest, RunRecord } from "../RunRecord.ts"

/** The largest picture that a record has, and the most bytes of pictures of a run. */
const largestPicture = 512 * 1024
const mostPictures = 16 * 1024 * 1024

export const failureOf = (failure: Failure.Failure): RecordedFailure => {
  const { callers, evidence, kind, message, messageFile, place, subtest } = failure
  return {
    ...{ kind, message, callers },
    evidence: evidence.map(({ file, text, title }) => ({ title, text, ...(file === undefined ? {} : { file }) })),
    ...(messageFile === undefined ? {} : { messageFile }),
    ...(place === undefined ? {} : { place }),
    ...(subtest === undefined ? {} : { subtest })
  }
}

const subtestOf = ({ failure, handled, millis, name, status, within }: SubtestResult): RecordedSubtest => ({
  ...{ name, within, status, millis },
  ...(failure === undefined ? {} : { failure: failureOf(failure) }),
  ...(handled === undefined ? {} : { handled })
})

const testEnded = (at: number, test: number, result: TestResult, retried: boolean): Of<"test-ended"> => {
  const { excludedMillis, failure, file, folder, machines, millis, name, startedAt, status, subtests } = result
  const { skipped, tags = [] } = result
  return {
    ...{ type: "test-ended", at, test, name, status, startedAt, millis, excludedMillis },
    subtests: subtests.map(subtestOf),
    machines: machines.map(({ came, failed, name: machine, state }) => ({
      ...{ name: machine, state },
      ...(came === undefined ? {} : { came }),
      ...(failed === undefined ? {} : { failed })
    })),
    ...(file === undefined ? {} : { file }),
    ...(skipped === undefined ? {} : { skipped }),
    ...(tags.length === 0 ? {} : { tags }),
    ...(retried ? { retried } : {}),
    ...(failure === undefined ? {} : { failure: failureOf(failure) }),
    ...(folder === undefined ? {} : { folder })
  }
}

/** Reads pictures, as long as they are not too large together. */
const pictures = () => {
  let read = 0
  return (path: string): string | undefined => {
    const bytes = Result.getOrUndefined(
      Result.try(() => (statSync(path).size <= largestPicture ? readFileSync(path) : undefined))
    )
    if (bytes === undefined || read + bytes.length > mostPictures) return undefined
    read += bytes.length
    return bytes.toString("base64")
  }
}

const makeMachineRecords = () => {
  const pictureOf = pictures()
  return (at: number, test: number, event: MachineEvent, within: ReadonlyArray<string> | undefined): RunRecord => {
    const { machine } = event
    const place = within === undefined ? {} : { within }
    switch (event._tag) {
      case "MachineState": {
        const { detail, excludedMillis, state } = event
        const excluded = excludedMillis === undefined ? {} : { excludedMillis }
        return { type: "machine", at, test, machine, state, detail, ...excluded }
      }
      case "ConsoleLine":
        return { type: "console", at, test, machine, line: event.line }
      case "StillBooting":
        return { type: "booting", at, test, machine, detail: event.detail }
      case "ActionStarted": {
        const { action, command, id: step, within: part } = event
        return {
          ...{ type: "step-started", at, test, machine, step, action, ...place },
          ...(part === undefined ? {} : { part }),
          ...(command === undefined ? {} : { command })
        }
      }
      case "ActionEnded": {
        const { error, exitCode, failed, id: step, millis, outcome, stderr, stdout } = event
        return {
          ...{ type: "step-ended", at, test, machine, step, millis, failed, outcome },
          ...(exitCode === undefined ? {} : { exitCode }),
          ...(stdout === undefined ? {} : { stdout }),
          ...(stderr === undefined ? {} : { stderr }),
          ...(error === undefined ? {} : { error })
        }
      }
      case "Picture": {
        const png = pictureOf(event.path)
        return { type: "picture", at, test, machine, path: event.path, ...place, ...(png === undefined ? {} : { png }) }
      }
    }
  }
}

/** Gives the record of each event, in the order of their times. */
export const make = () => {
  const machineRecord = makeMachineRecords()
  /** The numbers of the tests that have begun, by their short names, of which those that run at once have different ones. */
  const running = new Map<string, number>()
  let tests = 0
  const numberOf = ({ label }: RunEvent, name: string): number => {
    const key = label ?? shortName(name)
    const known = running.get(key)
    if (known !== undefined) return known
    running.set(key, tests)
    return tests++
  }

  return (event: RunEvent, at: number): RunRecord => {
    if (event._tag === "ImageProgress") return { type: "image", at, image: event.image, line: event.line }
    const name = event._tag === "TestEnded" ? event.result.name : event.test
    const test = numberOf(event, name)
    switch (event._tag) {
      case "TestStarted": {
        const file = event.file === undefined ? {} : { file: event.file }
        const folder = event.folder === undefined ? {} : { folder: event.folder }
        const attempt = (event.attempt ?? 1) === 1 ? {} : { attempt: event.attempt as number }
        return { type: "test-started", at, test, name, machines: event.machines, ...file, ...folder, ...attempt }
      }
      case "MachineEvent":
        return machineRecord(at, test, event.event, event.within)
      case "SubtestStarted":
        return { type: "subtest-started", at, test, name: event.subtest, within: event.within }
      case "SubtestEnded":
        return { type: "subtest-ended", at, test, ...subtestOf(event.result) }
      case "Log":
        return { type: "log", at, test, line: event.line }
      case "ProcessChange": {
        const { change, kind, name: process, orderly, parent, process: id, reason } = event.change
        return {
          ...{ type: "process", at, test, change, process: id, name: process, kind },
          ...(parent === undefined ? {} : { parent }),
          ...(reason === undefined ? {} : { reason }),
          ...(orderly === undefined ? {} : { orderly })
        }
      }
      case "Traffic": {
        const { bytes, millis, network, packets } = event
        return { type: "traffic", at, test, network, packets, bytes, millis }
      }
      case "TestSlow": {
        const { doing, millis, quietMillis } = event
        return { type: "slow", at, test, millis, quietMillis, doing }
      }
      case "AttemptFailed":
      case "TestEnded":
        // What follows of that name is of another attempt.
        running.delete(event.label ?? shortName(name))
        return testEnded(at, test, event.result, event._tag === "AttemptFailed")
    }
  }
}
