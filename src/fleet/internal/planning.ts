/** From test files to jobs: bundled, loaded, their tests chosen and named, and what they need of a host. Nothing is sent here. */
import * as Fs from "node:fs"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import * as NodePath from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { Detailed, labelsOf } from "../../driver/RunEvent.ts"
import * as Runner from "../../driver/Runner.ts"
import * as Selection from "../../driver/Selection.ts"
import type { TestCase } from "../../driver/TestCase.ts"
import * as Digest from "../../host/Digest.ts"
import type { Location } from "../../host/Location.ts"
import type { InvalidMachine } from "../../machine/MachineSpec.ts"
import * as Bundle from "../Bundle.ts"
import type { Chosen, RunOptions } from "../Fleet.ts"
import { FileNotPortable } from "../FleetError.ts"
import { type Companion, type Job, type JobOptions, type PlannedTest, protocol, queueFor } from "../Job.ts"
import * as Needs from "./needs.ts"

/** A job, and the queue for it. */
export interface Planned {
  readonly queue: string
  readonly job: Job
}

/** What a client keeps of a run, to show it, also when it comes back. */
export interface ShownPlan {
  /** The version of what its workers tell. */
  readonly protocol: number
  /** The folder that paths are relative to. */
  readonly root: string
  /** In the order of the jobs. */
  readonly files: ReadonlyArray<{
    readonly file: string
    readonly tests: ReadonlyArray<{ readonly name: string; readonly label: string }>
  }>
}

/** A run before it is offered. */
export interface Plan {
  readonly title: string
  readonly jobs: ReadonlyArray<Planned>
  readonly blobs: ReadonlyMap<string, Uint8Array>
  readonly shown: ShownPlan
}

const temporary: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(NodePath.join(tmpdir(), "vmtest-plan-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

const defaultLimit = 64 * 2 ** 20

/** A file that was loaded as a worker will load it. */
interface Loaded {
  readonly bundle: Bundle.Bundle
  readonly tests: ReadonlyArray<TestCase>
}

/** A place in an unpacked file as the place in the file itself, from the working folder where it is in there. */
const itself = (unpacked: string, root: string, folder: string) => (place: Location) => {
  const path = NodePath.relative(unpacked, place.file)
  if (path.startsWith("..")) return place
  const full = NodePath.join(root, path)
  const shown = NodePath.relative(folder, full)
  return { ...place, file: shown.startsWith("..") ? full : shown }
}

/** The tests of a bundle, as a worker will load them; they are declared in the files that the bundle was made of. */
const testsOf = Effect.fnUntraced(function* (bundle: Bundle.Bundle, work: string, name: string, folder: string) {
  const unpacked = NodePath.join(work, name)
  yield* Effect.sync(() => Fs.mkdirSync(unpacked))
  const module = yield* Bundle.unpack(bundle.text, unpacked)
  const tests = yield* Bundle.load({ file: bundle.file, module, root: unpacked })
  const place = itself(unpacked, bundle.root, folder)
  return tests.map((test): TestCase => {
    const at = () => Option.map(Option.fromUndefinedOr(test.declaredAt()), place)
    return {
      ...test,
      declaredAt: () => Option.getOrUndefined(at()),
      declaredFrom: () => test.declaredFrom().map(place)
    }
  })
})

/** Bundles a file, with the machines of the config file if its tests name some. */
const loaded = (work: string, folder: string, { config, machines }: Bundle.With) =>
  Effect.fnUntraced(function* (bundle: Bundle.Bundle, index: number) {
    const tests = yield* testsOf(bundle, work, String(index), folder)
    const naming = tests.find((test) => (test.shared ?? []).length > 0)
    if (naming === undefined) return { bundle, tests } satisfies Loaded as Loaded
    if (config === undefined) {
      const reason = `the test ${JSON.stringify(naming.name)} names a machine, and there is no vmtest.config.ts that defines it`
      return yield* new FileNotPortable({ file: bundle.file, reason })
    }
    const whole = yield* Bundle.make(bundle.file, folder, { config, machines })
    const resolved = yield* testsOf(whole, work, `${index}-config`, folder)
    return { bundle: whole, tests: resolved } satisfies Loaded as Loaded
  })

/** A file that goes along, by its path from a folder. */
const companionOf = (file: string, folder: string): readonly [Companion, Uint8Array] => {
  const bytes = Fs.readFileSync(file)
  const mode = Fs.statSync(file).mode & 0o777
  return [{ path: NodePath.relative(folder, file), digest: Digest.of(bytes), mode }, bytes]
}

/** The files that go with the test files. */
const companionsOf = (
  paths: ReadonlyArray<string>,
  folder: string
): Effect.Effect<ReadonlyArray<readonly [Companion, Uint8Array]>, FileNotPortable> =>
  Effect.forEach(paths, (path) =>
    Effect.suspend(() => {
      const full = NodePath.resolve(folder, path)
      const refuse = (reason: string) => Effect.fail(new FileNotPortable({ file: path, reason }))
      if (!Fs.existsSync(full)) return refuse("no such file or folder")
      if (NodePath.relative(folder, full).startsWith("..")) return refuse("it must be in the working folder")
      const all = Fs.statSync(full).isDirectory()
        ? Fs.readdirSync(full, { recursive: true, withFileTypes: true })
            .filter((entry) => entry.isFile())
            .map((entry) => NodePath.join(entry.parentPath, entry.name))
        : [full]
      return Effect.succeed(all.map((one) => companionOf(one, folder)))
    })
  ).pipe(Effect.map((lists) => lists.flat()))

const optionsOf = (options: RunOptions, detailed: boolean): JobOptions => {
  const { accel, backend, logLevel, seed } = options
  return {
    ...(accel === undefined || accel === "auto" ? {} : { accel }),
    ...(backend === undefined ? {} : { backend }),
    ...(logLevel === undefined ? {} : { logLevel }),
    ...(seed === undefined ? {} : { seed }),
    retries: options.retries ?? 0,
    snapshots: options.snapshots ?? true,
    evidence: options.evidence ?? false,
    capture: options.capture ?? false,
    failFast: options.failFast ?? false,
    detailed
  }
}

/** All tests whose name matches, none of which is beside one that is to run alone. */
const byName = Effect.fnUntraced(function* (all: ReadonlyArray<TestCase>, { names = [] }: RunOptions) {
  const matches = yield* Selection.grep(names)
  const focus = new Set(Selection.focused(all))
  const chosen = all.flatMap(
    (test, index): ReadonlyArray<Chosen> => (matches(test) && focus.has(test) ? [{ index, test }] : [])
  )
  if (chosen.length > 0) return chosen
  const reason = `no test matches ${names.map((name) => JSON.stringify(name)).join(" or ")}`
  return yield* new FileNotPortable({ file: [...new Set(all.map(({ file }) => file))].join(", "), reason })
})

/** A limit in milliseconds as JSON has it: what has no end ends after more years than there will be. */
const millisOf = (limit: Duration.Input | undefined): number | undefined =>
  limit === undefined
    ? undefined
    : Math.min(Number.MAX_SAFE_INTEGER, Duration.toMillis(Duration.fromInputUnsafe(limit)))

const plannedTest = (test: TestCase, index: number, folder: string, options: RunOptions): PlannedTest => {
  const timeout = options.timeout ?? millisOf(test.timeout)
  const waitTimeout = millisOf(test.waitTimeout) ?? options.waitTimeout
  return {
    ...{ name: test.name, index, folder },
    ...(test.repeat === undefined ? {} : { repeat: test.repeat }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(waitTimeout === undefined ? {} : { waitTimeout })
  }
}

/** The tests of one file that are wanted, with their places in it. */
interface Part extends Loaded {
  readonly wanted: ReadonlyArray<{ readonly test: TestCase; readonly place: number }>
}

/** What was chosen of all tests, file by file. */
const partsOf = (files: ReadonlyArray<Loaded>, chosen: ReadonlyArray<Chosen>): ReadonlyArray<Part> => {
  let first = 0
  return files.flatMap((file) => {
    const start = first
    first += file.tests.length
    const wanted = chosen.flatMap(({ index, test }) =>
      index >= start && index < first ? [{ test, place: index - start }] : []
    )
    return wanted.length === 0 ? [] : [{ ...file, wanted }]
  })
}

/** Plans a run of files, whose names are relative to `folder`. */
export const make = <E = never, R = never>(
  files: ReadonlyArray<string>,
  options: RunOptions,
  folder: string,
  choose?: (tests: ReadonlyArray<TestCase>) => Effect.Effect<ReadonlyArray<Chosen>, E, R>
): Effect.Effect<Plan, FileNotPortable | Runner.InvalidTest | InvalidMachine | Selection.InvalidPattern | E, R> =>
  Effect.gen(function* () {
    const work = yield* temporary
    const bundles = yield* Effect.forEach(files, (file) => Bundle.make(file, folder, { machines: options.machines }), {
      concurrency: 4
    })
    const every = yield* Effect.forEach(bundles, loaded(work, folder, options))
    const tests = every.flatMap((one) => one.tests)
    const chosen: ReadonlyArray<Chosen> = yield* choose === undefined ? byName(tests, options) : choose(tests)
    const parts = partsOf(every, chosen)
    const all = parts.flatMap(({ wanted }) => wanted.map(({ test }) => test))
    const specs = yield* Needs.check(all)
    const folders = Runner.foldersOf(all)
    const labels = labelsOf(all.map(({ name }) => name))
    const companions = yield* companionsOf(options.files ?? [], folder)
    const blobs = new Map<string, Uint8Array>(companions.map(([{ digest }, bytes]) => [digest, bytes]))
    let at = 0
    const jobs: Array<Planned> = []
    const shown: Array<ShownPlan["files"][number]> = []
    for (const { bundle, wanted } of parts) {
      const needs = Needs.of(
        wanted.map(({ test }) => test),
        specs.slice(at, at + wanted.length),
        options
      )
      const queue = queueFor(needs)
      if (queue === undefined)
        return yield* new FileNotPortable({ file: bundle.file, reason: "its machines need more memory than 1 TiB" })
      const digest = Digest.of(bundle.text)
      blobs.set(digest, Buffer.from(bundle.text))
      const along = bundle.along.map((one) => companionOf(one, bundle.root))
      for (const [companion, bytes] of along) blobs.set(companion.digest, bytes)
      const first = at
      at += wanted.length
      jobs.push({
        queue,
        job: {
          ...{ run: "", file: bundle.file, path: bundle.path, bundle: digest, memory: needs.memory },
          ...{ root: bundle.root, cwd: NodePath.relative(bundle.root, folder) },
          files: [
            ...along.map(([companion]) => companion),
            ...companions.map(([companion]) => ({
              ...companion,
              path: NodePath.relative(bundle.root, NodePath.resolve(folder, companion.path))
            }))
          ],
          tests: wanted.map(({ place, test }, index) =>
            plannedTest(test, place, folders[first + index] ?? test.name, options)
          ),
          options: optionsOf(options, yield* Detailed),
          artefactLimit: options.artefactLimit ?? defaultLimit
        }
      })
      shown.push({
        file: bundle.file,
        tests: wanted.map(({ test }, index) => ({ name: test.name, label: labels[first + index] ?? test.name }))
      })
    }
    const title = files.length === 1 ? (files[0] ?? "") : `${files[0] ?? "nothing"} and ${files.length - 1} more`
    // Bundles of one run are relative to one folder, unless some of them use files outside of it.
    const root = bundles[0]?.root ?? folder
    return { title, jobs, blobs, shown: { protocol, root, files: shown } } satisfies Plan
  }).pipe(Effect.scoped)
