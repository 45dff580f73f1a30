/**
 * Machines that a file in JSON describes, for tests in TypeScript and in Python: start scripts and runners that another program, such as Nix, has built.
 *
 * The form is that of attest's machine files. docs/machine-config.schema.json is its JSON Schema.
 *
 * **Example** (The names of a file's machines)
 *
 * ```ts
 * const names = Effect.map(MachineFile.load("machines.json"), ({ machines }) => Object.keys(machines))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { isBackendName } from "../backends/BackendName.ts"
import * as Limits from "../backends/Limits.ts"
import * as Decode from "../host/Decode.ts"
import * as OutputFolder from "../host/OutputFolder.ts"
import * as Thrown from "../host/Thrown.ts"
import * as Image from "../images/Image.ts"
import { NoBackend } from "../images/ImageError.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"

/** The file of machines cannot be read, is not JSON, or does not have the form of one. */
export class BadMachineFile extends Schema.TaggedError<BadMachineFile>()("BadMachineFile", {
  file: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.file}: ${this.reason}`
  }
}

const Filled = (expected: string, description: string) =>
  Schema.String.annotate({ description }).check(Schema.isMinLength(1, { expected }))

const Vlans = Schema.Array(
  Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: Limits.mostVlan })).annotate({
    expected: `a whole number from 1 to ${Limits.mostVlan}`
  })
).annotate({ expected: "an array of numbers" })

const name = Schema.String.annotate({ description: "What tests call the machine." }).check(
  Schema.isPattern(/^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/u, {
    expected: "a name of letters, digits and inner hyphens and underscores, at most 63 characters"
  })
)

const ofAll = {
  name,
  vlans: Schema.optionalKey(
    Vlans.annotate({ description: "The VLANs that the machine can be plugged into. Default: those of the file." })
  ),
  allow_reboot: Schema.optionalKey(
    Schema.Boolean.annotate({
      description:
        "Whether a reboot of the guest keeps the machine. Default: false; for a script in Python, what `start` says.",
      expected: "true or false"
    })
  ),
  env: Schema.optionalKey(
    Schema.Record(Schema.String, Schema.String).annotate({
      description: "More environment variables for the program that starts QEMU.",
      expected: "an object of names and texts"
    })
  )
}

const QemuMachine = Schema.Struct({
  backend: Schema.Literal("qemu"),
  start_command: Filled(
    "a start script or a command line",
    "A start script (`run-NAME-vm`), relative to the folder of this file, or with a blank in it a command line of QEMU."
  ),
  ...ofAll
}).annotate({ description: "A machine of a start script of NixOS, or of another command line of QEMU." })

const MicrovmMachine = Schema.Struct({
  backend: Schema.Literal("microvm"),
  runner: Filled(
    "the path of a runner of microvm.nix",
    "The runner that Nix has built (`config.microvm.declaredRunner`), relative to the folder of this file."
  ),
  ...ofAll
}).annotate({ description: "A machine of a runner of microvm.nix for QEMU, Firecracker or Cloud Hypervisor." })

/** The form of the file, as it is in JSON. */
export const MachineFile = Schema.Struct({
  $schema: Schema.optionalKey(
    Schema.String.annotate({ description: "Where the schema of this file is, for editors." })
  ),
  machines: Schema.Array(
    Schema.Union([QemuMachine, MicrovmMachine]).annotate({
      expected: 'an object with a name, and with "backend": "qemu" and a start_command, or "microvm" and a runner'
    })
  ).annotate({ description: "The machines of the tests.", expected: "an array of machines" }),
  vlans: Schema.optionalKey(
    Vlans.annotate({ description: "The VLANs of all machines that name none themselves. Default: none." })
  ),
  global_timeout: Schema.optionalKey(
    Schema.Finite.check(Schema.isGreaterThan(0)).annotate({
      description: "The longest time that a test may take, in seconds. Default: that of the test.",
      expected: "a number of seconds above 0"
    })
  )
}).annotate({
  title: "Machines of vmtest",
  description: "What `vmtest run --machine-config FILE` reads.",
  expected: 'an object with "machines"'
})

type Entry = (typeof MachineFile.Type)["machines"][number]

/** What a file says. */
export interface Machines {
  /** The declarations by name. */
  readonly machines: Readonly<Record<string, MachineOptions>>
  /** The longest time that a test may take; undefined if the file does not say. */
  readonly timeout: Duration.Duration | undefined
}

const decode = Decode.decoder(MachineFile, { whole: "the file" })

/** The hypervisors that attest and microvm.nix name, besides QEMU. */
const hypervisors = ["alioth", "cloud-hypervisor", "crosvm", "firecracker", "kvmtool", "stratovirt", "vfkit"]

/** The first machine whose `backend` is another hypervisor, whatever else is wrong with it. */
const ofOtherHypervisor = (file: string, json: unknown): BadMachineFile | NoBackend | undefined => {
  const machines = Predicate.hasProperty(json, "machines") && Array.isArray(json.machines) ? json.machines : []
  for (const machine of machines as ReadonlyArray<unknown>) {
    const { backend, name } = Predicate.isObject(machine) ? (machine as Record<string, unknown>) : {}
    if (typeof backend !== "string" || !hypervisors.includes(backend)) continue
    const what = `machine ${Decode.shown(name)}`
    if (!isBackendName(backend)) return new NoBackend({ what: `${file}: ${what}`, hypervisor: backend })
    const advice = `use "microvm" with a runner for it, or declare the machine in the script`
    return new BadMachineFile({
      file,
      reason: `${what}: backend must be "qemu" or "microvm", got "${backend}"; ${advice}`
    })
  }
  return undefined
}

const imageOf = (entry: Entry, folder: string): Image.Image => {
  const more = entry.env === undefined ? {} : { env: entry.env }
  if (entry.backend === "microvm") return Image.microvm({ runner: Path.resolve(folder, entry.runner), ...more })
  const given = Image.startScript(entry.start_command)
  return { ...given, ...(given.path === undefined ? {} : { path: Path.resolve(folder, given.path) }), ...more }
}

/** Reads the text of a file. Fails with the first part that does not fit, and with `NoBackend` if a machine needs a hypervisor that vmtest has no backend for. */
export const fromJson = Effect.fnUntraced(function* (file: string, text: string) {
  const bad = (reason: string) => new BadMachineFile({ file, reason })
  const json = yield* Effect.try({
    try: (): unknown => JSON.parse(text),
    catch: (error) => bad(`is not JSON: ${Thrown.messageOf(error)}`)
  })
  const unable = ofOtherHypervisor(file, json)
  if (unable !== undefined) return yield* unable
  const decoded = decode(json)
  if (Result.isFailure(decoded)) return yield* bad(decoded.failure.reason)
  const { global_timeout, machines, vlans = [] } = decoded.success
  const names = machines.map(({ name }) => name)
  const twin = names.find((name, index) => names.indexOf(name) !== index)
  if (twin !== undefined) return yield* bad(`has two machines with the name ${JSON.stringify(twin)}`)
  const folder = Path.dirname(Path.resolve(file))
  return {
    machines: Object.fromEntries(
      machines.map((entry) => [
        entry.name,
        {
          image: imageOf(entry, folder),
          vlans: entry.vlans ?? vlans,
          ...(entry.allow_reboot === undefined ? {} : { allowReboot: entry.allow_reboot })
        }
      ])
    ),
    timeout: global_timeout === undefined ? undefined : Duration.seconds(global_timeout)
  } satisfies Machines as Machines
})

/** Reads a file. */
export const load = Effect.fnUntraced(function* (file: string) {
  const text = yield* Effect.mapError(
    OutputFolder.attempt(() => Fs.readFileSync(file, "utf8")),
    (reason) => new BadMachineFile({ file, reason })
  )
  return yield* fromJson(file, text)
})
