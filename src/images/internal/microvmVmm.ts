/**
 * A runner of microvm.nix for Firecracker or Cloud Hypervisor, as the machine that it describes: vmtest's own backend starts that, since such a runner
 * takes no further arguments. Source: microvm.nix, `lib/runners/firecracker.nix` and `lib/runners/cloud-hypervisor.nix`.
 */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Disk from "../../host/Disk.ts"
import type { BootImage } from "../BootImage.ts"

/** The parts of the machine that a runner describes. */
export type Described = Pick<BootImage, "kernel" | "initrd" | "cmdline" | "root"> &
  Required<Pick<BootImage, "hardware">> & {
    /** What the image depends on, besides its text. */
    readonly text: string
  }

const mebibyte = 1024 * 1024

/** The words of a script's last command, as a shell reads them. */
const wordsOf = (text: string): ReadonlyArray<string> => {
  const last = text.slice(text.search(/^[ \t]*exec\s(?![\s\S]*^[ \t]*exec\s)/m)).replaceAll("\\\n", " ")
  return [...last.matchAll(/(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+/g)].map(([word]) =>
    word.replace(/'([^']*)'|"([^"]*)"|\\(.)/g, (_, single = "", double = "", escaped = "") => single + double + escaped)
  )
}

/** What vmtest says of the console and of panics itself. */
const cmdlineOf = (words: string): string =>
  words
    .split(/\s+/)
    .filter((word) => word !== "" && !/^(?:console|earlyprintk|panic)=/.test(word))
    .join(" ")

const Configuration = Schema.fromJsonString(
  Schema.Struct({
    "boot-source": Schema.Struct({
      kernel_image_path: Schema.String,
      initrd_path: Schema.optional(Schema.NullOr(Schema.String)),
      boot_args: Schema.optional(Schema.NullOr(Schema.String))
    }),
    "machine-config": Schema.Struct({ vcpu_count: Schema.Int, mem_size_mib: Schema.Int }),
    drives: Schema.Array(Schema.Struct({ path_on_host: Schema.String, is_read_only: Schema.Boolean }))
  })
)

/** The store of the guest, which is its only disk. */
const rootOf = (disks: ReadonlyArray<{ readonly path: string; readonly readOnly: boolean }>) => {
  const [store, ...volumes] = disks
  if (volumes.length > 0 || store?.readOnly === false) {
    const names = disks.filter(({ readOnly }) => !readOnly).map(({ path }) => path)
    return Result.fail(`must have no volumes, got ${names.join(", ") || volumes.map(({ path }) => path).join(", ")}`)
  }
  return Result.succeed(store?.path)
}

/** That of Firecracker is in a file in JSON. */
const fromFirecracker = (text: string): Effect.Effect<Described, string> =>
  Effect.gen(function* () {
    const words = wordsOf(text)
    const file = words[words.indexOf("--config-file") + 1] ?? ""
    if (!words.includes("--config-file"))
      return yield* Effect.fail("must give Firecracker its configuration with --config-file")
    const json = yield* Effect.try({
      try: () => Fs.readFileSync(file, "utf8"),
      catch: (error) => `must name a configuration that can be read, but ${file} could not be: ${Disk.reasonOf(error)}`
    })
    const found = yield* Effect.mapError(
      Schema.decodeEffect(Configuration)(json),
      ({ message }) => `must name a configuration of Firecracker, but ${file} is none: ${message.split("\n")[0]}`
    )
    const { "boot-source": source, "machine-config": machine, drives } = found
    const disks = drives.map(({ is_read_only, path_on_host }) => ({ path: path_on_host, readOnly: is_read_only }))
    return {
      kernel: source.kernel_image_path,
      initrd: source.initrd_path ?? "",
      cmdline: cmdlineOf(source.boot_args ?? ""),
      root: yield* Effect.fromResult(rootOf(disks)),
      hardware: { memory: machine.mem_size_mib * mebibyte, cpus: machine.vcpu_count },
      text: json
    }
  })

/** The fields of `key=value,key=value`; what is in brackets has commas of its own. */
const fieldsOf = (word: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    [...word.matchAll(/([\w-]+)=((?:\[[^\]]*\]|[^,[])*)/g)].map(([, key = "", value = ""]) => [key, value])
  )

const units: Readonly<Record<string, number>> = { "": 1, K: 1024, M: mebibyte, G: 1024 * mebibyte }

/** Bytes of a size such as `512M`. */
const bytesOf = (size = ""): number | undefined => {
  const [, number, unit = ""] = /^(\d+)([KMG]?)$/.exec(size) ?? []
  return number === undefined ? undefined : Number(number) * (units[unit] ?? 1)
}

/** That of Cloud Hypervisor is in its arguments. */
const fromCloudHypervisor = (text: string): Effect.Effect<Described, string> =>
  Effect.gen(function* () {
    const words = wordsOf(text)
    /** The values of an option, which may be given several at once, or several times. */
    const valuesOf = (option: string): ReadonlyArray<string> =>
      words.flatMap((word, index) => {
        if (word !== option) return []
        const rest = words.slice(index + 1)
        const end = rest.findIndex((other) => other.startsWith("--"))
        return end === -1 ? rest : rest.slice(0, end)
      })
    const [kernel] = valuesOf("--kernel")
    const memory = bytesOf(fieldsOf(valuesOf("--memory")[0] ?? "").size)
    const cpus = Number(fieldsOf(valuesOf("--cpus")[0] ?? "").boot)
    if (kernel === undefined || memory === undefined || !Number.isInteger(cpus) || cpus < 1) {
      return yield* Effect.fail("must give Cloud Hypervisor a kernel, memory and processors")
    }
    if (valuesOf("--fs").length > 0)
      return yield* Effect.fail("must have no shares; use shares of the machine's backend")
    const disks = valuesOf("--disk")
      .map(fieldsOf)
      .flatMap(({ path, readonly }) => (path === undefined ? [] : [{ path, readOnly: readonly === "on" }]))
    return {
      kernel,
      initrd: valuesOf("--initramfs")[0] ?? "",
      cmdline: cmdlineOf(valuesOf("--cmdline")[0] ?? ""),
      root: yield* Effect.fromResult(rootOf(disks)),
      hardware: { memory, cpus },
      text: ""
    }
  })

/** What describes a machine, by hypervisor. */
const described = { firecracker: fromFirecracker, "cloud-hypervisor": fromCloudHypervisor } as const

/** Whether the machine of a runner is one that is read from it. */
export const isDescribed = (hypervisor: string): hypervisor is keyof typeof described => hypervisor in described

/** The machine of a runner's text. Fails with what is wrong with the runner. */
export const describe = (hypervisor: keyof typeof described, text: string): Effect.Effect<Described, string> =>
  described[hypervisor](text)
