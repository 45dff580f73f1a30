/**
 * What `vmtest.config.ts` can have: settings of a project, which the command line can change, and machines that its tests share.
 *
 * **Example** (A config file)
 *
 * ```ts
 * import { defineConfig, Image } from "vmtest"
 *
 * export default defineConfig({
 *   tests: ["tests/*.vmtest.ts"],
 *   retries: 1,
 *   machines: { web: { image: Image.debian({ packages: ["nginx-light"] }) } }
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { names } from "../backends/BackendName.ts"
import * as Fields from "../host/Fields.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"

/** The settings of a project. */
export const Config = Schema.Struct({
  /** Scripts, folders and glob patterns that run when the command line names none. Default `["**\/*.vmtest.ts"]`. */
  tests: Schema.optional(
    Schema.Array(Fields.filled("a path or a glob pattern")).annotate({
      expected: 'an array of strings, such as ["tests/*.vmtest.ts"]'
    })
  ),
  /** Machines by name, which tests can name: `test("serves", { machines: ["web"] }, ({ web }) => …)`. */
  machines: Schema.optional(
    Schema.declare<Readonly<Record<string, MachineOptions>>>(
      (value): value is Readonly<Record<string, MachineOptions>> =>
        typeof value === "object" && value !== null && !Array.isArray(value) && !Effect.isEffect(value),
      { expected: "an object of names and declarations, such as { web: { image: Image.tiny() } }" }
    )
  ),
  /** `--jobs` */
  jobs: Schema.optional(
    Schema.Union([Fields.Count, Schema.Literal("auto")]).annotate({
      expected: 'a whole number of at least 1, or "auto"'
    })
  ),
  /** `--retries` */
  retries: Schema.optional(Fields.whole(0)),
  /** `--repeat-each` */
  repeatEach: Schema.optional(Fields.Count),
  /** `--fail-fast` */
  failFast: Schema.optional(Schema.Boolean),
  /** `--forbid-only` */
  forbidOnly: Schema.optional(Schema.Boolean),
  /** `--timeout`, for tests that set none themselves. */
  timeout: Schema.optional(Fields.time({ endless: true })),
  /** `--wait-timeout` */
  waitTimeout: Schema.optional(Fields.time({ endless: true })),
  /** `--global-timeout` */
  globalTimeout: Schema.optional(Fields.time()),
  /** `--seed` */
  seed: Schema.optional(Fields.whole(0)),
  /** `--durations` */
  durations: Schema.optional(Fields.filled("a path")),
  /** `--output` */
  output: Schema.optional(Fields.filled("a path")),
  /** `--keep-state` */
  keepState: Schema.optional(Schema.Boolean),
  /** `--verbose` */
  verbose: Schema.optional(Schema.Boolean),
  /** `--quiet` */
  quiet: Schema.optional(Schema.Boolean),
  /** `--snapshot` */
  snapshot: Schema.optional(Schema.Boolean),
  /** `--snapshot-on-failure` */
  snapshotOnFailure: Schema.optional(Schema.Boolean),
  /** `--capture` */
  capture: Schema.optional(Schema.Boolean),
  /** `--log-level` */
  logLevel: Schema.optional(Schema.Literals(["all", "trace", "debug", "info", "warn", "error", "fatal", "none"])),
  /** `--console` */
  console: Schema.optional(Schema.Boolean),
  /** `--junit` */
  junit: Schema.optional(Fields.filled("a path")),
  /** `--json` */
  json: Schema.optional(Fields.filled("a path")),
  /** `--html` */
  html: Schema.optional(Fields.filled("a path")),
  /** `--backend` */
  backend: Schema.optional(Schema.Literals(names)),
  /** `--accel` */
  accel: Schema.optional(Schema.Literals(["auto", "kvm", "tcg"])),
  /** `--machine-config` */
  machineConfig: Schema.optional(Fields.filled("a path"))
}).annotate({
  expected: 'an object of settings, such as { tests: ["tests/*.vmtest.ts"] }',
  aliases: {
    include: "tests",
    testmatch: "tests",
    testdir: "tests",
    workers: "jobs",
    concurrency: "jobs",
    bail: "failFast",
    maxfailures: "failFast",
    outputdir: "output",
    nodes: "machines",
    snapshots: "snapshot"
  }
})

/** The settings of a project. */
export interface Config extends Schema.Codec.Encoded<typeof Config> {}

/** Gives the settings as they are, with their types checked: the default export of `vmtest.config.ts`. */
export const defineConfig = (config: Config): Config => config
