/**
 * Runs the subcommand that was asked for.
 *
 * **Example** (What the launcher does with a command line)
 *
 * ```ts
 * main({ _tag: "Doctor", json: true }) // as `vmtest doctor --json`
 * ```
 *
 * @since 0.1.0
 */
import * as Attach from "./Attach.ts"
import type { Invocation } from "./CommandLine.ts"
import * as Doctor from "./Doctor.ts"
import * as Eval from "./Eval.ts"
import * as FleetCommand from "./FleetCommand.ts"
import * as FleetWorker from "./FleetWorker.ts"
import * as ImageCommand from "./ImageCommand.ts"
import * as Process from "./Process.ts"
import * as Repl from "./Repl.ts"
import * as ReportCommand from "./ReportCommand.ts"
import * as Resume from "./Resume.ts"
import * as SnapshotCommand from "./SnapshotCommand.ts"
import type * as Subcommand from "./Subcommand.ts"
import * as Top from "./Top.ts"

type Subcommands = {
  readonly [Tag in Invocation["_tag"]]: (invocation: Extract<Invocation, { readonly _tag: Tag }>) => Subcommand.Work
}

const subcommands: Subcommands = {
  Run: Repl.orRun,
  Eval: Eval.expression,
  EvalFile: Eval.file,
  Doctor: Doctor.doctor,
  ImageList: ImageCommand.list,
  ImageBuild: ImageCommand.build,
  ImagePrune: ImageCommand.prune,
  SnapshotList: SnapshotCommand.list,
  SnapshotPrune: SnapshotCommand.prune,
  Resume: Resume.resume,
  FleetWorker: FleetWorker.work,
  FleetRun: FleetCommand.run,
  FleetAttach: FleetCommand.attach,
  FleetCancel: FleetCommand.cancel,
  FleetStatus: FleetCommand.status,
  FleetPrune: FleetCommand.prune,
  Repl: Repl.repl,
  Attach: Attach.attach,
  Top: Top.top,
  Report: ReportCommand.report
}

const work = (invocation: Invocation): Subcommand.Work => {
  // The table pairs each tag with the function for it; that the two agree is lost when the tag is looked up.
  const subcommand = subcommands[invocation._tag] as (invocation: Invocation) => Subcommand.Work
  return subcommand(invocation)
}

/** Runs what was asked for. Ends the process; nothing may follow it. */
export const main = (invocation: Invocation): void => Process.run(work(invocation))
