/**
 * The machines of a test, saved to a folder so that people can inspect them later.
 *
 * The folder has `resume.json`, which describes the machines, and `<machine>/saved/` for each machine that ran. It refers to the image's files
 * in the cache, so it can be opened only on the host that saved it, and only while the image is in the cache.
 *
 * **Example** (Checking what `vmtest run --snapshot-on-failure` saved)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SavedTest } from "vmtest"
 *
 * Effect.gen(function* () {
 *   const { running, test } = yield* SavedTest.open("vmtest-output/a page is served")
 *   yield* Effect.log(`${test}: ${running.join(", ")} can be resumed`)
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Backend, type BackendService } from "../backends/Backend.ts"
import { names as backendNames, isBackendName } from "../backends/BackendName.ts"
import * as Device from "../backends/Device.ts"
import { Hypervisor } from "../backends/HypervisorOptions.ts"
import * as Disk from "../host/Disk.ts"
import type { RunDirectory } from "../host/RunDirectory.ts"
import { StartScript } from "../images/BootImage.ts"
import * as Image from "../images/Image.ts"
import { ImageStore } from "../images/ImageStore.ts"
import type { Unavailable } from "../machine/Machine.ts"
import type { MachineSpec } from "../machine/MachineSpec.ts"
import type { Handle } from "../machine/MachineTree.ts"
import * as Addresses from "../network/Addresses.ts"
import * as NetworkSpec from "../network/NetworkSpec.ts"
import { KeyboardLayout } from "../screen/KeyboardLayout.ts"
import type { DriverService } from "./Driver.ts"
import * as internal from "./internal/driver.ts"
import type * as HostServices from "./internal/hostServices.ts"
import * as Hypervisors from "./internal/hypervisors.ts"
import * as Images from "./internal/images.ts"
import { saveAll } from "./internal/saveAll.ts"
import * as Entries from "./internal/snapshotEntries.ts"
import * as WarmStart from "./internal/warmStart.ts"
import type { SoftFailures } from "./SoftFailure.ts"

/** The folder could not be opened or resumed; `reason` says what is wrong with it. */
export class CannotResume extends Schema.TaggedError<CannotResume>()("CannotResume", {
  folder: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not resume ${this.folder}: ${this.reason}`
  }
}

const Facts = Schema.Record(Schema.String, Schema.String)

const SavedCard = Schema.Struct({
  vlan: Schema.Number,
  network: Schema.optional(Schema.String),
  mac: Schema.optional(Schema.String),
  ipv4: Schema.optional(Schema.String),
  ipv6: Schema.optional(Schema.String)
})

/** A name of a service of the host, with its addresses and their prefixes. */
const SavedHost = Schema.Struct({
  name: Schema.String,
  vlan: Schema.Number,
  ipv4: Schema.String,
  /** `"none"` for a host without one. */
  ipv6: Schema.String,
  /** Earlier versions did not save it. */
  mac: Schema.optional(Schema.String)
})

const Saved = Schema.Struct({
  format: Schema.Literal(1),
  test: Schema.String,
  /** Those that the test declares. */
  networks: Schema.optionalKey(NetworkSpec.Networks),
  /** Those that its services of the host had. */
  hosts: Schema.optionalKey(Schema.Array(SavedHost)),
  /** Milliseconds since the epoch. */
  savedAt: Schema.Number,
  host: Facts,
  machines: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      /** The name that its guest knows itself by. */
      guest: Schema.String,
      number: Schema.Number,
      memory: Schema.Number,
      cpus: Schema.Number,
      disks: Schema.Array(Schema.Number),
      /** A number of those that earlier versions saved. */
      vlans: Schema.Array(Schema.Union([Schema.Number, SavedCard])),
      internet: Schema.Boolean,
      allowReboot: Schema.Boolean,
      devices: Schema.optionalKey(Schema.Array(Device.Device)),
      hotplug: Schema.optionalKey(Schema.Boolean),
      /** Absent for the hypervisor of the run. */
      backend: Schema.optionalKey(Schema.Literals(backendNames)),
      /** Its options, as JSON of what was declared. */
      hypervisor: Schema.optionalKey(Hypervisor),
      qemuArguments: Schema.optionalKey(Schema.Array(Schema.String)),
      keyboardLayout: Schema.optionalKey(KeyboardLayout),
      description: Schema.String,
      image: Schema.Struct({
        digest: Schema.String,
        kernel: Schema.String,
        initrd: Schema.String,
        cmdline: Schema.String,
        root: Schema.optionalKey(Schema.String),
        disk: Schema.optionalKey(Schema.Struct({ path: Schema.String, format: Schema.Literals(["raw", "qcow2"]) })),
        startScript: Schema.optionalKey(StartScript),
        guest: Schema.Literals(["tiny", "debian", "disk", "script"]),
        builtAt: Schema.Number
      }),
      /** Of the machine that ran: what its files must be. */
      files: Schema.optionalKey(Entries.FileRecords)
    })
  )
})
type Saved = typeof Saved.Type

const fileName = "resume.json"
const savedFolder = (folder: string, machine: string) => Path.join(folder, machine, "saved")
const text = Schema.fromJsonString(Saved)

const failed = (folder: string) => (error: unknown) => new CannotResume({ folder, reason: Disk.reasonOf(error) })

/** What must be equal for machines of these hypervisors to load. With several, each fact is that of one of them. */
const factsOf = (backends: ReadonlyArray<BackendService>) =>
  Effect.gen(function* () {
    const byName = new Map(backends.map((backend) => [backend.name, backend]))
    const all = byName.size === 0 ? [yield* Backend] : [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
    const facts = yield* Effect.forEach(all, ({ fingerprint, name }) =>
      Effect.map(fingerprint, (own) =>
        Object.entries(own).map(([fact, value]) => [all.length === 1 ? fact : `${name} ${fact}`, value] as const)
      )
    )
    return Object.fromEntries(facts.flat())
  })

/** Saves the machines of a running test, all at one point in time, to a folder; what an earlier test saved there is replaced. */
export const save = Effect.fnUntraced(function* (options: {
  readonly folder: string
  readonly test: string
  readonly handles: ReadonlyArray<Handle>
  /** Those that the test declares; undefined if it declares none. */
  readonly networks?: ReadonlyArray<NetworkSpec.NetworkSpec> | undefined
  /** The names of its services of the host. */
  readonly hosts?: ReadonlyArray<HostServices.Former> | undefined
  readonly now: number
}) {
  const { folder, handles, hosts, networks, now, test } = options
  const host = yield* factsOf(handles.map(({ backend }) => backend))
  yield* Effect.try({
    try: () => {
      for (const { spec } of handles) Fs.rmSync(savedFolder(folder, spec.name), { recursive: true, force: true })
    },
    catch: failed(folder)
  })
  const saved = yield* saveAll(handles, (machine) => savedFolder(folder, machine), { goOn: false })
  const machines = yield* Effect.forEach(
    handles,
    Effect.fnUntraced(function* ({ backend, self, shape, spec }) {
      const directory = saved.get(spec.name)?.directory
      const files = directory === undefined ? undefined : yield* Entries.recordFiles(directory)
      const {
        allowReboot,
        cpus,
        devices,
        disks,
        hotplug,
        internet,
        keyboardLayout,
        memory,
        name,
        qemuArguments,
        vlans
      } = spec
      const { disk, root, startScript, ...image } = shape.image
      return {
        ...{ name, guest: self.name, number: self.number, memory, cpus, disks, vlans, internet, allowReboot },
        ...{ devices, hotplug, qemuArguments, ...(keyboardLayout === undefined ? {} : { keyboardLayout }) },
        ...(isBackendName(backend.name) ? { backend: backend.name } : {}),
        ...(typeof spec.backend === "object" ? { hypervisor: spec.backend } : {}),
        description: Image.describe(spec.image),
        image: {
          ...image,
          ...(root === undefined ? {} : { root }),
          ...(disk === undefined ? {} : { disk }),
          ...(startScript === undefined ? {} : { startScript })
        },
        ...(files === undefined ? {} : { files })
      }
    })
  ).pipe(Effect.mapError(failed(folder)))
  const content: Saved = {
    ...{ format: 1, test, savedAt: now, host, machines },
    ...(networks === undefined ? {} : { networks: NetworkSpec.declarationOf(networks) }),
    ...(hosts === undefined || hosts.length === 0 ? {} : { hosts })
  }
  yield* Effect.try({
    try: () => Fs.writeFileSync(Path.join(folder, fileName), `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 }),
    catch: failed(folder)
  })
})

const specsOf = (saved: Saved): ReadonlyArray<MachineSpec> =>
  saved.machines.map((machine): MachineSpec => {
    const { allowReboot, backend: ran, cpus, description, disks, hypervisor, internet, memory, name, vlans } = machine
    const backend = hypervisor ?? ran
    const { devices = [], hotplug = false, keyboardLayout, qemuArguments = [] } = machine
    return {
      ...{ name, image: Image.disk({ path: description }), memory, cpus, disks, internet, allowReboot, backend },
      vlans: vlans.map(Addresses.cardOf),
      ...{ devices, hotplug, qemuArguments, keyboardLayout },
      ...{ autoStart: false, warmUp: undefined, snapshot: false, forwards: [] }
    }
  })

/** What {@link open} has checked. */
export interface Opened {
  readonly folder: string
  /** The test's name. */
  readonly test: string
  /** Milliseconds since the epoch. */
  readonly savedAt: number
  /** The names of the machines that ran. */
  readonly running: ReadonlyArray<string>
  readonly saved: Saved
}

/** Reads a folder that {@link save} made, and checks that its machines can resume here: the host, the image, and every byte of the files. */
export const open: (folder: string) => Effect.Effect<Opened, CannotResume, Backend | ImageStore> = Effect.fnUntraced(
  function* (folder: string) {
    const refuse = (reason: string) => Effect.fail(new CannotResume({ folder, reason }))
    const path = Path.join(folder, fileName)
    if (!Fs.existsSync(path)) {
      return yield* refuse(`it has no ${fileName}; give the folder of a test that failed under --snapshot-on-failure`)
    }
    const content = yield* Effect.try({ try: () => Fs.readFileSync(path, "utf8"), catch: failed(folder) })
    const saved = yield* Schema.decodeUnknownEffect(text)(content).pipe(
      Effect.catch(() => refuse(`${fileName} is damaged, or was written by another version of vmtest`))
    )
    const backend = yield* Backend
    const specs = specsOf(saved)
    const backends = yield* Effect.forEach(specs, (spec) => Hypervisors.of(backend, spec)).pipe(
      Effect.mapError(failed(folder))
    )
    const other = Entries.difference(saved.host, yield* factsOf(backends))
    if (other !== undefined) return yield* refuse(`it was saved on another host, or before an upgrade: ${other}`)
    const store = yield* ImageStore
    for (const { description, files, image, name } of saved.machines) {
      const needed = [image.kernel, image.initrd, image.root ?? "", image.disk?.path ?? ""]
      const missing = needed.find((file) => file !== "" && !Fs.existsSync(file))
      if (missing !== undefined) return yield* refuse(`the image of ${name} (${description}) is no longer in the cache`)
      if (image.guest === "disk" && image.disk !== undefined) {
        const { cmdline, disk, initrd, kernel } = image
        const files = { ...(kernel === "" ? {} : { kernel }), ...(initrd === "" ? {} : { initrd }) }
        const now = yield* Effect.mapError(store.resolve(Image.disk({ ...disk, ...files, cmdline })), failed(folder))
        if (now.digest !== image.digest)
          return yield* refuse(`the image of ${name} (${description}) has changed since it was saved`)
      }
      if (files === undefined) continue
      const directory = savedFolder(folder, name)
      const problem = Entries.sizeProblem(directory, files) ?? (yield* Entries.contentProblem(directory, files))
      if (problem !== undefined) return yield* refuse(`${name} is damaged: ${problem}`)
    }
    const running = saved.machines.filter(({ files }) => files !== undefined).map(({ name }) => name)
    return { folder, test: saved.test, savedAt: saved.savedAt, running, saved }
  }
)

/** Why opened machines could not be resumed. */
export type ResumeError = CannotResume | Unavailable

/**
 * Resumes the machines where they were saved, on networks of their own, until the scope closes. They keep their identities and their
 * connections to each other; only their clocks and their entropy are new. Machines that did not run when they were saved do not run now.
 */
export const resume: (
  opened: Opened,
  options: {
    readonly output: string
    /** Collects the subtests that fail softly. */
    readonly soft: SoftFailures
  }
) => Effect.Effect<
  DriverService,
  ResumeError,
  Backend | FileSystem.FileSystem | ImageStore | RunDirectory | Scope.Scope
> = Effect.fnUntraced(function* ({ folder, running, saved, test }, { output, soft }) {
  const specs = specsOf(saved)
  const others = yield* Images.make
  const images = new Map(specs.map(({ image }, index) => [image as Image.Image, saved.machines[index]!.image]))
  const driver = yield* internal
    .make({
      test,
      machines: specs,
      networks: NetworkSpec.resolve(saved.networks),
      hosts: saved.hosts,
      prefix: "r",
      output,
      resolve: (image) => {
        const found = images.get(image)
        // One that is declared later is none of those that were saved.
        if (found === undefined) return others.resolve(image)
        return Effect.succeed({ ...found, root: found.root, disk: found.disk })
      },
      warm: yield* WarmStart.make(),
      saved: {
        identity: "kept",
        machines: new Map(running.map((name) => [name, { directory: Path.resolve(savedFolder(folder, name)) }])),
        nodes: saved.machines.map(({ guest, number, vlans }) => Addresses.number({ name: guest, vlans }, number))
      },
      onSubtest: soft.hear
    })
    .pipe(Effect.mapError(failed(folder)))
  yield* Effect.forEach(running, (name) => driver.machines[name]?.start() ?? Effect.void, {
    concurrency: "unbounded",
    discard: true
  })
  return driver.service
})
