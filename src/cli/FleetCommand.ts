/**
 * `vmtest fleet …`: test files on the workers of many hosts.
 *
 * **Example** (A worker, and a run)
 *
 * ```sh
 * export VMTEST_FLEET_URL='postgres://ci@db.example.org/vmtest?sslmode=require'
 * vmtest fleet worker & vmtest fleet run tests/*.ts
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { TestCase } from "../driver/TestCase.ts"
import { isFailed, type TestResult } from "../driver/TestResult.ts"
import * as DatabaseUrl from "../fleet/DatabaseUrl.ts"
import * as Fleet from "../fleet/Fleet.ts"
import { DatabaseUnusable } from "../fleet/FleetError.ts"
import * as Store from "../fleet/Store.ts"
import * as LiveLine from "../report/LiveLine.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import type { Invocation } from "./CommandLine.ts"
import * as ConfigFile from "./ConfigFile.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Host from "./Host.ts"
import * as Interrupted from "./Interrupted.ts"
import type { Shown } from "./internal/grammar/fleet.ts"
import * as ListTests from "./internal/listTests.ts"
import * as RunOfFleet from "./internal/runOfFleet.ts"
import * as Select from "./internal/select.ts"
import * as Settings from "./internal/settings.ts"
import * as PythonLoader from "./PythonLoader.ts"
import { described, record, scriptsOf } from "./Run.ts"
import * as RunReports from "./RunReports.ts"
import { complain, logToStderr, print, type Work } from "./Subcommand.ts"
import * as Telemetry from "./Telemetry.ts"

type Asked<Tag> = Extract<Invocation, { readonly _tag: Tag }>

/** The URL that was given, or that of the environment. */
export const urlOf = (given: { readonly url: string | undefined; readonly insecure: boolean }) => {
  const url = given.url ?? process.env.VMTEST_FLEET_URL ?? ""
  return url === ""
    ? Effect.fail(
        new DatabaseUnusable({
          database: "(none)",
          problem: "url",
          reason: "no URL is given; add --url URL, or set VMTEST_FLEET_URL"
        })
      )
    : DatabaseUrl.parse(url, { insecure: given.insecure })
}

/** Tells why something could not be done. */
const told = <R>(work: Effect.Effect<ExitCode.ExitCode, { readonly message: string }, R>) =>
  work.pipe(
    Effect.provide(logToStderr),
    Effect.provide(Telemetry.layer("vmtest-client")),
    Effect.catch((error) => Effect.as(complain(described(error)), ExitCode.unusable))
  )

/** Does something with the fleet. */
const withFleet = <R>(
  place: { readonly url: string | undefined; readonly insecure: boolean },
  work: (fleet: Fleet.FleetService) => Effect.Effect<ExitCode.ExitCode, { readonly message: string }, R>
): Effect.Effect<ExitCode.ExitCode, never, R> =>
  told(
    Effect.flatMap(urlOf(place), ({ secret }) =>
      Effect.flatMap(Fleet.Fleet, work).pipe(Effect.provide(Fleet.layer({ url: secret, insecure: place.insecure })))
    )
  )

const outputOf = ({ output }: Shown) => NodePath.resolve(output ?? Host.defaultOutput)

/** Reports what a run is and comes to, as `vmtest run` does. */
const reported =
  <R2 = never>(
    { html, json, junit, ...options }: Shown,
    inputs: ReadonlyArray<string> = [],
    count = 0,
    record: (results: ReadonlyArray<TestResult>) => Effect.Effect<void, never, R2> = () => Effect.void
  ) =>
  <E, R>(results: Effect.Effect<ReadonlyArray<TestResult>, E, R>) =>
    (count === 0 || options.quiet ? results : LiveLine.during(count)(results)).pipe(
      Effect.tap((all) => Effect.andThen(print(TerminalReport.summary(all)), record(all))),
      Interrupted.summedUp(count, (all, { interrupted, notRun }) =>
        Effect.andThen(
          print(TerminalReport.summary(all, { interrupted, notRun: count === 0 ? 0 : notRun })),
          record(all)
        )
      ),
      Effect.map((all) => (all.some(isFailed) ? ExitCode.failed : ExitCode.passed)),
      RunReports.written({ junit, json, html }, inputs),
      Effect.provide(TerminalReport.layer({ ...options, atOnce: true }))
    )

/** A run that ends without results, because none were asked for or no test is wanted. */
interface Ended {
  readonly code: ExitCode.ExitCode
}

/** Chooses the tests that are wanted; prints them instead if that is asked for. */
const chosen = Effect.fnUntraced(function* (tests: ReadonlyArray<TestCase>, settings: Settings.Settings) {
  const selected = yield* Select.select(tests, settings)
  if (selected._tag === "None") {
    yield* complain(selected.reason)
    return { code: selected.isMistake ? ExitCode.unusable : ExitCode.passed } satisfies Ended
  }
  if (!settings.listJson && !settings.list) return selected.wanted
  yield* print(settings.listJson ? ListTests.json(selected.wanted) : ListTests.lines(selected.wanted).join("\n"))
  return { code: ExitCode.passed } satisfies Ended
})

/** What is offered: its tests are known, and the database has not been asked for anything yet. */
const planned = Effect.fnUntraced(function* (invocation: Asked<"FleetRun">) {
  const read = yield* ConfigFile.read(invocation.config)
  const refusal = RunOfFleet.refusalOf(invocation, read)
  if (refusal !== undefined) {
    yield* complain(refusal)
    return { code: ExitCode.unusable } satisfies Ended
  }
  const settings = Settings.decide({ ...invocation, _tag: "Run" }, read)
  const scripts = yield* scriptsOf(settings, read)
  // Loaded here for what is wrong with them; the plan makes bundles of them, which say less.
  yield* Effect.forEach(scripts.filter(PythonLoader.isPython), (one) => PythonLoader.load(one, settings.machines), {
    discard: true
  })
  const how = {
    ...RunOfFleet.optionsOf(settings, read.file),
    ...{ files: invocation.companions, artefactLimit: invocation.artefacts, wait: invocation.wait },
    onOffered: (id: string) => complain(`the run is called ${id}; to follow it again: vmtest fleet attach ${id}`)
  }
  const choice: { made: ReadonlyArray<Select.Wanted> | Ended } = { made: [] }
  const plan = yield* Fleet.plan(scripts, how, (tests) =>
    Effect.map(chosen(tests, settings), (made) => {
      choice.made = made
      return "code" in made ? [] : made
    })
  )
  const { made } = choice
  return "code" in made ? made : { plan, how, settings, wanted: made, inputs: [...scripts, ...read.inputs] }
})

/** Runs files on a fleet. What is wrong with them is told before the database is asked for anything. */
export const run = (invocation: Asked<"FleetRun">): Work =>
  told(
    Effect.gen(function* () {
      const url = yield* urlOf(invocation)
      const ready = yield* planned(invocation)
      if ("code" in ready) return ready.code
      const { how, inputs, plan, settings, wanted } = ready
      const { html, json, junit } = settings
      const { console, quiet, verbose } = settings.options
      return yield* Effect.gen(function* () {
        const fleet = Fleet.make(yield* Store.postgres(url))
        return yield* fleet
          .offer(plan, how)
          .pipe(
            reported(
              { output: how.output, console, quiet, verbose, html, json, junit },
              inputs,
              wanted.length,
              (results) => record(wanted, results, settings)
            )
          )
      }).pipe(Effect.scoped)
    })
  )

/** Follows a run. */
export const attach = (invocation: Asked<"FleetAttach">): Work =>
  withFleet(invocation, (fleet) =>
    reported(invocation.shown)(fleet.attach(invocation.run, { output: outputOf(invocation.shown) }))
  )

/** Ends a run. */
export const cancel = (invocation: Asked<"FleetCancel">): Work =>
  withFleet(invocation, (fleet) =>
    Effect.flatMap(fleet.cancel(invocation.run), (ended) =>
      Effect.as(
        print(ended ? `cancelled the run ${invocation.run}` : `the run ${invocation.run} has ended already`),
        ExitCode.passed
      )
    )
  )

const ago = (millis: number) => Duration.format(Duration.seconds(Math.max(0, Math.round(millis / 1000))))

const columns = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> =>
  rows.map((row) =>
    row
      .map((cell, index) =>
        index === row.length - 1 ? cell : cell.padEnd(Math.max(...rows.map((one) => one[index]?.length ?? 0)))
      )
      .join("  ")
  )

const shown = ({ queues, runs, workers }: Fleet.Status, now: number): ReadonlyArray<string> => {
  const unserved = queues.filter((queue) => queue.workers === 0 && queue.pending > 0)
  return [
    workers.length === 0 ? "no workers" : "workers:",
    ...columns(
      workers.map((worker) => [
        `  ${Fleet.describeWorker(worker)}`,
        `${worker.busy} running`,
        `${worker.state}, seen ${ago(worker.seenAgo)} ago`
      ])
    ),
    queues.length === 0 ? "nothing is queued or running" : "queues:",
    ...columns(
      queues.map(({ needs, pending, running, waited, workers: able }) => [
        `  ${needs}`,
        `${pending} waiting${pending > 0 ? ` (up to ${ago(waited)})` : ""}`,
        `${running} running`,
        `${able} ${able === 1 ? "worker" : "workers"}`
      ])
    ),
    ...unserved.map(
      ({ needs, pending }) =>
        `no worker can run ${pending} waiting ${pending === 1 ? "file that needs" : "files that need"} ${needs}`
    ),
    runs.length === 0 ? "no runs" : "runs:",
    ...columns(
      runs
        .slice(0, 20)
        .map(({ createdAt, id, jobs, owner, state, title }) => [
          `  ${id}`,
          state,
          `${jobs} files`,
          `${ago(now - createdAt)} ago`,
          `by ${owner}`,
          title
        ])
    )
  ]
}

/** Prints what the fleet has and does. */
export const status = (invocation: Asked<"FleetStatus">): Work =>
  withFleet(invocation, (fleet) =>
    Effect.gen(function* () {
      const found = yield* fleet.status
      const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
      yield* print(invocation.json ? JSON.stringify(found, undefined, 2) : shown(found, now).join("\n"))
      return ExitCode.passed
    })
  )

/** Removes old runs. */
export const prune = (invocation: Asked<"FleetPrune">): Work =>
  withFleet(invocation, (fleet) =>
    Effect.flatMap(fleet.prune(Duration.millis(invocation.olderThan)), (count) =>
      Effect.as(print(`removed ${count} ${count === 1 ? "run" : "runs"}`), ExitCode.passed)
    )
  )
