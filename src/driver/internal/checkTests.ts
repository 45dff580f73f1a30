/** Checking what tests declare, before any of them starts. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Deadlines } from "../../guest/Deadlines.ts"
import * as MachineChecks from "../../machine/MachineChecks.ts"
import type { MachineSpec } from "../../machine/MachineSpec.ts"
import * as MachineSpecs from "../../machine/MachineSpec.ts"
import * as Addresses from "../../network/Addresses.ts"
import * as NetworkSpec from "../../network/NetworkSpec.ts"
import { InvalidTest } from "../InvalidTest.ts"
import { labelsOf, shortName } from "../RunEvent.ts"
import * as Selection from "../Selection.ts"
import type { TestCase } from "../TestCase.ts"
import { folderName } from "./keepLogs.ts"
import * as MachineNames from "./machineNames.ts"

const defaultTimeout = Duration.minutes(30)

/** A test whose declaration makes sense. */
export interface Checked {
  readonly test: TestCase
  /** Its place in the run, from 0. */
  readonly index: number
  /** Its folder's name in the output folder. */
  readonly folder: string
  /** What lines of reports call it. */
  readonly label: string
  readonly specs: ReadonlyArray<MachineSpec>
  /** Those that it declares. */
  readonly networks: ReadonlyArray<NetworkSpec.NetworkSpec> | undefined
  readonly timeout: Duration.Duration
  /** The time of all tests together, if what is left of it is the timeout. */
  readonly limit?: Duration.Duration
  readonly wait: Duration.Duration
}

/** The folder of a test, of one of several of its name, or of one of its repetitions. */
const folderOf = ({ folder, name, repeat = 1, suite }: TestCase, namesakes: number): string => {
  // In the folder of its suite.
  const own = suite?.isolation === "shared" ? name.slice(`${suite.name} › `.length) : name
  return folder ?? `${folderName(own, namesakes)}${repeat === 1 ? "" : `-repeat${repeat}`}`
}

/** The folders of tests in the output folder, in their order, as a run of all of them names them. */
export const foldersOf = (tests: ReadonlyArray<TestCase>): ReadonlyArray<string> =>
  tests.map((test, index) => folderOf(test, namesakesOf(test, index, tests).length))

const namesakesOf = (test: TestCase, index: number, all: ReadonlyArray<TestCase>) =>
  all.slice(0, index + 1).filter(({ name, repeat }) => name === test.name && repeat === test.repeat)

const check = Effect.fnUntraced(function* (test: TestCase, index: number, all: ReadonlyArray<TestCase>) {
  const declaredAt = test.declaredAt()
  const invalid = (reason: string) => new InvalidTest({ test: test.name, reason, declaredAt })
  if (test.problem !== undefined) return yield* invalid(test.problem)
  const [shared] = test.shared ?? []
  if (shared !== undefined)
    return yield* invalid(
      `it names the machine ${JSON.stringify(shared)}, and there is no vmtest.config.ts that defines it`
    )
  const networks = NetworkSpec.resolve(test.networks)
  const specs = yield* Effect.mapError(
    MachineChecks.checkAll(test.machines, networks),
    (error) => new MachineSpecs.InvalidMachine({ ...error, declaredAt })
  )
  const names = specs.map(({ name }) => name)
  const misspelt = MachineNames.misspelt(test.source?.() ?? "", names)
  if (misspelt !== undefined)
    return yield* invalid(`the body asks for the machine ${MachineNames.missing(misspelt, names)}`)
  const timeout = Duration.fromInputUnsafe(test.timeout ?? defaultTimeout)
  const wait = test.waitTimeout === undefined ? (yield* Deadlines).wait : Duration.fromInputUnsafe(test.waitTimeout)
  const exhausted = Addresses.check(specs)
  if (exhausted !== undefined) return yield* invalid(exhausted.message)
  return {
    ...{ test, index, specs, networks, timeout, wait },
    folder: folderOf(test, namesakesOf(test, index, all).length),
    label: shortName(test.name)
  } satisfies Checked
})

/** Checks all tests; fails with the first wrong declaration. */
export const checkAll = Effect.fnUntraced(function* (tests: ReadonlyArray<TestCase>) {
  yield* Selection.distinct(tests)
  const labels = labelsOf(tests.map(({ name }) => name))
  return yield* Effect.forEach(tests, (test, index) =>
    Effect.map(check(test, index, tests), (one): Checked => ({ ...one, label: labels[index] ?? one.label }))
  )
})
