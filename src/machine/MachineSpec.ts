/**
 * What a test declares of a machine, and the check that runs before anything is started.
 *
 * @since 0.1.0
 */
import * as Os from "node:os"
import { inspect } from "node:util"
import * as ByteSize from "effect/ByteSize"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Spelling from "../host/Spelling.ts"
import type { Image } from "../images/Image.ts"
import type { Machine } from "./Machine.ts"

/**
 * A port of the host that leads to a port of the guest.
 *
 * `protocol` defaults to `"tcp"`.
 */
export interface Forward {
  readonly hostPort: number
  readonly guestPort: number
  readonly protocol?: "tcp" | "udp"
}

/** What is to be done to a machine once, and what its result depends on. */
export interface WarmUp {
  readonly run: (machine: Machine) => Effect.Effect<unknown, unknown>
  /**
   * To be changed whenever `run` does something else, be it that a file of the host changed that it reads. It counts in the whole cache: two
   * machines of one name, shape and address with the same key share one result, whichever scripts and tests they are of. Default: the digest of
   * the script and the test's name.
   */
  readonly key?: string | undefined
}

/** The declaration of one machine; only `image` is required. */
export interface MachineOptions {
  /** What the machine boots. */
  readonly image: Image
  /** Size of its memory: `"512 MiB"`, or a number of bytes. Default 1 GiB. */
  readonly memory?: ByteSize.Input
  /** How many virtual processors. Default 1. */
  readonly cpus?: number
  /**
   * Sizes of empty disks, such as `["1 GiB"]`: `/dev/vdb`, `/dev/vdc`, … (from `/dev/vda` on where the image has no disk), also
   * `/dev/disk/by-id/virtio-disk1` and so on where udev runs. What is on them stays over reboots, shutdowns and crashes of the machine until the
   * test ends, and takes only the place of what was written. Default none.
   */
  readonly disks?: ReadonlyArray<ByteSize.Input>
  /** The virtual networks it is on, in the order of its interfaces eth1, eth2, … Default `[1]`. */
  readonly vlans?: ReadonlyArray<number>
  /** Whether it is started before the test's body. Default true. */
  readonly autoStart?: boolean
  /**
   * Done once on a machine that is ready, before the test can use it: what follows, in this run and in later ones, starts from its result.
   *
   * It may use no machine but its own, and must leave it running. Its result is kept for as long as the script stays the same (all of it, with
   * what it imports by relative paths), or for as long as the `key`, and in either case while the files of the host that it copies with
   * `copyFromHost` stay the same, but not others that it reads; it is that of this test's machine of this name and address. Outside of scripts
   * that `vmtest` runs it needs a `key` to be kept. Its failure is a failure to boot.
   */
  readonly warmUp?: WarmUp["run"] | WarmUp
  /**
   * Whether the machine may start from the snapshot of one like it that has booted, instead of booting itself. Default true. A service that must
   * find the machine's name or addresses when it starts wants false: that one may have had others, or none yet.
   */
  readonly snapshot?: boolean
  /** Whether a reboot of the guest keeps the machine; without it a reboot ends the machine. Default false. */
  readonly allowReboot?: boolean
  /** Whether the guest may reach the networks of the host through eth0. Default false. */
  readonly internet?: boolean
  /** Ports of the host that lead into the guest. Default none. */
  readonly forwards?: ReadonlyArray<Forward>
}

/** A checked declaration, with every default filled in; sizes in bytes. */
export interface MachineSpec {
  readonly name: string
  readonly image: Image
  readonly memory: number
  readonly cpus: number
  readonly disks: ReadonlyArray<number>
  readonly vlans: ReadonlyArray<number>
  readonly autoStart: boolean
  readonly warmUp: WarmUp | undefined
  readonly snapshot: boolean
  readonly allowReboot: boolean
  readonly internet: boolean
  readonly forwards: ReadonlyArray<Required<Forward>>
}

/** A declaration that cannot be meant: `reason` says which option, why, and what would do. */
export class InvalidMachine extends Schema.TaggedError<InvalidMachine>()("InvalidMachine", {
  machine: Schema.String,
  option: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `machine ${JSON.stringify(this.machine)}: ${this.option} ${this.reason}`
  }
}

/** What a control group leaves of the machine's memory; 0 and undefined say that nothing is known of one. */
const memory = () => Math.min(Os.totalmem(), process.constrainedMemory() || Infinity)

/** What the host has to give: `memory` in bytes, within the limit of the control group; `cpus` as the scheduler lets this process use them. */
export const HostLimits = Context.Reference<{ readonly memory: number; readonly cpus: number }>(
  "vmtest/machine/HostLimits",
  { defaultValue: () => ({ memory: memory(), cpus: Os.availableParallelism() }) }
)

/** No Linux guest of ours gets to a shell with less. */
const smallestMemory = 64 * 1024 * 1024
const defaultMemory = 1024 * 1024 * 1024
/** Guests do not take less, and hypervisors like whole mebibytes. */
const smallestDisk = 1024 * 1024
/** A VLAN's number is an octet of its addresses; the node's number is the next one. */
const largestVlan = 254

const size = (bytes: number) => ByteSize.format(ByteSize.fromInputUnsafe(Math.floor(bytes)))

const isHostName = (name: string) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(name)
const imageTags: ReadonlyArray<unknown> = ["TinyImage", "DebianImage", "DiskImage"]

/** What is wrong with an `image`, whatever a script without types put there. */
const imageProblem = (image: unknown): string | undefined => {
  if (image === undefined) return "is missing: say what it boots, for example Image.tiny()"
  if (typeof image === "function") return `is a function: call it: Image.${image.name || "debian"}({})`
  if (Predicate.hasProperty(image, "_tag") && imageTags.includes(image._tag)) return undefined
  return `is ${inspect(image, { depth: 0, breakLength: Infinity })}, not an image such as Image.tiny() or Image.debian({})`
}

const machineFields: Spelling.FieldsOf<MachineOptions> = {
  image: true,
  memory: true,
  cpus: true,
  disks: true,
  vlans: true,
  autoStart: true,
  warmUp: true,
  snapshot: true,
  allowReboot: true,
  internet: true,
  forwards: true
}
const forwardFields: Spelling.FieldsOf<Forward> = { hostPort: true, guestPort: true, protocol: true }
const warmUpFields: Spelling.FieldsOf<WarmUp> = { run: true, key: true }
/** What other drivers and hypervisors call them. */
const aliases: Spelling.Aliases = {
  memorysize: "memory",
  ram: "memory",
  cores: "cpus",
  networks: "vlans",
  ports: "forwards"
}

/** The first field that nobody reads, of a declaration or of what is in it. */
const unknownField = (options: unknown): Spelling.UnknownField | undefined => {
  if (!Predicate.isObject(options)) return undefined
  const forwards = Array.isArray(options.forwards) ? options.forwards : []
  const parts = [
    Spelling.unknownField(options, machineFields, { aliases }),
    Spelling.unknownField(options.warmUp, warmUpFields, { within: "warmUp" }),
    ...forwards.map((forward: unknown) => Spelling.unknownField(forward, forwardFields, { within: "forwards" }))
  ]
  return parts.find(Predicate.isNotUndefined)
}

const isPort = (port: number) => Number.isInteger(port) && port >= 1 && port <= 65535

/**
 * Checks one declaration and fills in the defaults.
 *
 * Fails with `InvalidMachine` when the name is no host name (RFC 1123: letters, digits and inner hyphens, at most 63), a field is not
 * known, or an option makes no sense or asks for more than the host has.
 */
export const check = Effect.fnUntraced(function* (name: string, options: MachineOptions) {
  const limits = yield* HostLimits
  const invalid = (option: string, reason: string) => new InvalidMachine({ machine: name, option, reason })
  if (!isHostName(name)) {
    return yield* invalid("name", "is not a valid host name: letters, digits and inner hyphens, at most 63 characters")
  }
  const unknown = unknownField(options)
  if (unknown !== undefined) return yield* invalid(unknown.field, unknown.reason)
  const notAnImage = imageProblem(Predicate.hasProperty(options, "image") ? options.image : undefined)
  if (notAnImage !== undefined) return yield* invalid("image", notAnImage)
  for (const option of ["disks", "vlans", "forwards"] as const) {
    const value: unknown = options[option]
    if (value !== undefined && !Array.isArray(value)) {
      return yield* invalid(option, `is ${inspect(value, { depth: 0 })}, not an array`)
    }
  }
  const memory = options.memory === undefined ? defaultMemory : Option.getOrUndefined(readSize(options.memory))
  if (memory === undefined) {
    return yield* invalid(
      "memory",
      `is ${JSON.stringify(String(options.memory))}, not a size such as "512 MiB" or a number of bytes`
    )
  }
  if (memory < smallestMemory)
    return yield* invalid("memory", `is ${size(memory)}; the least is ${size(smallestMemory)}`)
  if (memory > limits.memory)
    return yield* invalid("memory", `is ${size(memory)}; this host has ${size(limits.memory)}`)
  const cpus = options.cpus ?? 1
  if (!Number.isInteger(cpus) || cpus < 1) return yield* invalid("cpus", `is ${cpus}, not a whole number from 1 on`)
  if (cpus > limits.cpus) return yield* invalid("cpus", `is ${cpus}; this host has ${limits.cpus}`)
  const disks: Array<number> = []
  for (const input of options.disks ?? []) {
    const bytes = Option.getOrUndefined(readSize(input))
    if (bytes === undefined || bytes < smallestDisk) {
      return yield* invalid(
        "disks",
        `has ${JSON.stringify(String(input))}, not a size from ${size(smallestDisk)} on, such as "1 GiB"`
      )
    }
    disks.push(Math.ceil(bytes / smallestDisk) * smallestDisk)
  }
  const warmUp = typeof options.warmUp === "function" ? { run: options.warmUp } : options.warmUp
  if (warmUp !== undefined && typeof warmUp.run !== "function") {
    return yield* invalid("warmUp", "is neither a function nor { run, key } with a function")
  }
  const vlans = options.vlans ?? [1]
  const wrongVlan = vlans.find((vlan) => !Number.isInteger(vlan) || vlan < 1 || vlan > largestVlan)
  if (wrongVlan !== undefined) return yield* invalid("vlans", `has ${wrongVlan}, not a number from 1 to ${largestVlan}`)
  if (new Set(vlans).size !== vlans.length) return yield* invalid("vlans", "has a number twice")
  const wrongForward = options.forwards?.find((forward: unknown) => !Predicate.isObject(forward))
  if (wrongForward !== undefined) {
    return yield* invalid("forwards", `has ${inspect(wrongForward)}, not { hostPort, guestPort }`)
  }
  const forwards = (options.forwards ?? []).map((forward) => ({ protocol: "tcp" as const, ...forward }))
  for (const { guestPort, hostPort } of forwards) {
    for (const port of [hostPort, guestPort]) {
      if (!isPort(port)) return yield* invalid("forwards", `has the port ${port}; ports are 1 to 65535`)
    }
  }
  return {
    name,
    image: options.image,
    memory,
    cpus,
    disks,
    vlans,
    autoStart: options.autoStart ?? true,
    warmUp,
    snapshot: options.snapshot ?? true,
    allowReboot: options.allowReboot ?? false,
    internet: options.internet ?? false,
    forwards
  } satisfies MachineSpec as MachineSpec
})

const readSize = (input: ByteSize.Input): Option.Option<number> => {
  if (typeof input !== "number") return Option.map(ByteSize.fromInput(input), Number)
  return Number.isFinite(input) && input > 0 ? Option.some(Math.floor(input)) : Option.none()
}

/**
 * Checks the declarations of all machines of a test together.
 *
 * Fails with the first `InvalidMachine`; two names that differ only in case are refused, because host names do not know case, and so is
 * more memory than the host has for all of them.
 */
export const checkAll = Effect.fnUntraced(function* (machines: Readonly<Record<string, MachineOptions>>) {
  const seen = new Map<string, string>()
  for (const name of Object.keys(machines)) {
    const twin = seen.get(name.toLowerCase())
    if (twin !== undefined) {
      return yield* new InvalidMachine({
        machine: name,
        option: "name",
        reason: `differs from ${JSON.stringify(twin)} only in case`
      })
    }
    seen.set(name.toLowerCase(), name)
  }
  const specs = yield* Effect.forEach(Object.entries(machines), ([name, options]) => check(name, options))
  const limits = yield* HostLimits
  let together = 0
  for (const spec of specs) {
    together += spec.memory
    if (together > limits.memory) {
      const reason = `is ${size(spec.memory)}, ${size(together)} with the machines before it; this host has ${size(limits.memory)}`
      return yield* new InvalidMachine({ machine: spec.name, option: "memory", reason })
    }
  }
  return specs
})
