/**
 * The declaration of a machine in a test, and the check that runs before anything is started.
 *
 * **Example** (A machine with two networks and a disk)
 *
 * ```ts
 * const router = { image: Image.debian({ packages: ["nftables"] }), vlans: [1, 2], disks: ["1 GiB"], memory: "512 MiB" }
 * ```
 *
 * @since 0.1.0
 */
import * as Os from "node:os"
import * as ByteSize from "effect/ByteSize"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { names as backendNames } from "../backends/BackendName.ts"
import * as Device from "../backends/Device.ts"
import { Hypervisor } from "../backends/HypervisorOptions.ts"
import * as Limits from "../backends/Limits.ts"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import * as Location from "../host/Location.ts"
import * as Image from "../images/Image.ts"
import type * as Addresses from "../network/Addresses.ts"
import * as Card from "../network/Card.ts"
import type { NetworkSpec } from "../network/NetworkSpec.ts"
import { KeyboardLayout, names as layoutNames } from "../screen/KeyboardLayout.ts"
import * as Hardware from "./internal/hardware.ts"
import * as Names from "./internal/names.ts"
import type { Machine } from "./Machine.ts"

/** Bytes as people write them: `512 MiB`. */
export const size = (bytes: number) => ByteSize.format(ByteSize.fromInputUnsafe(bytes))

const otherwise = <A>(value: A) => Effect.succeed(value)

/** A port of the host that leads to a port of the guest. */
export const Forward = Schema.Struct({
  /** On the host's loopback. */
  hostPort: Fields.Port,
  guestPort: Fields.Port,
  /** Default `"tcp"`. */
  protocol: Schema.Literals(["tcp", "udp"]).pipe(Schema.withDecodingDefault(otherwise("tcp" as const)))
}).annotate({ expected: "an object { hostPort, guestPort, protocol? }" })

/** A port of the host that leads to a port of the guest, as it is declared. */
export interface Forward extends Schema.Codec.Encoded<typeof Forward> {}

const Run = Fields.callback<(machine: Machine) => Effect.Effect<unknown, unknown>>()

/** What is to be done to a machine once, and what its result depends on. */
export const WarmUp = Schema.Struct({
  run: Run,
  /**
   * To be changed whenever `run` does something else, be it that a file of the host changed that it reads. It counts in the whole cache: two
   * machines of one name, shape and address with the same key share one result, whichever scripts and tests they are of. Default: the digest of
   * the script and the test's name.
   */
  key: Schema.optional(Schema.String)
})

/** What is to be done to a machine once, and what its result depends on. */
export interface WarmUp extends Schema.Schema.Type<typeof WarmUp> {}

const AnyImage: Schema.Codec<Image.Image> = Schema.Union(Object.values(Image.schemas)).annotate({
  expected: "an image, such as Image.tiny() or Image.debian({})"
})

const Vlans = Schema.Array(Card.Card).annotate({
  expected: "an array of networks, each a number, a name, or an object { vlan, mac?, ipv4?, ipv6? }"
})

/** The fields of a declaration, with their defaults. `description` and `default` of each are its line in docs/machines.md. */
const fields = {
  /** What the machine boots. */
  image: AnyImage.pipe(
    Schema.annotateKey({
      description:
        "what it boots: `Image.tiny()`, `Image.debian({ … })`, `Image.disk(…)`, `Image.startScript(…)` or `Image.microvm(…)`: [images.md](images.md)"
    })
  ),
  /**
   * The hypervisor that runs it: `"qemu"`, `"firecracker"` or `"cloud-hypervisor"`, or an object with its name and options, such as `{ name:
   * "firecracker", hugePages: true }`. Default: that of the run (`--backend`, `VMTEST_BACKEND`), else QEMU.
   */
  backend: Schema.optional(Hypervisor).pipe(
    Schema.annotateKey({
      description: `what runs it: ${backendNames.map((name) => `\`"${name}"\``).join(", ")}, or \`{ name, hugePages?, … }\`: [backends.md](backends.md); by default that of the run, else QEMU`
    })
  ),
  /** Size of its memory: `"512 MiB"`, or a number of bytes. Default 1 GiB. */
  memory: Fields.size({ least: Limits.leastMemory, most: Limits.mostBytes }).pipe(
    Schema.withDecodingDefault(otherwise("1 GiB" as ByteSize.Input)),
    Schema.annotateKey({
      description: `a size: \`"512 MiB"\`, or a number of bytes; at least ${size(Limits.leastMemory)}, and all machines together at most what the host has`
    })
  ),
  /** How many virtual processors. Default 1. */
  cpus: Fields.Count.pipe(
    Schema.withDecodingDefault(otherwise(1)),
    Schema.annotateKey({ description: "virtual processors; at most those of the host" })
  ),
  /**
   * Sizes of empty disks, such as `["1 GiB"]`: `/dev/vdb`, `/dev/vdc`, … (from `/dev/vda` on where the image has no disk), also
   * `/dev/disk/by-id/virtio-disk1` and so on where udev runs. What is on them stays over reboots, shutdowns and crashes of the machine until the
   * test ends, and takes only the place of what was written. Default none. Disks, `vlans` and other devices are at most 22 together.
   */
  disks: Schema.Array(Device.Size).pipe(
    Schema.withDecodingDefault(otherwise([])),
    Schema.annotateKey({
      description: `sizes of empty disks, from ${size(Limits.leastDisk)} to ${size(Limits.mostBytes)} each: \`["1 GiB"]\` is \`/dev/vdb\` (\`/dev/vda\` if the image has no disk), and \`/dev/disk/by-id/virtio-disk1\` if udev runs`
    })
  ),
  /**
   * Devices besides disks and network cards: `"tpm"`, `"watchdog"`, `"sound"`, `"usb-keyboard"`, `"usb-mouse"`, `"usb-tablet"`, `{ type: "usb-storage",
   * size }`, or `{ driver, properties? }` for any other device of QEMU's. Each can have a `name` for `unplug`. Except for the
   * TPM they need drivers that the default kernel of images lacks; an image with `kernel: "generic"` has them. Default none.
   */
  devices: Schema.Array(Device.Device).pipe(
    Schema.withDecodingDefault(otherwise([])),
    Schema.annotateKey({
      description:
        '`"tpm"`, `"watchdog"`, `"sound"`, `{ type: "usb-storage", size }`, `{ driver, properties? }`, …: [devices](#devices)'
    })
  ),
  /**
   * Whether devices can be plugged in while it runs: it then has free PCI ports, and USB. A machine with `devices` has them too. Without them a
   * machine starts a little faster. Default false.
   */
  hotplug: Schema.Boolean.pipe(
    Schema.withDecodingDefault(otherwise(false)),
    Schema.annotateKey({
      description:
        "whether it has ports for `hotplug` while it runs, and USB; a machine with `devices` has them: [devices](#devices-that-come-and-go)"
    })
  ),
  /** Words for the end of QEMU's command line, such as `["-device", "edu"]`. Default none. */
  qemuArguments: Schema.Array(
    Fields.text("an argument without NUL bytes", (word) => word !== "" && !word.includes("\0"))
  )
    .check(Schema.makeFilter(Hardware.refusedArgument))
    .pipe(
      Schema.withDecodingDefault(otherwise([])),
      Schema.annotateKey({ description: 'words for the end of QEMU\'s command line: `["-device", "edu"]`' })
    ),
  /**
   * The layout of its keyboard: of its console and of X in tiny and Debian guests, and of `sendChars` and `sendKey`. A guest with a disk of your own
   * keeps its layout, and this says which it is. Without it, keys are those of `"us"`, and guests keep what their image says.
   */
  keyboardLayout: Schema.optional(KeyboardLayout).pipe(
    Schema.annotateKey({
      description: `the layout of its keyboard, which \`sendChars\` types on: ${layoutNames.map((name) => `\`"${name}"\``).join(", ")}: [screen.md](screen.md#keyboard-layouts)`
    })
  ),
  /**
   * The networks of its cards eth1, eth2, …: each a number, a name, or an object with the card's addresses. Two cards can be on one network. Default:
   * one card on the first network that the test declares; on VLAN 1 if it declares none.
   */
  vlans: Vlans.pipe(
    Schema.withDecodingDefault(otherwise([1])),
    Schema.annotateKey({
      description: `the networks of its cards eth1, eth2, …: each a number from 1 to ${Limits.mostVlan}, the name of one of the test's \`networks\`, or \`{ vlan, mac?, ipv4?, ipv6? }\`; at most ${Limits.mostDevices} cards and disks together; with \`networks\` the first of these by default: [networks.md](networks.md)`
    })
  ),
  /** Whether it is started before the test's body. Default true. */
  autoStart: Schema.Boolean.pipe(
    Schema.withDecodingDefault(otherwise(true)),
    Schema.annotateKey({
      description: "whether it starts before the test's body; otherwise it starts at its first use, or with `start()`"
    })
  ),
  /**
   * Done once on a machine that is ready, before the test can use it: what follows, in this run and in later ones, starts from its result.
   *
   * It may use no machine but its own, and must leave it running. Its result is kept for as long as the script stays the same (all of it, with
   * what it imports by relative paths), or for as long as the `key`, and in either case while the files of the host that it copies with
   * `copyFromHost` stay the same, but not others that it reads; it is that of this test's machine of this name and address. Outside of scripts
   * that `vmtest` runs it needs a `key` to be kept. Its failure is a failure to boot.
   */
  warmUp: Schema.optional(
    Schema.Union([Run, WarmUp]).annotate({ expected: "a function, or { run, key } with a function" })
  ).pipe(
    Schema.annotateKey({
      description:
        "`(machine) => effect` or `{ run, key? }`: runs once, and machines start from its result: [snapshots.md](snapshots.md)"
    })
  ),
  /**
   * Whether the machine may start from a snapshot instead of booting. Default `true`: from that of a machine with its image, shape, name and
   * addresses, so that what services learned of these at boot is true of it. `"shared"`: from that of any machine with its image and shape,
   * which saves boots where many machines are alike and no service learns its name or addresses at boot. `false`: it always boots.
   */
  snapshot: Schema.Union([Schema.Boolean, Schema.Literal("shared")])
    .annotate({ expected: 'true, false or "shared"' })
    .pipe(
      Schema.withDecodingDefault(otherwise(true as const)),
      Schema.annotateKey({
        description:
          '`true`: it may start from the snapshot of a machine with its image, shape, name and addresses; `"shared"`: of any machine with its image and shape; `false`: it boots'
      })
    ),
  /** Whether a reboot of the guest keeps the machine; without it a reboot ends the machine. Default false. */
  allowReboot: Schema.Boolean.pipe(
    Schema.withDecodingDefault(otherwise(false)),
    Schema.annotateKey({ description: "whether it survives a reboot of its guest; otherwise a reboot ends it" })
  ),
  /** Whether the guest may reach the networks of the host through eth0. Default false. */
  internet: Schema.Boolean.pipe(
    Schema.withDecodingDefault(otherwise(false)),
    Schema.annotateKey({ description: "whether the guest reaches the host's networks through eth0" })
  ),
  /** Ports of the host that lead into the guest. Default none. */
  forwards: Schema.Array(Forward).pipe(
    Schema.withDecodingDefault(otherwise([])),
    Schema.annotateKey({
      description:
        '`{ hostPort, guestPort, protocol? }`: ports of the host that lead to the guest; `protocol` is `"tcp"` (default) or `"udp"`'
    })
  )
}

/** The declaration of one machine: what a script gives is its encoded side, and what it means, defaults filled in, its decoded one. */
export const MachineOptions = Schema.Struct(fields).annotate({
  expected: "an object such as { image: Image.tiny() }",
  /** What other drivers and hypervisors call them. */
  aliases: {
    memorysize: "memory",
    ram: "memory",
    cores: "cpus",
    hypervisor: "backend",
    networks: "vlans",
    network: "vlans",
    nics: "vlans",
    interfaces: "vlans",
    ports: "forwards",
    qemuoptions: "qemuArguments",
    layout: "keyboardLayout",
    keymap: "keyboardLayout"
  },
  elsewhere: Image.elsewhere(Object.keys(fields))
})

/** The declaration of one machine; only `image` is required. */
export interface MachineOptions extends Schema.Codec.Encoded<typeof MachineOptions> {}

/** A checked declaration, with every default filled in; sizes in bytes. */
export interface MachineSpec extends Omit<Schema.Schema.Type<typeof MachineOptions>, "vlans" | "warmUp"> {
  readonly name: string
  /** Its cards, with the numbers of their networks. */
  readonly vlans: ReadonlyArray<Addresses.Card>
  readonly warmUp: WarmUp | undefined
}

/** Bytes of each disk, and then of each USB stick, of a machine: of the files that `Backend.storageOf` names. */
export const storageOf = ({ devices, disks }: MachineSpec): ReadonlyArray<number> => [
  ...disks,
  ...devices.map((device) => Device.storageOf(Device.kindOf(device))).filter((bytes) => bytes > 0)
]

/** The programs of the host that machines need besides the hypervisor. */
export const toolsOf = (specs: ReadonlyArray<MachineSpec>): ReadonlyArray<string> => [
  // What start scripts plug in knows no other switch.
  ...(specs.some(({ image, vlans }) => vlans.length > 0 && image._tag === "StartScriptImage")
    ? ["vde_switch", "vde_plug"]
    : []),
  ...(specs.some(({ devices }) => devices.some((device) => Device.typeOf(Device.kindOf(device)) === "tpm"))
    ? ["swtpm"]
    : [])
]

/**
 * A declaration that makes no sense: `option` is the field, and `reason` a sentence that names it, and says what it must be and what it was.
 */
export class InvalidMachine extends Schema.TaggedError<InvalidMachine>()("InvalidMachine", {
  machine: Schema.String,
  option: Schema.String,
  reason: Schema.String,
  /** Where a script declares the machine, or the test that has it, if that is known. */
  declaredAt: Schema.optional(Location.Location)
}) {
  override get message() {
    return Location.before(this.declaredAt, this.machine === "" ? this.reason : `${this.machine}: ${this.reason}`)
  }
}

/** What a control group leaves of the machine's memory; 0 and undefined say that nothing is known of one. */
const memory = () => Math.min(Os.totalmem(), process.constrainedMemory() || Infinity)

/** What the host has to give: `memory` in bytes, within the limit of the control group; `cpus` as the scheduler lets this process use them. */
export const HostLimits = Context.Reference<{ readonly memory: number; readonly cpus: number }>(
  "vmtest/machine/HostLimits",
  { defaultValue: () => ({ memory: memory(), cpus: Os.availableParallelism() }) }
)

/** The name of a host on a network (RFC 1123) that leads nowhere else, as `localhost` and `10` do. */
export const HostName = Fields.text("a host name of letters, digits and inner hyphens, at most 63 characters", (name) =>
  /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(name)
).check(Schema.makeFilter(Names.problemOf))

/** The name of a machine with a start script: NixOS lets its hosts have underscores. */
export const ScriptName = Fields.text(
  "a name of letters, digits and inner hyphens and underscores, at most 63 characters",
  (name) => /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/i.test(name)
).check(Schema.makeFilter(Names.problemOf))

const nameFrom = Decode.decoder(HostName, { whole: "name" })
const scriptNameFrom = Decode.decoder(ScriptName, { whole: "name" })
const optionsFrom = Decode.decoder(MachineOptions, { whole: "the declaration" })

/** Those that a test declares; undefined for every VLAN. */
type Networks = ReadonlyArray<NetworkSpec> | undefined

const isScript = (options: MachineOptions | undefined): boolean =>
  options !== undefined && Image.startsItself(options.image)

/** Whether a declaration is the image itself, which types forbid and plain JavaScript does not. */
const isImage = (options: unknown): boolean =>
  Predicate.hasProperty(options, "_tag") && /Image$/.test(String(options._tag))

/** Its cards on the test's networks, and what is wrong with the first that cannot be. */
const cardsOf = (
  { image, vlans }: MachineOptions,
  decoded: ReadonlyArray<typeof Card.Card.Type>,
  networks: Networks
): Result.Result<ReadonlyArray<Addresses.Card>, readonly [option: string, reason: string]> => {
  const declared =
    vlans !== undefined || networks === undefined ? decoded : networks.slice(0, 1).map(({ vlan }) => vlan)
  const cards: Array<Addresses.Card> = []
  for (const [index, card] of declared.entries()) {
    const option = `vlans[${index}]`
    const resolved = Card.resolve(networks, card)
    if (Result.isFailure(resolved)) return Result.fail([option, resolved.failure])
    if (resolved.success.mac !== undefined && Image.startsItself(image)) {
      const reason = `${option}.mac must not be declared for a machine of a start script: the script decides it`
      return Result.fail([`${option}.mac`, reason])
    }
    cards.push(resolved.success)
  }
  return Result.succeed(cards)
}

/** What a start script decides, so that a declaration of it would say nothing. */
const scriptsOwn = ["memory", "cpus", "disks", "devices", "hotplug", "internet"] as const

/**
 * Checks one declaration and fills in the defaults. `networks` are those that the test declares; undefined if it declares none.
 *
 * Fails with `InvalidMachine` if the name is not a host name (RFC 1123), or leads elsewhere, such as `localhost` and `10`; if a field is not
 * known; if it is on a network that the test does not have; or if an option makes no sense or asks for more than the host has.
 */
export const check = Effect.fnUntraced(function* (name: string, options: MachineOptions, networks?: Networks) {
  const limits = yield* HostLimits
  const invalid = (option: string, reason: string) => new InvalidMachine({ machine: String(name), option, reason })
  const named = (isScript(options) ? scriptNameFrom : nameFrom)(name)
  if (Result.isFailure(named)) return yield* invalid("name", named.failure.reason)
  if (isImage(options)) {
    return yield* invalid("", "the declaration must be an object such as { image: Image.tiny() }, got only the image")
  }
  const decoded = optionsFrom(options)
  if (Result.isFailure(decoded)) {
    return yield* invalid(Decode.nameOf(decoded.failure.path, { whole: "" }), decoded.failure.reason)
  }
  const cards = cardsOf(options, decoded.success.vlans, networks)
  if (Result.isFailure(cards)) return yield* invalid(...cards.failure)
  const { warmUp, ...declared } = decoded.success
  const spec = { ...declared, vlans: cards.success }
  const defaults = isScript(options) ? Result.getOrUndefined(optionsFrom({ image: options.image })) : undefined
  // A fork is declared as its original is, defaults and all.
  const own = defaults && scriptsOwn.find((option) => JSON.stringify(spec[option]) !== JSON.stringify(defaults[option]))
  if (own !== undefined) {
    const [what, who] = options.image._tag === "MicrovmImage" ? ["runner", "runner"] : ["start script", "script"]
    return yield* invalid(own, `${own} must not be declared for a machine of a ${what}: the ${who} decides it`)
  }
  if (spec.memory > limits.memory) {
    return yield* invalid(
      "memory",
      `memory must be at most the ${size(limits.memory)} of this host, got ${size(spec.memory)}`
    )
  }
  if (spec.cpus > limits.cpus) {
    return yield* invalid("cpus", `cpus must be at most the ${limits.cpus} of this host, got ${spec.cpus}`)
  }
  const crowded = Hardware.crowd({ ...spec, name, warmUp: undefined })
  if (crowded !== undefined) return yield* invalid(...crowded)
  return {
    ...spec,
    name,
    backend: spec.backend,
    keyboardLayout: spec.keyboardLayout,
    // Not the decoded one: machines of one image are known to be that by its identity.
    image: options.image,
    warmUp: typeof warmUp === "function" ? { run: warmUp } : warmUp
  } satisfies MachineSpec as MachineSpec
})
