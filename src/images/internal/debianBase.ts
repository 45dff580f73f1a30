/**
 * The part that all debian images of a suite share, kept as a tarball: installing it takes most of a build, so each image
 * starts from it and adds its own.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import { quote } from "../../host/Quote.ts"
import type * as Store from "../../host/Store.ts"
import * as Cpio from "../Cpio.ts"
import * as Apt from "./apt.ts"
import { attempt, type Building, must } from "./building.ts"
import * as Entries from "./entries.ts"
import * as GuestFiles from "./guestFiles.ts"
import * as Kernel from "./kernel.ts"
import * as Mmdebstrap from "./mmdebstrap.ts"
import type { DebianPlan } from "./plan.ts"
import { builderVersion } from "./plan.ts"
import { trimTail } from "./tar.ts"

/**
 * Besides what is essential or required in Debian. Without libpam-systemd a user has no service manager, and a login no session: half a megabyte
 * that costs a boot nothing, since nobody logs in.
 */
export const basePackages: ReadonlyArray<string> = [
  ...["dbus", "iproute2", "iputils-ping", "kmod", "libpam-systemd", "netbase", "procps", "systemd", "systemd-sysv"],
  "udev"
]

/** What apt installs for a base; on top of nothing. */
const everything = (suite: string): ReadonlyArray<string> => [
  ...["install", "?essential", "?priority(required)", "apt", ...basePackages],
  ...(suite === converts ? ["usr-is-merged", "usrmerge-"] : [])
]

/**
 * The one suite whose essential packages ask for `usrmerge`, which converts old systems and brings all of Perl, or for
 * `usr-is-merged`, which only looks. A tree that is merged from the start needs no more than the second.
 */
const converts = "bookworm"

const pin = "/etc/apt/preferences.d/vmtest"

const merged = `
for name in bin sbin lib lib32 lib64 libx32; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1/$name"; done
mkdir -p "$1/etc/apt/preferences.d"
printf 'Package: usrmerge\\nPin: release *\\nPin-Priority: -1\\n' >"$1${pin}"`

/** Names of a base's files. */
export const files = { tarball: "base.tar", kernel: "kernel", initrd: "initrd", status: "status" } as const

/** Writes a tar of files with their modes; owned by root, without entries for folders, so that links to folders stay. */
export const writeTar = Effect.fnUntraced(function* (
  building: Building,
  work: string,
  name: string,
  members: ReadonlyArray<{ readonly path: string; readonly mode: number; readonly data: Uint8Array | string }>
) {
  const step = "collecting files"
  const stage = Path.join(work, `${name}.stage`)
  const tarball = Path.join(work, name)
  yield* attempt(building, step, stage, () => {
    Fs.mkdirSync(stage)
    for (const { data, mode, path } of members) {
      const place = Path.join(stage, path)
      Fs.mkdirSync(Path.dirname(place), { recursive: true })
      Fs.writeFileSync(place, data)
      Fs.chmodSync(place, mode)
    }
  })
  yield* must(building, {
    step,
    path: tarball,
    command: "tar",
    args: [
      ...["--create", "--file", tarball, "--directory", stage, "--owner=0", "--group=0", "--numeric-owner"],
      ...["--no-recursion", "--null", "--verbatim-files-from", "--files-from=-"]
    ],
    stdin: { text: members.map(({ path }) => `.${path}\0`).join("") }
  })
  return tarball
})

/** Runs shell text inside the tree, from a file that `writeTar` put at this path. */
export const inside = (script: string): string => `chroot "$1" /bin/sh -e ${script} && rm -f "$1${script}"`

/**
 * A base that is up to date by apt's package lists; built if there is none. Needs apt's lock, for its archives.
 *
 * The entry is pinned.
 */
export const get = Effect.fnUntraced(function* (
  building: Building,
  store: Store.Store,
  apt: Apt.Apt,
  plan: DebianPlan
) {
  const kernel = yield* Kernel.packages(building, apt, plan.kernel)
  const inputs = { version: builderVersion, sources: apt.sources, basePackages, kernel, modules: plan.modules }
  const key = Digest.ofValue({ ...inputs, guest: GuestFiles.sourcesOf(plan.kernel) })
  const found = yield* Entries.find(store, key, (entry) =>
    Apt.simulate(building, apt, ["dist-upgrade"], Path.join(entry.folder, files.status)).pipe(
      Effect.map((upgrades) => upgrades.length === 0)
    )
  )
  return found ?? (yield* Effect.scoped(build(building, store, apt, plan, kernel, key)))
})

const build = Effect.fnUntraced(function* (
  building: Building,
  store: Store.Store,
  apt: Apt.Apt,
  plan: DebianPlan,
  which: Kernel.KernelPackages,
  key: string
) {
  const work = yield* building.workspace
  const resolved = yield* Apt.simulate(building, apt, everything(apt.suite))
  yield* Apt.download(building, apt, resolved)
  const kernel = yield* Kernel.unpack(building, apt, which, work)
  const modules = yield* Kernel.selectModules(building, kernel, plan.modules, work)
  const step = "installing the base system"
  const out = Path.join(work, "out")
  yield* attempt(building, step, work, () => {
    Fs.mkdirSync(out, { mode: 0o700 })
    Fs.writeFileSync(Path.join(out, files.kernel), kernel.image)
    const initramfs = GuestFiles.debianInitramfs(kernel.busybox, modules)
    Fs.writeFileSync(Path.join(out, files.initrd), Zlib.gzipSync(Cpio.encode(initramfs)))
  })
  const modulesTar = Path.join(work, "modules.tar")
  yield* must(building, {
    step,
    path: modulesTar,
    command: "tar",
    args: [
      "--create",
      "--file",
      modulesTar,
      "--directory",
      Path.dirname(kernel.modules),
      "--owner=0",
      "--group=0",
      "modules"
    ]
  })
  const script = "/.vmtest-base"
  const own = Object.entries(GuestFiles.debianFilesOf(plan.kernel)).map(([path, data]) => ({
    path,
    mode: GuestFiles.executable.has(path) ? 0o755 : 0o644,
    data
  }))
  const guestTar = yield* writeTar(building, work, "guest.tar", [
    ...own,
    GuestFiles.debianProgram,
    { path: script, mode: 0o600, data: GuestFiles.debianScript(kernel.release) }
  ])
  yield* building.progress(step, `${resolved.length} packages`)
  yield* Mmdebstrap.run(building, {
    step,
    work,
    apt,
    archives: resolved,
    variant: "minbase",
    include: basePackages,
    // Device nodes cannot be unpacked without root rights.
    skip: ["output/dev"],
    before: apt.suite === converts ? [merged] : [],
    after: [
      `rm -f "$1${pin}"`,
      `tar-in ${quote(modulesTar)} /usr/lib`,
      `tar-in ${quote(guestTar)} /`,
      inside(script),
      `download /var/lib/dpkg/status ${quote(Path.join(out, files.status))}`
    ],
    tarball: Path.join(out, files.tarball)
  })
  yield* attempt(building, step, out, () => trimTail(Path.join(out, files.tarball)))
  return yield* Entries.publish(building, store, out, {
    kind: "base",
    name: `base of debian ${plan.suite}${plan.kernel === undefined ? "" : ` with the ${plan.kernel} kernel`}`,
    key,
    suite: plan.suite,
    cmdline: "",
    packages: [...resolved, which.kernel].map(({ name, version }) => `${name}=${version}`)
  })
})
