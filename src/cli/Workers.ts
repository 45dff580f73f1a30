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
import * as RunOfFleet from "./internal/runOfFleet.ts"
import type { Settings } from "./internal/settings.ts"
import { logToStderr } from "./Subcommand.ts"

/** An option of `vmtest run` that needs the scripts in one process. */
export class NotWithWorkers extends Schema.TaggedError<NotWithWorkers>()("NotWithWorkers", { option: Schema.String }) {
  override get message() {
    return `${this.option} cannot be used with --workers`
  }
}

/** What needs the scripts in one process. */
const unsupported = (settings: Settings): string | undefined => {
  const given = {
    "--machine-config": settings.machineConfig !== undefined,
    "--snapshot-on-failure": settings.snapshotOnFailure,
    "--update-references": settings.updateReferences,
    "--global-timeout": settings.globalTimeout !== undefined,
    "--keep-state": settings.options.keepState
  }
  return Object.entries(given).find(([, is]) => is)?.[0]
}

/** A worker that takes whatever this process offers: what the host lacks, the tests say. */
const worker = Effect.fnUntraced(function* (store: Store.Store, slots: number) {
  const limits = yield* HostLimits
  const { path } = yield* RunDirectory.make()
  yield* Ending.removeOnExit(path)
  return Worker.run(store, {
    ...{ id: "local", name: "this host", slots, executor, about: {}, only: true },
    facts: { protocol: Jobs.protocol, architecture: "x86_64", accelerator: "kvm", tools: Jobs.optionalTools },
    memory: Jobs.roundedUp(limits.memory) ?? limits.memory,
    folder: NodePath.join(path, "fleet"),
    beside: true
  })
})

/** Names tests, by what they have in common with what a file gives when it is loaded again: the file, the name, and how many of that name are before. */
const keysOf = (tests: ReadonlyArray<TestCase>): ReadonlyArray<string> => {
  const seen = new Map<string, number>()
  return tests.map(({ file, name, repeat }) => {
    const key = JSON.stringify([file, name, repeat])
    const nth = seen.get(key) ?? 0
    seen.set(key, nth + 1)
    return JSON.stringify([file, name, nth])
  })
}

/** Finds tests among all that their files have. */
const among = (wanted: ReadonlyArray<TestCase>) => (all: ReadonlyArray<TestCase>) => {
  const places = new Map(keysOf(all).map((key, index) => [key, index]))
  return keysOf(wanted).flatMap((key, at): ReadonlyArray<Fleet.Chosen> => {
    const [index, test] = [places.get(key), wanted[at]]
    return index === undefined || test === undefined ? [] : [{ index, test }]
  })
}

/** Runs tests in processes of their own, one for each file, `slots` at a time. */
export const runTests = (
  tests: ReadonlyArray<TestCase>,
  settings: Settings,
  slots: number,
  config: string | undefined
) =>
  Effect.gen(function* () {
    const option = unsupported(settings)
    if (option !== undefined) return yield* new NotWithWorkers({ option })
    const store = yield* Store.memory
    yield* Effect.forkScoped(yield* worker(store, slots))
    const files = [...new Set(tests.map(({ file = "" }) => file))]
    const how = { ...RunOfFleet.optionsOf(settings, config), wait: true, artefactLimit: Number.MAX_SAFE_INTEGER }
    const plan = yield* Fleet.plan(files, how, (all) => Effect.succeed(among(tests)(all)))
    return yield* Fleet.make(store).offer(plan, how)
  }).pipe(
    Effect.scoped,
    Effect.provide(logToStderr),
    // What the worker says of each file, the report says already.
    Effect.provideService(References.MinimumLogLevel, "Warn")
  )
