/**
 * Descriptions of what a machine boots. A description is plain data; `ImageStore` builds it.
 *
 * **Example** (a web server with a page)
 *
 * ```ts
 * const image = Image.debian({
 *   packages: ["nginx-light"],
 *   files: { "/var/www/html/index.html": "hello\n" }
 * })
 * ```
 *
 * Each has its schema here; one that does not fit is a `BadImage` before anything is built.
 *
 * @since 0.1.0
 */
import * as Path from "node:path"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Fields from "../host/Fields.ts"

/** A file to put into a guest, with how it should look there: its `content` or a `source`. */
export const FileOptions = Schema.Struct({
  /** The content itself. Either this or `source`. */
  content: Schema.optional(Fields.Content),
  /** A file or a whole folder of the host; relative to the working folder. */
  source: Schema.optional(Schema.String),
  /** Permission bits, for example `0o755`. Default: 0o755 for a `source` that can be executed, else 0o644. */
  mode: Schema.optional(Fields.whole(0, 0o7777).annotate({ expected: "permission bits, such as 0o644" })),
  /** `user`, `user:group` or numbers, as chown takes them in the guest. Default root. Not for `Image.tiny`. */
  owner: Schema.optional(Fields.text("user or user:group", /^[a-z0-9_][a-z0-9_.-]*(:[a-z0-9_][a-z0-9_.-]*)?$/i))
}).check(
  Schema.makeFilter(({ content, source }) =>
    (content === undefined) === (source === undefined) ? "must have either `content` or `source`" : undefined
  )
)

/** A file to put into a guest, with how it should look there. */
export interface FileOptions extends Schema.Schema.Type<typeof FileOptions> {}

/** A file to put into a guest: its content, or where on the host it is. */
export type FileContent = string | Uint8Array | FileOptions

const FileContent = Schema.Union([Schema.String, Fields.Bytes, FileOptions]).annotate({
  expected: "a string, a Uint8Array, or an object with either `content` or `source`"
})

/** Checks the names of an object's members; the error names the first that does not fit. */
const names = (expected: string, fits: (name: string) => boolean) =>
  Schema.makeFilter((members: Readonly<Record<string, unknown>>) => {
    const wrong = Object.keys(members).find((name) => !fits(name))
    return wrong === undefined
      ? undefined
      : { path: [wrong], issue: `cannot be called that: the name must be ${expected}` }
  })

const Files = Schema.Record(Schema.String, FileContent)
  .annotate({ expected: "an object of paths in the guest and their contents" })
  .check(
    names(
      "the absolute path of a file in the guest, without . or .. in it",
      (path) =>
        path.startsWith("/") && !path.includes("\0") && Path.posix.normalize(path) === path && !path.endsWith("/")
    )
  )

/** Absolute paths in the guest, and what is there. Folders on the way are made as needed. */
export type Files = typeof Files.Type

const groupName = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/

/** The kernel keeps the last number for "none". */
const mostId = 2 ** 32 - 2

/** A user of the guest. One that Debian or a package has made already, such as root, is given what is asked for. */
export const UserOptions = Schema.Struct({
  uid: Schema.optional(Fields.whole(0, mostId)),
  /** Further groups; those that no package makes are made. */
  groups: Schema.optional(Schema.Array(Fields.text('the name of a group, such as "sudo"', groupName))),
  /** Default /bin/bash. */
  shell: Schema.optional(Fields.text("the absolute path of a shell in the guest", /^\/[^\n\0:]*$/)),
  /** In the clear: this is a test's guest. Default: none, logging in needs no password. */
  password: Schema.optional(Fields.text("a string of one line that is not empty", /^[^\n\0]+$/)),
  /** Whether the user's service manager starts at boot, and without a login (`loginctl enable-linger`). Default false. */
  linger: Schema.optional(Schema.Boolean)
}).annotate({ expected: "an object of options, such as { uid: 1000 }", aliases: { passwd: "password" } })

/** A user of the guest. */
export interface UserOptions extends Schema.Schema.Type<typeof UserOptions> {}

/** Which of Debian's kernels an image has; docs/images.md lists what each lacks. */
export const KernelName = Schema.Literals(["cloud", "generic"])

/** Which of Debian's kernels an image has. */
export type KernelName = typeof KernelName.Type

/** What every image built from Debian packages takes. */
export const SuiteOptions = Schema.Struct({
  /** `"generic"` is Debian's usual kernel, with drivers for USB, sound, watchdogs and graphics. Default `"cloud"`, which is smaller. */
  kernel: Schema.optional(KernelName),
  /** Debian's code name. Default `bookworm`, whatever the host runs. */
  suite: Schema.optional(Fields.text('the name of a Debian release, such as "bookworm"', /^[a-z][a-z0-9-]*$/)),
  /**
   * Where the suite comes from. Default: `VMTEST_DEBIAN_MIRROR` if it is set, else the host's own apt configuration on
   * a Debian host. Packages are always verified with Debian's archive keyring.
   */
  mirror: Schema.optional(
    Fields.text('the address of a mirror, such as "http://mirror.example/debian"', /^(https?|mirror\+?\w*):\S+$/)
  ),
  /** Appended to the kernel's command line. */
  kernelParameters: Schema.optional(Fields.text("a string of one line", (text) => !/[\n\0]/.test(text)))
})

/** What every image built from Debian packages takes. */
export interface SuiteOptions extends Schema.Schema.Type<typeof SuiteOptions> {}

/** Options of {@link tiny}. */
export const TinyOptions = Schema.Struct({
  files: Schema.optional(Files),
  /** Kernel modules to load besides virtio's, by name; what they depend on comes along. */
  modules: Schema.optional(
    Schema.Array(Fields.text("the name of a kernel module", /^[A-Za-z0-9_-]+$/)).annotate({
      expected: "an array of names of kernel modules"
    })
  ),
  ...SuiteOptions.fields
}).annotate({ expected: "an object of options, such as { files: {} }" })

/** Options of {@link tiny}. */
export interface TinyOptions extends Schema.Schema.Type<typeof TinyOptions> {}

/** A systemd unit to put into a guest. */
export const UnitOptions = Schema.Struct({
  text: Schema.String,
  /** Default true. A service without an [Install] section is started with multi-user.target. */
  enabled: Schema.optional(Schema.Boolean)
})

/** A systemd unit to put into a guest. */
export interface UnitOptions extends Schema.Schema.Type<typeof UnitOptions> {}

// deb-version(7), and the names of Debian Policy 5.6.1; nothing that apt would read as an option or a pattern.
const packageName = /^[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9]+)?([=/][A-Za-z0-9.+:~-]+)?$/
const unitName = /^[A-Za-z0-9:_.\\@-]+\.(service|socket|target|timer|path|mount|automount|swap|slice)$/

/** Options of {@link debian}. */
export const DebianOptions = Schema.Struct({
  /** Package names, or `name=version`. Recommended packages do not come along by themselves. */
  packages: Schema.optional(
    Schema.Array(
      Fields.text('the name of a Debian package, such as "nginx-light" or "curl=7.88.1"', packageName)
    ).annotate({
      expected: 'an array of names of Debian packages, such as ["nginx-light"]'
    })
  ),
  files: Schema.optional(Files),
  /** systemd units by full name (`echo.service`): their text, enabled. `{ text, enabled: false }` only puts it there. */
  units: Schema.optional(
    Schema.Record(
      Schema.String,
      Schema.Union([Schema.String, UnitOptions]).annotate({ expected: "the text of a unit, or { text, enabled? }" })
    )
      .annotate({ expected: "an object of unit names and their texts" })
      .check(names("the whole of a unit's, such as echo.service", (name) => unitName.test(name)))
  ),
  users: Schema.optional(
    Schema.Record(Schema.String, UserOptions)
      .annotate({ expected: "an object of user names and their options" })
      .check(
        names("that of a user, such as alice", (name) => /^[a-z_][a-z0-9_-]{0,31}$/.test(name)),
        Schema.makeFilter((users: Readonly<Record<string, UserOptions>>) => {
          const owners = new Map<number, string>([[0, "root"]])
          for (const [name, { uid }] of Object.entries(users)) {
            if (uid === undefined) continue
            const owner = owners.get(uid)
            if (owner !== undefined && owner !== name)
              return { path: [name, "uid"], issue: `must differ from that of ${owner}, got ${uid}` }
            owners.set(uid, name)
          }
          return undefined
        })
      )
  ),
  /** Default `vmtest`. The driver gives each machine its own name when it boots. */
  hostname: Schema.optional(Fields.text("a host name", /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i)),
  /** Commands for sh, as root inside the image, after everything else is in place. One that fails fails the build. */
  setup: Schema.optional(
    Schema.Union([Schema.String, Schema.Array(Schema.String)]).annotate({
      expected: "a command, or an array of commands"
    })
  ),
  ...SuiteOptions.fields
}).annotate({ expected: "an object of options, such as { packages: [] }" })

/** Options of {@link debian}. */
export interface DebianOptions extends Schema.Schema.Type<typeof DebianOptions> {}

/** Options of {@link disk}. */
export const DiskOptions = Schema.Struct({
  /** A raw or qcow2 disk; relative to the working folder. It is never written to. */
  path: Schema.String,
  /** Default: by the file's first bytes. */
  format: Schema.optional(Schema.Literals(["raw", "qcow2"])),
  /** Boots this kernel instead of what the disk's boot loader starts. */
  kernel: Schema.optional(Schema.String),
  initrd: Schema.optional(Schema.String),
  /** For `kernel`, without `console=`. */
  cmdline: Schema.optional(Schema.String)
})

/** Options of {@link disk}. */
export interface DiskOptions extends Schema.Schema.Type<typeof DiskOptions> {}

const eitherWay = Schema.makeFilter(
  ({ command, path }: { readonly command?: string | undefined; readonly path?: string | undefined }) =>
    (command === undefined) === (path === undefined) ? "must have either `path` or `command`" : undefined
)

/** What everything takes that starts QEMU itself. */
const StartScriptFields = {
  /** Environment variables for it, besides the driver's own. */
  env: Schema.optional(Fields.Texts),
  /**
   * Whether QEMU gets virtio ports for commands. Default true. With `false`, and where QEMU does not take them, commands go over `/dev/hvc0`
   * alone: whole, but some twenty times slower.
   */
  ports: Schema.optional(Schema.Boolean),
  /** Whether QEMU may open a window. Default false. */
  graphic: Schema.optional(Schema.Boolean),
  /** How long the script may take until QEMU runs. Default 2 minutes. */
  timeout: Schema.optional(Fields.time())
}

/** Options of {@link startScript}. */
export const StartScriptOptions = Schema.Struct({
  /** A start script: a program that runs QEMU, such as `result/bin/run-web-vm`; relative to the working folder. Either this or `command`. */
  path: Schema.optional(Fields.filled("the path of a start script")),
  /** A command line of QEMU, for a shell in the machine's folder. Either this or `path`. */
  command: Schema.optional(Fields.filled("a command line of QEMU")),
  ...StartScriptFields
})
  .check(eitherWay)
  .annotate({ expected: 'an object of options, such as { path: "result/bin/run-web-vm" }' })

/** Options of {@link startScript}. */
export interface StartScriptOptions extends Schema.Schema.Type<typeof StartScriptOptions> {}

/** Options of {@link microvm}. */
export const MicrovmOptions = Schema.Struct({
  /** The folder that Nix builds for a microVM, with `bin/microvm-run` in it, or that program; relative to the working folder. */
  runner: Fields.filled("the path of a runner of microvm.nix"),
  ...StartScriptFields
}).annotate({ expected: 'an object of options, such as { runner: "result" }' })

/** Options of {@link microvm}. */
export interface MicrovmOptions extends Schema.Schema.Type<typeof MicrovmOptions> {}

const optionsOf = {
  tiny: Object.keys(TinyOptions.fields),
  debian: Object.keys(DebianOptions.fields),
  disk: Object.keys(DiskOptions.fields),
  startScript: Object.keys(StartScriptOptions.fields),
  microvm: Object.keys(MicrovmOptions.fields)
}

/** Where the options of images are that `own` does not have, for messages: `packages` is an option of `Image.debian`. */
export const elsewhere = (own: ReadonlyArray<string>): Readonly<Record<string, string>> => {
  const all = Object.values(optionsOf).flat()
  return Object.fromEntries(
    all
      .filter((option) => !own.includes(option))
      .map((option) => {
        const owners = Object.entries(optionsOf).filter(([, options]) => options.includes(option))
        const names = owners.map(([name]) => `Image.${name}`)
        return [option, names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`]
      })
  )
}

/** The options of a machine's declaration that are mistaken for an image's. */
const ofMachines = Object.fromEntries(
  ["memory", "cpus", "disks", "devices", "vlans", "forwards", "internet", "allowReboot", "snapshot", "warmUp"].map(
    (option) => [option, "the machine, beside image"]
  )
)

const others = (own: keyof typeof optionsOf) => ({ elsewhere: { ...ofMachines, ...elsewhere(optionsOf[own]) } })

/** A description by its tag, as `tiny`, `debian`, `disk`, `startScript` and `microvm` make them. */
export const schemas = {
  TinyImage: Schema.Struct({ _tag: Schema.Literal("TinyImage"), ...TinyOptions.fields }).annotate(others("tiny")),
  DebianImage: Schema.Struct({ _tag: Schema.Literal("DebianImage"), ...DebianOptions.fields }).annotate(
    others("debian")
  ),
  DiskImage: Schema.Struct({ _tag: Schema.Literal("DiskImage"), ...DiskOptions.fields }).annotate(others("disk")),
  StartScriptImage: Schema.Struct({ _tag: Schema.Literal("StartScriptImage"), ...StartScriptOptions.fields })
    .check(eitherWay)
    .annotate(others("startScript")),
  MicrovmImage: Schema.Struct({ _tag: Schema.Literal("MicrovmImage"), ...MicrovmOptions.fields }).annotate(
    others("microvm")
  )
}

/** Busybox and a kernel, see {@link tiny}. */
export interface TinyImage extends TinyOptions {
  readonly _tag: "TinyImage"
}

/** Debian with systemd, see {@link debian}. */
export interface DebianImage extends DebianOptions {
  readonly _tag: "DebianImage"
}

/** A disk of the user's own, see {@link disk}. */
export interface DiskImage extends DiskOptions {
  readonly _tag: "DiskImage"
}

/** A system that a program of its own starts, see {@link startScript}. */
export interface StartScriptImage extends StartScriptOptions {
  readonly _tag: "StartScriptImage"
}

/** A system that a runner of microvm.nix starts, see {@link microvm}. */
export interface MicrovmImage extends MicrovmOptions {
  readonly _tag: "MicrovmImage"
}

/** What a machine boots. */
export type Image = TinyImage | DebianImage | DiskImage | StartScriptImage | MicrovmImage

/**
 * Busybox on Debian's cloud kernel (or its generic one), all in memory: builds in seconds and boots in about three under emulation.
 *
 * There is no systemd in it: commands, files and processes work, units do not.
 */
export const tiny = (options: TinyOptions = {}): TinyImage => ({ ...options, _tag: "TinyImage" })

/**
 * Debian with systemd, D-Bus, udev and iproute2, and whatever packages, files and units are asked for.
 *
 * The root is read-only on disk under a memory file system, so every boot starts from the same state.
 */
export const debian = (options: DebianOptions = {}): DebianImage => ({ ...options, _tag: "DebianImage" })

/**
 * Any disk with a root shell on a virtio port named `vmtest.0`, which prints `vmtest: shell ready` when it starts and
 * then reads commands.
 */
export const disk = (options: DiskOptions): DiskImage => ({ ...options, _tag: "DiskImage" })

/** Whether a window of QEMU's would have a display to be on. */
export const hasDisplay = (env: NodeJS.ProcessEnv = process.env): boolean =>
  ["DISPLAY", "WAYLAND_DISPLAY"].some((name) => env[name] !== undefined)

/**
 * A system that a start script of NixOS (`run-NAME-vm`) or any other command line of QEMU starts, with a root shell on `/dev/hvc0`, as the guests
 * of NixOS tests have it.
 *
 * A string is a path, or with a blank in it a command line.
 */
export const startScript = (script: string | StartScriptOptions): StartScriptImage => ({
  ...(typeof script !== "string" ? script : /\s/.test(script.trim()) ? { command: script } : { path: script.trim() }),
  _tag: "StartScriptImage"
})

/**
 * A system that a runner of microvm.nix starts (`config.microvm.declaredRunner`, with `bin/microvm-run`), with a root shell on `/dev/hvc0`, as the
 * guests of NixOS tests have it. The runner must be one for QEMU: vmtest has no backend for the other hypervisors yet.
 *
 * A string is the runner's path.
 */
export const microvm = (runner: string | MicrovmOptions): MicrovmImage => ({
  ...(typeof runner === "string" ? { runner } : runner),
  _tag: "MicrovmImage"
})

/** Whether a program of its own starts the system of an image, which decides about its hardware, name and addresses. */
export const startsItself = (image: Image): image is StartScriptImage | MicrovmImage =>
  Predicate.isTagged(image, "StartScriptImage") || Predicate.isTagged(image, "MicrovmImage")

export {
  /**
   * What messages and the terminal call an image: its kind, and what it has besides: `debian with nginx-light, 2 files #3f2a`. Images that differ
   * have different names; the mark at the end stands for what the words leave out.
   */
  describe
} from "./internal/describe.ts"
