/**
 * What a worker tells of its tests, as JSON: events, and results. Paths of the worker's folders are marks in it, which the client replaces by its own.
 *
 * These are the Reporter's own events, not the records of `vmtest report`: the client writes those itself, and needs more for it than they say. They have no
 * schema that others could rely on, so all of it has the version of the protocol, and a client reads its own only.
 */
import * as Cause from "effect/Cause"
import * as Result from "effect/Result"
import type { Failure } from "../../driver/Failure.ts"
import type { RunEvent } from "../../driver/RunEvent.ts"
import type { SubtestResult, TestResult } from "../../driver/TestResult.ts"
import { rootMark } from "../Bundle.ts"
import { protocol } from "../Job.ts"

/** Stands for the output folder. */
const outputMark = "/__vmtest_output__"

/** Two folders, here and there. */
export interface Folders {
  readonly root: string
  readonly output: string
}

/** What is told: an event of the run, or what a script printed. */
export type Told =
  | { readonly _tag: "Event"; readonly event: RunEvent }
  | { readonly _tag: "Output"; readonly stream: "stdout" | "stderr"; readonly text: string }

/** A failure whose cause stays on the host where it happened: errors are any values, which need not fit into JSON. */
const failureOut = (failure: Failure | undefined) =>
  failure === undefined ? undefined : { ...failure, cause: undefined }

const failureIn = (failure: Failure | undefined): Failure | undefined =>
  failure === undefined
    ? undefined
    : { ...failure, cause: Cause.fail(Object.assign(new Error(failure.message), { name: failure.kind })) }

const subtestWith =
  (change: typeof failureOut | typeof failureIn) =>
  (result: SubtestResult): SubtestResult => ({ ...result, failure: change(result.failure) as Failure | undefined })

const resultWith =
  (change: typeof failureOut | typeof failureIn) =>
  (result: TestResult): TestResult => ({
    ...result,
    failure: change(result.failure) as Failure | undefined,
    subtests: result.subtests.map(subtestWith(change)),
    earlier: result.earlier?.map(resultWith(change)),
    value: undefined
  })

const toldWith =
  (change: typeof failureOut | typeof failureIn) =>
  (told: Told): Told => {
    if (told._tag === "Output") return told
    const { event } = told
    if (event._tag === "TestEnded") return { ...told, event: { ...event, result: resultWith(change)(event.result) } }
    if (event._tag === "SubtestEnded")
      return { ...told, event: { ...event, result: subtestWith(change)(event.result) } }
    return told
  }

const inJson = (text: string) => JSON.stringify(text).slice(1, -1)

/** Replaces the folders of this host by marks. The output folder may be in the root, so it comes first. */
const marked = (json: string, { output, root }: Folders): string =>
  json.replaceAll(inJson(output), () => outputMark).replaceAll(inJson(root), () => rootMark)

const unmarked = (json: string, { output, root }: Folders): string =>
  json.replaceAll(outputMark, () => inJson(output)).replaceAll(rootMark, () => inJson(root))

/** One thing told, in one line. */
export const encode = (told: Told, folders: Folders): string =>
  marked(JSON.stringify(toldWith(failureOut)(told)), folders)

/** Things that were told together, each of which is JSON already. */
export const encodeAll = (lines: ReadonlyArray<string>): string =>
  `{"protocol":${protocol},"told":[${lines.join(",")}]}`

/** What has the version of its protocol. */
interface Versioned {
  readonly protocol?: number
}

/** Fails with the version of what another version has written. */
const checked = <A extends Versioned>(found: A): Result.Result<A, number> =>
  found.protocol === protocol ? Result.succeed(found) : Result.fail(found.protocol ?? 1)

/** Things that were told together; fails with the version of the protocol if that is another one. */
export const decodeAll = (body: string, folders: Folders): Result.Result<ReadonlyArray<Told>, number> =>
  Result.map(
    checked(JSON.parse(unmarked(body, folders)) as Versioned & { readonly told: ReadonlyArray<Told> }),
    ({ told }) => told.map(toldWith(failureIn))
  )

/** What a job came to. */
export interface Outcome {
  readonly results: ReadonlyArray<TestResult>
  /** Why there are no results: the declarations are wrong on the worker, or the file does not load there. */
  readonly refused?: string | undefined
  /** Files in the output folder, by their path in it. */
  readonly artefacts: ReadonlyArray<Artefact>
  /** Files that were too large to send, for people. */
  readonly leftOut: ReadonlyArray<string>
}

/** A file that a test left. */
export interface Artefact {
  readonly path: string
  readonly digest: string
  readonly size: number
}

/** The outcome as JSON. */
export const encodeOutcome = (outcome: Outcome, folders: Folders): string =>
  marked(JSON.stringify({ protocol, ...outcome, results: outcome.results.map(resultWith(failureOut)) }), folders)

/** The outcome, with folders of this host; fails with the version of the protocol if that is another one. */
export const decodeOutcome = (json: string, folders: Folders): Result.Result<Outcome, number> =>
  Result.map(checked(JSON.parse(unmarked(json, folders)) as Versioned & Outcome), (outcome) => ({
    ...outcome,
    results: outcome.results.map(resultWith(failureIn))
  }))
