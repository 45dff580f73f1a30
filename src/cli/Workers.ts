/**
 * `vmtest run --workers N`: test files in processes of their own on this host. It is a fleet in the memory of this process, with one worker of N slots.
 *
 * **Example** (Four files at a time, each in its own process)
 *
 * ```sh
 * vmtest run --workers 4 tests/*.ts
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import type { TestCase } from "../driver/TestCase.ts"
import * as Fleet from "../fleet/Fleet.ts"
import * as Jobs from "../fleet/Job.ts"
import * as Store from "../fleet/Store.ts"
import * as Worker from "../fleet/Worker.ts"
import * as RunDirectory from "../host/RunDirectory.ts"
import { HostLimits } from "../machine/MachineSpec.ts"
import * as Ending from "./Ending.ts"
import { executor } from "./internal/executor.ts"
import type { Settings } from "./internal/settings.ts"
import { logToStderr } from "./Subcommand.ts"

/** An option of `vmtest run` that needs the scripts in one process. */
export class NotWithWorkers extends Schema.TaggedError<NotWithWorkers>()("NotWithWorkers", { option: Schema.String }) {
  override get message() {
    return `${this.option} cannot be used with --workers`
  }
}

/** What needs the scripts in one process. */
const unsupported = (settings: Settings, tests: ReadonlyArray<TestCase>): string | undefined => {
  const given = {
    "--machines": settings.machines !== undefined,
    "--machine-config": settings.machineConfig !== undefined,
    "--snapshot-on-failure": settings.snapshotOnFailure,
    "--update-references": settings.updateReferences,
    "--fail-fast": settings.failFast,
    "--seed": settings.seed !== undefined,
    "--global-timeout": settings.globalTimeout !== undefined,
    "--keep-state": settings.options.keepState,
    "--repeat-each": tests.some(({ repeat = 1 }) => repeat > 1),
    "a Python script": tests.some(({ file }) => file === undefined || file.endsWith(".py"))
  }
  return Object.entries(given).find(([, is]) => is)?.[0]
}

/** A worker that takes whatever this process offers: what the host lacks, the tests say. */
const worker = Effect.fnUntraced(function* (store: Store.Store, slots: number, { accel, options }: Settings) {
  const limits = yield* HostLimits
  const { path } = yield* RunDirectory.make()
  yield* Ending.removeOnExit(path)
  const { backend } = options
  const env = {
    ...executor.env,
    ...(accel === undefined ? {} : { VMTEST_ACCEL: accel }),
    ...(backend === undefined ? {} : { VMTEST_BACKEND: backend })
  }
  return Worker.run(store, {
    ...{ id: "local", name: "this host", slots, executor: { ...executor, env }, about: {} },
    facts: { architecture: "x86_64", accelerator: "kvm", tools: Jobs.optionalTools },
    memory: Jobs.roundedUp(limits.memory) ?? limits.memory,
    folder: NodePath.join(path, "fleet"),
    files: process.cwd()
  })
})

/** Which tests of which files are wanted: by name, and by how many of that name the file has before it. */
const selection = (tests: ReadonlyArray<TestCase>) => {
  const seen = new Set<string>()
  const keyOf = (file: string, name: string, nth: number) => JSON.stringify([file, name, nth])
  for (const { file = "", name } of tests) {
    let nth = 0
    while (seen.has(keyOf(file, name, nth))) nth += 1
    seen.add(keyOf(file, name, nth))
  }
  return {
    files: [...new Set(tests.map(({ file = "" }) => file))],
    select: (file: string, name: string, nth: number) => seen.has(keyOf(file, name, nth))
  }
}

/** Runs tests in processes of their own, one for each file, `slots` at a time. */
export const runTests = (tests: ReadonlyArray<TestCase>, settings: Settings, slots: number) =>
  Effect.gen(function* () {
    const option = unsupported(settings, tests)
    if (option !== undefined) return yield* new NotWithWorkers({ option })
    const { capture, options, outputFolder: output, retries, timeout, waitTimeout } = settings
    const { files, select } = selection(tests)
    const store = yield* Store.memory
    yield* Effect.forkScoped(yield* worker(store, slots, settings))
    return yield* Fleet.make(store).run(files, {
      ...{ output, select, timeout, waitTimeout, capture, retries, wait: true, evidence: true },
      ...{ snapshots: options.snapshot, artefactLimit: Number.MAX_SAFE_INTEGER }
    })
  }).pipe(
    Effect.scoped,
    Effect.provide(logToStderr),
    // What the worker says of each file, the report says already.
    Effect.provideService(References.MinimumLogLevel, "Warn")
  )
