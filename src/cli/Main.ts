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
import * as Effect from "effect/Effect"
import type { Invocation } from "./CommandLine.ts"
import * as Process from "./Process.ts"
import type * as Subcommand from "./Subcommand.ts"

type Tagged<Tag extends Invocation["_tag"]> = Extract<Invocation, { readonly _tag: Tag }>

type Subcommands = {
  readonly [Tag in Invocation["_tag"]]: (invocation: Tagged<Tag>) => Subcommand.Work
}

/** A subcommand whose module is loaded when it is asked for: a run starts its first machine while others would still be read. */
const lazily =
  <Asked>(load: () => Promise<(invocation: Asked) => Subcommand.Work>) =>
  (invocation: Asked): Subcommand.Work =>
    Effect.flatMap(Effect.promise(load), (subcommand) => subcommand(invocation))

const orSession = lazily<Tagged<"Run">>(() => import("./Repl.ts").then(({ orRun }) => orRun))
const run = lazily<Tagged<"Run">>(() => import("./Run.ts").then(({ run }) => run))

const subcommands: Subcommands = {
  Run: (invocation) => (invocation.interactive || invocation.pauseOnFailure ? orSession : run)(invocation),
  Eval: lazily(() => import("./Eval.ts").then(({ expression }) => expression)),
  EvalFile: lazily(() => import("./Eval.ts").then(({ file }) => file)),
  Doctor: lazily(() => import("./Doctor.ts").then(({ doctor }) => doctor)),
  ImageList: lazily(() => import("./ImageCommand.ts").then(({ list }) => list)),
  ImageBuild: lazily(() => import("./ImageCommand.ts").then(({ build }) => build)),
  ImagePrune: lazily(() => import("./ImageCommand.ts").then(({ prune }) => prune)),
  SnapshotList: lazily(() => import("./SnapshotCommand.ts").then(({ list }) => list)),
  SnapshotPrune: lazily(() => import("./SnapshotCommand.ts").then(({ prune }) => prune)),
  Resume: lazily(() => import("./Resume.ts").then(({ resume }) => resume)),
  FleetWorker: lazily(() => import("./FleetWorker.ts").then(({ work }) => work)),
  FleetRun: lazily(() => import("./FleetCommand.ts").then(({ run }) => run)),
  FleetAttach: lazily(() => import("./FleetCommand.ts").then(({ attach }) => attach)),
  FleetCancel: lazily(() => import("./FleetCommand.ts").then(({ cancel }) => cancel)),
  FleetStatus: lazily(() => import("./FleetCommand.ts").then(({ status }) => status)),
  FleetPrune: lazily(() => import("./FleetCommand.ts").then(({ prune }) => prune)),
  Repl: lazily(() => import("./Repl.ts").then(({ repl }) => repl)),
  Attach: lazily(() => import("./Attach.ts").then(({ attach }) => attach)),
  Top: lazily(() => import("./Top.ts").then(({ top }) => top)),
  Report: lazily(() => import("./ReportCommand.ts").then(({ report }) => report))
}

const work = (invocation: Invocation): Subcommand.Work => {
  // The table pairs each tag with the function for it; that the two agree is lost when the tag is looked up.
  const subcommand = subcommands[invocation._tag] as (invocation: Invocation) => Subcommand.Work
  return subcommand(invocation)
}

/** Runs what was asked for. Ends the process; nothing may follow it. */
export const main = (invocation: Invocation): void => Process.run(work(invocation))
