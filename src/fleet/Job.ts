/**
 * What is sent to a worker: a test file, and how to run it. Also which queue it waits in.
 *
 * The name of a queue begins with the version of the protocol, so workers of another version never see the job: `v2.x86_64.kvm.2g+firecracker`.
 *
 * **Example** (Can a worker with 4 GiB of memory, under emulation, run such a file?)
 *
 * ```ts
 * const facts: Job.Facts = { protocol: Job.protocol, architecture: "x86_64", accelerator: "tcg", tools: [] }
 * Job.serves(facts, 4 * 2 ** 30)("v2.x86_64.any.3g") // true
 * Job.serves(facts, 4 * 2 ** 30)("v2.x86_64.kvm.3g") // false: it needs KVM
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { names as backendNames } from "../backends/BackendName.ts"

/** The version of everything that clients and workers tell each other. It changes whenever a job, an event or an outcome does. */
export const protocol = 2

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
  folder: Schema.String,
  /** Its number, from 1, if each test runs several times. */
  repeat: Schema.optionalKey(Schema.Int),
  /** Milliseconds. Default: the file's. */
  timeout: Schema.optionalKey(Schema.Number),
  /** Milliseconds: how long a wait may take that sets no timeout. Default: the file's. */
  waitTimeout: Schema.optionalKey(Schema.Number)
})

/** A test of the file. */
export type PlannedTest = typeof PlannedTest.Type

/** How the tests of a run are run, as `vmtest run` takes it. */
export const JobOptions = Schema.Struct({
  retries: Schema.Int,
  snapshots: Schema.Boolean,
  evidence: Schema.Boolean,
  capture: Schema.Boolean,
  /** Whether the first failure ends the run, and so the file that it is in. */
  failFast: Schema.Boolean,
  /** Whether the client wants the events that are only for reports in files. */
  detailed: Schema.Boolean,
  /** The hypervisor of machines that declare none. Default: that of the worker. */
  backend: Schema.optionalKey(Schema.Literals(backendNames)),
  /** What guests run on. Default: what the worker has. */
  accel: Schema.optionalKey(Schema.Literals(["kvm", "tcg"])),
  /** What random numbers follow from. */
  seed: Schema.optionalKey(Schema.Number),
  /** The least severe messages of Effect's logger that are printed. Default: `Info`. */
  logLevel: Schema.optionalKey(Schema.Literals(["All", "Trace", "Debug", "Info", "Warn", "Error", "Fatal", "None"]))
})

/** How the tests of a run are run, as `vmtest run` takes it. */
export type JobOptions = typeof JobOptions.Type

/** A test file, and how to run it. */
export const Job = Schema.Struct({
  /** The run that it belongs to. */
  run: Schema.String,
  /** The name of the file as the client was given it. */
  file: Schema.String,
  /** The file's path in the job's folder. */
  path: Schema.String,
  /** What the job's folder stands for on the client's host. */
  root: Schema.String,
  /** The client's working folder, from there. */
  cwd: Schema.String,
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
  /** The version of the protocol that it speaks. */
  readonly protocol: number
  readonly architecture: string
  readonly accelerator: "kvm" | "tcg"
  /** Those of {@link optionalTools} that work there. */
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

/** Hypervisors and programs that some tests need, and that not every host has. QEMU is on every worker. */
export const optionalTools = [
  ...backendNames.filter((name) => name !== "qemu"),
  "jailer",
  "python3",
  "swtpm",
  "vde_switch",
  "virtiofsd"
] as const

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

/** The queue for a file; undefined if it needs more memory than any class has. */
export const queueFor = ({ architecture, kvm, memory, tools }: Needs): string | undefined => {
  const size = roundedUp(memory)
  const wanted = [...new Set(tools)].sort()
  return size === undefined
    ? undefined
    : [`v${protocol}`, architecture, kvm ? "kvm" : "any", [sizeName(size / gibibyte), ...wanted].join("+")].join(".")
}

/** What the name of a queue says. */
const read = (queue: string) => {
  const [version = "", architecture = "", kind = "", ...rest] = queue.split(".")
  const [size = "0", ...tools] = rest.join(".").split("+")
  const bytes = Number.parseFloat(size) * (size.endsWith("m") ? gibibyte / 1024 : gibibyte)
  return { version, architecture, kvm: kind === "kvm", size, bytes, tools }
}

/** Whether `memory` bytes are enough for the jobs of a queue. */
export const fits = (queue: string, memory: number): boolean => read(queue).bytes <= memory

/** Whether a host that has `memory` bytes to give can run the jobs of a queue. */
export const serves =
  ({ accelerator, architecture, protocol: spoken, tools: had }: Facts, memory: number) =>
  (queue: string): boolean => {
    const needed = read(queue)
    return (
      needed.version === `v${spoken}` &&
      needed.architecture === architecture &&
      (accelerator === "kvm" || !needed.kvm) &&
      needed.bytes <= memory &&
      needed.tools.every((tool) => had.includes(tool))
    )
  }

/** What a worker has said of itself. One of before the protocol was a part of that speaks the first. */
export const factsOf = (json: string): Facts & { readonly memory: number } => ({
  protocol: 1,
  tools: [],
  ...(JSON.parse(json) as Omit<Facts, "protocol" | "tools"> & { readonly memory: number })
})

/** What the jobs of a queue need, for people: `x86_64, any accelerator, 2 GiB of memory`. */
export const describeQueue = (queue: string): string => {
  const { architecture, kvm, size, tools, version } = read(queue)
  const memory = size === "0" ? "no machines" : `${size.replace("g", " GiB").replace("m", " MiB")} of memory`
  const other = version === `v${protocol}` ? [] : [`protocol ${version}`]
  return [architecture, kvm ? "KVM" : "any accelerator", memory, ...tools, ...other].join(", ")
}
