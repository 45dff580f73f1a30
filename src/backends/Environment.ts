/**
 * The environment variables that say how machines run: `VMTEST_BACKEND` and `VMTEST_TIME_SCALE`.
 *
 * **Example** (The factor of all default deadlines)
 *
 * ```ts
 * const factor = Environment.timeScale // 1 without VMTEST_TIME_SCALE
 * ```
 *
 * @since 0.1.0
 */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type BackendName, isBackendName, names } from "./BackendName.ts"

/** An environment variable of vmtest has a value that means nothing. */
export class InvalidVariable extends Schema.TaggedError<InvalidVariable>()("InvalidVariable", {
  variable: Schema.String,
  expected: Schema.String,
  value: Schema.String
}) {
  override get message() {
    return `${this.variable} must be ${this.expected}, got ${JSON.stringify(this.value)}`
  }
}

/** The value of a variable; undefined if it is not set, or empty. */
const read = (variable: string) =>
  Effect.sync(() => {
    const value = process.env[variable] ?? ""
    return value === "" ? undefined : value
  })

const greatest = 1000

/**
 * `VMTEST_TIME_SCALE`: a factor for the default deadlines of this host, besides that of the accelerator; 1 if it is not set. For hosts that are much
 * slower than their kind, such as a virtual machine in a virtual machine.
 */
export const timeScale: Effect.Effect<number, InvalidVariable> = Effect.flatMap(read("VMTEST_TIME_SCALE"), (value) => {
  const factor = value === undefined ? 1 : Number(value)
  return factor >= 1 && factor <= greatest
    ? Effect.succeed(factor)
    : new InvalidVariable({
        variable: "VMTEST_TIME_SCALE",
        expected: `a number from 1 to ${greatest}`,
        value: value ?? ""
      })
})

/** `VMTEST_BACKEND`: the hypervisor of machines that do not declare one; undefined if it is not set. */
export const backend: Effect.Effect<BackendName | undefined, InvalidVariable> = Effect.flatMap(
  read("VMTEST_BACKEND"),
  (value) =>
    value === undefined || isBackendName(value)
      ? Effect.succeed(value)
      : new InvalidVariable({
          variable: "VMTEST_BACKEND",
          expected: `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`,
          value
        })
)

/** The variables that name programs of hypervisors. */
const programs = {
  firecracker: "VMTEST_FIRECRACKER",
  jailer: "VMTEST_JAILER",
  "cloud-hypervisor": "VMTEST_CLOUD_HYPERVISOR"
} as const

/** The variable that names the program of a hypervisor, or Firecracker's jailer. */
export const variableOf = (name: keyof typeof programs): string => programs[name]

/** The program of a hypervisor, or Firecracker's jailer: the absolute path of what its variable names, or a name that is looked for on the PATH. Default: its own name. */
export const program = (name: keyof typeof programs): Effect.Effect<string> =>
  Effect.map(read(programs[name]), (value) => (value?.includes("/") === true ? Path.resolve(value) : (value ?? name)))

/** Where virtiofsd may be, which packages do not put in a folder of programs. */
export const virtiofsd: ReadonlyArray<string> = [
  ...["virtiofsd", "/usr/libexec/virtiofsd"],
  ...["/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd"]
]
