/** From test files to jobs: bundled, loaded, their tests chosen and named, and what they need of a host. Nothing is sent here. */
import * as Fs from "node:fs"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Detailed, labelsOf } from "../../driver/RunEvent.ts"
import * as Runner from "../../driver/Runner.ts"
import * as Selection from "../../driver/Selection.ts"
import type { TestCase } from "../../driver/TestCase.ts"
import * as Digest from "../../host/Digest.ts"
import * as MachineChecks from "../../machine/MachineChecks.ts"
import * as MachineSpecs from "../../machine/MachineSpec.ts"
import * as NetworkSpec from "../../network/NetworkSpec.ts"
import * as Bundle from "../Bundle.ts"
import type { RunOptions } from "../Fleet.ts"
import { FileNotPortable } from "../FleetError.ts"
import { type Companion, type Job, type JobOptions, queueFor } from "../Job.ts"

/** A job, and the queue for it. */
export interface Planned {
  readonly queue: string
  readonly job: Job
}

/** What a client keeps of a run, to show it, also when it comes back. */
export interface ShownPlan {
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

/** The tests of a bundle, as a worker will load them. */
const testsOf = Effect.fnUntraced(function* ({ file, text }: Bundle.Bundle, folder: string, index: number) {
  const root = NodePath.join(folder, String(index))
  yield* Effect.sync(() => Fs.mkdirSync(root))
  const module = yield* Bundle.unpack(text, root)
  return yield* Bundle.load({ file, module, root })
})

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
      return Effect.succeed(
        all.map((one) => {
          const bytes = Fs.readFileSync(one)
          const mode = Fs.statSync(one).mode & 0o777
          return [{ path: NodePath.relative(folder, one), digest: Digest.of(bytes), mode }, bytes] as const
        })
      )
    })
  ).pipe(Effect.map((lists) => lists.flat()))

/** What the largest of the tests needs. */
const needsOf = Effect.fnUntraced(function* (tests: ReadonlyArray<TestCase>) {
  const all = yield* Effect.forEach(tests, (test) =>
    // Whether the host has so much memory is for the workers to say.
    MachineChecks.checkAll(test.machines, NetworkSpec.resolve(test.networks)).pipe(
      Effect.mapError((error) => new MachineSpecs.InvalidMachine({ ...error, declaredAt: test.declaredAt() }))
    )
  ).pipe(Effect.provideService(MachineSpecs.HostLimits, { memory: Number.MAX_SAFE_INTEGER, cpus: 1024 }))
  const memory = Math.max(0, ...all.map((specs) => specs.reduce((sum, one) => sum + one.memory, 0)))
  const tools = [...new Set(all.flatMap(MachineSpecs.toolsOf))]
  return { architecture: "x86_64", kvm: false, tools, memory }
})

const optionsOf = (options: RunOptions, detailed: boolean): JobOptions => ({
  ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
  ...(options.waitTimeout === undefined ? {} : { waitTimeout: options.waitTimeout }),
  retries: options.retries ?? 0,
  snapshots: options.snapshots ?? true,
  evidence: options.evidence ?? false,
  capture: options.capture ?? false,
  detailed
})

interface Loaded {
  readonly bundle: Bundle.Bundle
  readonly tests: ReadonlyArray<TestCase>
}

/** The tests of each file that are wanted, with their places in it. */
const wantedOf = Effect.fnUntraced(function* (loaded: ReadonlyArray<Loaded>, options: RunOptions) {
  const names = options.names ?? []
  const matches = yield* Selection.grep(names)
  const all = loaded.flatMap(({ tests }) => tests)
  const focus = new Set(Selection.focused(all))
  const shared = all.find((test) => (test.shared ?? []).length > 0)
  if (shared !== undefined) {
    const reason = `the test ${JSON.stringify(shared.name)} names a machine of vmtest.config.ts, which is not sent to workers; declare it in the file`
    return yield* new FileNotPortable({ file: shared.file ?? "", reason })
  }
  const wanted = loaded.map(({ bundle, tests }) => ({
    bundle,
    tests: tests
      .map((test, place) => ({ test, place }))
      .filter(({ place, test }) => {
        const nth = tests.slice(0, place).filter(({ name }) => name === test.name).length
        return matches(test) && focus.has(test) && (options.select?.(bundle.file, test.name, nth) ?? true)
      })
  }))
  if (wanted.some(({ tests }) => tests.length > 0)) return wanted
  const reason = `no test matches ${names.map((name) => JSON.stringify(name)).join(" or ")}`
  return yield* new FileNotPortable({ file: loaded.map(({ bundle }) => bundle.file).join(", "), reason })
})

/** Plans a run of files, whose names are relative to `folder`. */
export const make = (files: ReadonlyArray<string>, options: RunOptions, folder: string) =>
  Effect.gen(function* () {
    const work = yield* temporary
    const bundles = yield* Effect.forEach(files, (file) => Bundle.make(file, folder), { concurrency: 4 })
    const loaded = yield* Effect.forEach(bundles, (bundle, index) =>
      Effect.map(testsOf(bundle, work, index), (tests) => ({ bundle, tests }))
    )
    const wanted = yield* wantedOf(loaded, options)
    const chosen = wanted.filter(({ tests }) => tests.length > 0)
    const all = chosen.flatMap(({ tests }) => tests.map(({ test }) => test))
    const folders = Runner.foldersOf(all)
    const labels = labelsOf(all.map(({ name }) => name))
    const companions = yield* companionsOf(options.files ?? [], folder)
    const blobs = new Map<string, Uint8Array>(companions.map(([{ digest }, bytes]) => [digest, bytes]))
    let at = 0
    const jobs: Array<Planned> = []
    const shown: Array<ShownPlan["files"][number]> = []
    for (const { bundle, tests } of chosen) {
      const needs = yield* needsOf(tests.map(({ test }) => test))
      const queue = queueFor(needs)
      if (queue === undefined)
        return yield* new FileNotPortable({ file: bundle.file, reason: "its machines need more memory than 1 TiB" })
      const digest = Digest.of(bundle.text)
      blobs.set(digest, Buffer.from(bundle.text))
      const first = at
      at += tests.length
      jobs.push({
        queue,
        job: {
          ...{ run: "", file: bundle.file, path: bundle.path, bundle: digest, memory: needs.memory },
          files: companions.map(([companion]) => ({
            ...companion,
            path: NodePath.relative(bundle.root, NodePath.resolve(folder, companion.path))
          })),
          tests: tests.map(({ place, test }, index) => ({
            ...{ name: test.name, index: place, folder: folders[first + index] ?? test.name }
          })),
          options: optionsOf(options, yield* Detailed),
          artefactLimit: options.artefactLimit ?? defaultLimit
        }
      })
      shown.push({
        file: bundle.file,
        tests: tests.map(({ test }, index) => ({ name: test.name, label: labels[first + index] ?? test.name }))
      })
    }
    const title = files.length === 1 ? (files[0] ?? "") : `${files[0] ?? "nothing"} and ${files.length - 1} more`
    // Bundles of one run are relative to one folder, unless some of them use files outside of it.
    const root = bundles[0]?.root ?? folder
    return { title, jobs, blobs, shown: { root, files: shown } } satisfies Plan
  }).pipe(Effect.scoped)
