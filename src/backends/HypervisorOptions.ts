/**
 * The hypervisor of a machine, and what only some hypervisors can give it: huge pages, a balloon, folders of the host, a second console, a jail.
 *
 * **Example** (A machine whose memory is in huge pages)
 *
 * ```ts
 * const db = { image: Image.debian(), backend: { name: "firecracker", hugePages: true }, snapshot: false }
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Fields from "../host/Fields.ts"
import { type BackendName, names } from "./BackendName.ts"
import * as Limits from "./Limits.ts"

const mebibyte = 1024 * 1024

/** A tag that a guest mounts: virtiofs has room for 36 bytes. */
const isTag = (tag: string): boolean => /^[\w.-]{1,36}$/.test(tag)

const Shares = Schema.Record(Schema.String, Fields.text("an absolute path on the host", /^\//))
  .check(
    Schema.makeFilter((shares) => {
      const wrong = Object.keys(shares).find((tag) => !isTag(tag))
      return wrong === undefined
        ? undefined
        : `must have tags of at most 36 letters, digits, dots, hyphens and underscores, got ${JSON.stringify(wrong)}`
    })
  )
  .annotate({ expected: 'an object of tags and folders of the host, such as { work: "/srv/work" }' })

/** The kernel takes all but the greatest number; 0 is root, which a jail is not for. */
const Id = Schema.optional(Fields.whole(1, 2 ** 32 - 2))

const Jail = Schema.Union([Schema.Boolean, Schema.Struct({ uid: Id, gid: Id })]).annotate({
  expected: "true, false or an object { uid?, gid? }"
})

const options = {
  /** Whether its memory is in huge pages of 2 MiB, which the host must have reserved (`vm.nr_hugepages`). Default false. */
  hugePages: Schema.optional(Schema.Boolean),
  /**
   * How much of its memory a balloon takes from the guest, which must have the driver (`modprobe virtio_balloon`). The guest gets it back when it has
   * no other memory left. Default: no balloon.
   */
  balloon: Schema.optional(Fields.size({ least: mebibyte, most: Limits.mostBytes, unit: mebibyte })),
  /** Folders of the host by tags, which the guest mounts: `mount -t virtiofs work /mnt`. The host needs virtiofsd. Default none. */
  shares: Schema.optional(Shares),
  /** Whether it has `/dev/hvc0`, whose output is the file `hvc0.log` in its folder. Default false. */
  hvc0: Schema.optional(Schema.Boolean),
  /**
   * Whether Firecracker runs in a jail of its jailer, or as whom; `true` is the user and the group 65534 (`nobody`), which are also the defaults of `uid` and
   * `gid`. The host needs the jailer of the same release, and root. Default false.
   */
  jailer: Schema.optional(Jail)
}

/** The names of the options, each of which is a capability. */
export const optionNames = Object.keys(options) as ReadonlyArray<keyof typeof options>

const Named = Schema.Struct({ name: Schema.Literals(names), ...options })

const quoted = names.map((name) => JSON.stringify(name))
const expected = `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`

/** The name of a hypervisor, or an object with its name and options. */
export const Hypervisor = Schema.Union([Schema.Literals(names), Named]).annotate({
  expected: `${expected}, or an object { name, ${optionNames.map((name) => `${name}?`).join(", ")} }`
})

/** A hypervisor as it is declared, with sizes in bytes. */
export type Hypervisor = typeof Hypervisor.Type

/** What only some hypervisors can give a machine; sizes in bytes. */
export type HypervisorOptions = Omit<typeof Named.Type, "name">

/** Its name; undefined where none is declared. */
export const nameOf = (declared: Hypervisor | undefined): BackendName | undefined =>
  typeof declared === "object" ? declared.name : declared

/** Its options; undefined where none is declared. */
export const optionsOf = (declared: Hypervisor | undefined): HypervisorOptions | undefined => {
  if (typeof declared !== "object") return undefined
  const { name: _, ...given } = declared
  return Object.values(given).some((value) => value !== undefined && value !== false) ? given : undefined
}

/** The options that are asked for. */
export const asked = (given: HypervisorOptions | undefined): ReadonlyArray<(typeof optionNames)[number]> =>
  given === undefined ? [] : optionNames.filter((name) => given[name] !== undefined && given[name] !== false)
