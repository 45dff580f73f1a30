/**
 * What is sent to a worker: a test file, and how to run it. Also which queue it waits in.
 *
 * The name of a queue begins with the version of the protocol, so workers of another version never see the job: `v1.x86_64.kvm.2g`.
 *
 * **Example** (The queues that a worker of 4 GiB under emulation takes from)
 *
 * ```ts
 * Job.queuesFor({ architecture: "x86_64", accelerator: "tcg", tools: [] }, 4 * 2 ** 30) // ["v1.x86_64.any.0", …, "v1.x86_64.any.3g", "v1.x86_64.any.4g"]
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/** The version of everything that clients and workers tell each other. It changes whenever a job, an event or an outcome does. */
export const protocol = 1

/** A file that goes with a test file, by its path in the job's folder. */
export const Companion = Schema.Struct({ path: Schema.String, digest: Schema.String, mode: Schema.Int })

/** A file that goes with a test file, by its path in the job's folder. */
export type Companion = typeof Companion.Type

/** A test of the file. */
export const PlannedTest = Schema.Struct({
  name: Schema.String,
  /** Its index in the file, because names need not be unique. */
  index: Schema.Int,
  /** Its folder in the output folder. */
  folder: Schema.String
})

/** A test of the file. */
export type PlannedTest = typeof PlannedTest.Type

/** How the tests of a run are run, as `vmtest run` takes it. Times are in milliseconds. */
export const JobOptions = Schema.Struct({
  timeout: Schema.optionalKey(Schema.Number),
  waitTimeout: Schema.optionalKey(Schema.Number),
  retries: Schema.Int,
  snapshots: Schema.Boolean,
  evidence: Schema.Boolean,
  capture: Schema.Boolean,
  /** Whether the client wants the events that are only for reports in files. */
  detailed: Schema.Boolean
})

/** How the tests of a run are run, as `vmtest run` takes it. Times are in milliseconds. */
export type JobOptions = typeof JobOptions.Type

/** A test file, and how to run it. */
export const Job = Schema.Struct({
  /** The run that it belongs to. */
  run: Schema.String,
  /** The name of the file as the client was given it. */
  file: Schema.String,
  /** The file's path in the job's folder. */
  path: Schema.String,
  /** The digest of its bundle. */
  bundle: Schema.String,
  files: Schema.Array(Companion),
  tests: Schema.Array(PlannedTest),
  options: JobOptions,
  /** Bytes: what the machines of its largest test have together. */
  memory: Schema.Number,
  /** Bytes: how large the files may be that its tests leave in the output folder. */
  artefactLimit: Schema.Number,
  /** The span of the client, so that those of the worker are below it. */
  trace: Schema.optionalKey(Schema.Struct({ traceId: Schema.String, spanId: Schema.String, sampled: Schema.Boolean }))
})

/** A test file, and how to run it. */
export type Job = typeof Job.Type

/** What a host can do, as it was tried. */
export interface Facts {
  readonly architecture: string
  readonly accelerator: "kvm" | "tcg"
  /** Those of {@link optionalTools} that are installed. */
  readonly tools: ReadonlyArray<string>
}

/** What a file needs of a host. `memory` in bytes. */
export interface Needs {
  readonly architecture: string
  /** Whether it needs hardware virtualisation. */
  readonly kvm: boolean
  readonly tools: ReadonlyArray<string>
  readonly memory: number
}

/** Programs that some tests need, and that not every host has. */
export const optionalTools: ReadonlyArray<string> = ["swtpm", "vde_switch"]

const gibibyte = 2 ** 30

/** The sizes of memory by which jobs are told apart, in GiB: each is at most half as large again as the one before. */
const sizes: ReadonlyArray<number> = [
  ...[0, 0.5, 1],
  ...Array.from({ length: 10 }, (_, power) => 2 ** power).flatMap((size) => [1.5 * size, 2 * size])
]

const sizeName = (size: number): string => (size === 0 ? "0" : Number.isInteger(size) ? `${size}g` : `${size * 1024}m`)

/** The size that this much memory counts as, in bytes; undefined if that is more than all sizes. */
export const roundedUp = (memory: number): number | undefined => {
  const size = sizes.find((one) => memory <= one * gibibyte)
  return size === undefined ? undefined : size * gibibyte
}

const queueName = (architecture: string, kvm: boolean, size: number, tools: ReadonlyArray<string>) =>
  [`v${protocol}`, architecture, kvm ? "kvm" : "any", [sizeName(size), ...tools].join("+")].join(".")

/** The queue for a file; undefined if it needs more memory than any class has. */
export const queueFor = ({ architecture, kvm, memory, tools }: Needs): string | undefined => {
  const size = roundedUp(memory)
  const wanted = optionalTools.filter((tool) => tools.includes(tool))
  return size === undefined ? undefined : queueName(architecture, kvm, size / gibibyte, wanted)
}

/** All choices of some of the tools, in their order. */
const choices = ([first, ...others]: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> => {
  if (first === undefined) return [[]]
  const rest = choices(others)
  return [...rest, ...rest.map((one) => [first, ...one])]
}

/** The queues whose jobs a host can run that has `memory` bytes to give. */
export const queuesFor = ({ accelerator, architecture, tools }: Facts, memory: number): ReadonlyArray<string> => {
  const kinds = accelerator === "kvm" ? [true, false] : [false]
  const having = choices(optionalTools.filter((tool) => tools.includes(tool)))
  return sizes
    .filter((size) => size * gibibyte <= memory)
    .flatMap((size) => kinds.flatMap((kvm) => having.map((some) => queueName(architecture, kvm, size, some))))
}

/** What the jobs of a queue need, for people: `x86_64, any accelerator, at most 2 GiB of memory`. */
export const describeQueue = (queue: string): string => {
  const [version = "", architecture = "", kind = "", rest = ""] = queue.split(".")
  const [size = "0", ...tools] = rest.split("+")
  const accelerator = kind === "kvm" ? "KVM" : "any accelerator"
  const memory = size === "0" ? "no machines" : `${size.replace("g", " GiB").replace("m", " MiB")} of memory`
  const other = version === `v${protocol}` ? [] : [`protocol ${version}`]
  return [architecture, accelerator, memory, ...tools, ...other].join(", ")
}
