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
import { isFailed, type TestResult } from "../driver/TestResult.ts"
import * as DatabaseUrl from "../fleet/DatabaseUrl.ts"
import * as Fleet from "../fleet/Fleet.ts"
import { DatabaseUnusable } from "../fleet/FleetError.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import type { Invocation } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Host from "./Host.ts"
import * as Interrupted from "./Interrupted.ts"
import type { Shown } from "./internal/grammar/fleet.ts"
import { described } from "./Run.ts"
import * as RunReports from "./RunReports.ts"
import * as Scripts from "./Scripts.ts"
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

/** Does something with the fleet, and tells why it could not. */
const withFleet = <R>(
  place: { readonly url: string | undefined; readonly insecure: boolean },
  work: (fleet: Fleet.FleetService) => Effect.Effect<ExitCode.ExitCode, { readonly message: string }, R>
): Effect.Effect<ExitCode.ExitCode, never, R> =>
  urlOf(place).pipe(
    Effect.flatMap(({ secret }) =>
      Effect.flatMap(Fleet.Fleet, work).pipe(Effect.provide(Fleet.layer({ url: secret, insecure: place.insecure })))
    ),
    Effect.provide(logToStderr),
    Effect.provide(Telemetry.layer("vmtest-client")),
    Effect.catch((error) => Effect.as(complain(described(error)), ExitCode.unusable))
  )

const outputOf = ({ output }: Shown) => NodePath.resolve(output ?? Host.defaultOutput)

/** Reports what a run is and comes to, as `vmtest run` does. */
const reported =
  ({ html, json, junit, ...options }: Shown, inputs: ReadonlyArray<string> = []) =>
  <E, R>(results: Effect.Effect<ReadonlyArray<TestResult>, E, R>) =>
    results.pipe(
      Effect.tap((all) => print(TerminalReport.summary(all))),
      Interrupted.summedUp(0, (all, left) => print(TerminalReport.summary(all, { ...left, notRun: 0 }))),
      Effect.map((all) => (all.some(isFailed) ? ExitCode.failed : ExitCode.passed)),
      RunReports.written({ junit, json, html }, inputs),
      Effect.provide(TerminalReport.layer({ ...options, atOnce: true }))
    )

/** Runs files on a fleet. */
export const run = (invocation: Asked<"FleetRun">): Work => {
  const { artefacts, capture, companions, files, names, retries, shown, snapshot, timeout, wait, waitTimeout } =
    invocation
  const output = outputOf(shown)
  return withFleet(invocation, (fleet) =>
    Effect.flatMap(Scripts.find(files, { base: process.cwd(), output }), (found) =>
      reported(
        shown,
        found
      )(
        fleet.run(found, {
          ...{ output, names, files: companions, timeout, waitTimeout, retries, capture, wait },
          ...{ artefactLimit: artefacts, snapshots: snapshot, evidence: true },
          onOffered: (id) => complain(`the run is called ${id}; to follow it again: vmtest fleet attach ${id}`)
        })
      )
    )
  )
}

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
    ...unserved.map(({ needs, pending }) => `no worker can run ${pending} waiting files that need ${needs}`),
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
