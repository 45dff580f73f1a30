/** Builds a debian image: the base of its suite, and on top of it what the description asks for, as a read-only root. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { quote } from "../../host/Quote.ts"
import * as Store from "../../host/Store.ts"
import type { UserOptions } from "../Image.ts"
import * as Apt from "./apt.ts"
import { attempt, type Building } from "./building.ts"
import { marks } from "./buildLog.ts"
import * as Base from "./debianBase.ts"
import * as Entries from "./entries.ts"
import { cleanScript } from "./guestFiles.ts"
import * as Mmdebstrap from "./mmdebstrap.ts"
import type { DebianPlan, UnitPlan } from "./plan.ts"

/** What a debian image is built with. */
export const tools = ["apt-get", "apt-config", "dpkg-deb", "flock", "mmdebstrap", "mkfs.erofs", "tar", "unshare"]

/** Builds and stores; whatever goes wrong, nothing is left. */
export const build = Effect.fnUntraced(function* (building: Building, store: Store.Store, plan: DebianPlan) {
  const mirrors = yield* Apt.mirrorsFor(plan.suite, plan.mirror)
  const work = yield* building.workspace
  // Until the image is done: apt's lists and archives are read to the end, and two builds at once would only be slower.
  yield* Store.reserve(store, Apt.reservation, {
    onWait: (holder) => building.progress("waiting for another build", holder)
  })
  const apt = yield* Apt.open(building, Apt.folderOf(store), plan.suite, mirrors)
  const install = ["install", ...plan.packages]
  // A name that apt does not know is refused before the minutes of a base are spent.
  if (plan.packages.length > 0) yield* Apt.simulate(building, apt, install)
  const base = yield* Base.get(building, store, apt, plan)
  const status = Path.join(base.folder, Base.files.status)
  const resolved = plan.packages.length === 0 ? [] : yield* Apt.simulate(building, apt, install, status)
  yield* Apt.download(building, apt, resolved)
  const step = "building the image"
  const out = Path.join(work, "out")
  yield* attempt(building, step, work, () => {
    Fs.mkdirSync(out, { mode: 0o700 })
    for (const name of [Base.files.kernel, Base.files.initrd]) {
      Fs.linkSync(Path.join(base.folder, name), Path.join(out, name))
    }
  })
  const script = "/.vmtest-image"
  const overlay = yield* Base.writeTar(building, work, "overlay.tar", [
    ...unique([
      { path: "/etc/hostname", mode: 0o644, data: `${plan.hostname}\n` },
      ...plan.units.map(({ name, text }) => ({ path: `/etc/systemd/system/${name}`, mode: 0o644, data: text })),
      ...plan.files
    ]),
    { path: script, mode: 0o600, data: imageScript(plan) }
  ])
  yield* building.progress(step, plan.packages.join(" "))
  yield* Mmdebstrap.run(building, {
    step,
    work,
    apt,
    archives: resolved,
    variant: "custom",
    include: [],
    // The base has had all of it.
    skip: ["setup", "cleanup"],
    before: [`tar-in ${quote(Path.join(base.folder, Base.files.tarball))} /`, makeDevices],
    after: [
      ...(plan.packages.length === 0 ? [] : [`chroot "$1" apt-get --yes --no-download --quiet ${install.join(" ")}`]),
      `tar-in ${quote(overlay)} /`,
      Base.inside(script),
      makeRoot,
      `download ${rootImage} ${quote(Path.join(out, "root"))}`
    ],
    tarball: undefined
  })
  return yield* Entries.publish(building, store, out, {
    kind: "debian",
    name: plan.name,
    key: plan.key,
    suite: plan.suite,
    cmdline: plan.cmdline,
    packages: [
      ...new Set([...base.manifest.packages, ...resolved.map(({ name, version }) => `${name}=${version}`)])
    ].sort()
  })
})

/** A file of the description wins over one of ours. */
const unique = <A extends { readonly path: string }>(files: ReadonlyArray<A>): Array<A> => [
  ...new Map(files.map((file) => [file.path, file])).values()
]

const rootImage = "/.vmtest-root"

/** As mmdebstrap's own setup does: where nodes cannot be made or not be used, it binds those of the host by itself. */
const makeDevices = `
cd "$1" && mkdir -p dev && cd dev
if mknod -m 0666 null c 1 3 && echo >null; then
  mknod -m 0666 zero c 1 5 && mknod -m 0666 full c 1 7 && mknod -m 0666 random c 1 8
  mknod -m 0666 urandom c 1 9 && mknod -m 0666 tty c 5 0 && mknod -m 0600 console c 5 1
  mkdir pts shm && ln -s pts/ptmx ptmx
  ln -s /proc/self/fd fd && ln -s fd/0 stdin && ln -s fd/1 stdout && ln -s fd/2 stderr
else
  rm -f null
fi 2>/dev/null`

/**
 * The tree without what is mounted in it (a bind mount that is not recursive shows just that). LZ4 halves it, and guests
 * boot no slower for it, even under emulation.
 */
const makeRoot = `
root="$1"
if mount --bind "$1" "$1/mnt" 2>/dev/null; then root="$1/mnt"; fi
mkfs.erofs --quiet -zlz4 --exclude-path=${rootImage.slice(1)} "$1${rootImage}" "$root"
status=$?
if [ "$root" != "$1" ]; then umount "$root"; fi
exit $status`

/** Groups that no package has made are made. A user whom Debian or a package has made, such as root, is given what is asked for. */
const userLines = ([name, user]: readonly [string, UserOptions]): ReadonlyArray<string> => {
  const groups = (user.groups ?? []).filter((group) => group !== name)
  const uid = user.uid === undefined ? [] : [`--uid ${user.uid}`]
  const further = groups.length === 0 ? [] : [`--groups ${quote(groups.join(","))}`]
  const shell = (path: string) => `--shell ${quote(path)}`
  const changed = [
    ...uid,
    ...further.map((option) => `--append ${option}`),
    ...(user.shell === undefined ? [] : [shell(user.shell)])
  ]
  return [
    marks.begin(quote(`making the user ${name}`)),
    ...groups.map((group) => `getent group ${quote(group)} >/dev/null || groupadd --system ${quote(group)}`),
    `vm_gid=; if getent group ${name} >/dev/null; then vm_gid="--gid ${name}"; fi`,
    `if getent passwd ${name} >/dev/null; then`,
    changed.length === 0 ? "  :" : `  usermod ${changed.join(" ")} ${name}`,
    "else",
    `  ${["useradd --create-home", shell(user.shell ?? "/bin/bash"), ...uid, "$vm_gid", ...further, name].join(" ")}`,
    user.password === undefined ? `  passwd --quiet --delete ${name}` : "  :",
    "fi",
    ...(user.password === undefined ? [] : [`printf '%s:%s\\n' ${name} ${quote(user.password)} | chpasswd`]),
    ...(user.linger === true ? [`mkdir -p ${lingering}`, `: >${lingering}/${name}`] : [])
  ]
}

/** logind starts the service manager of each user who has a file here when it starts itself. */
const lingering = "/var/lib/systemd/linger"

/** Where a unit that does not say so itself is started. */
const startedBy: Readonly<Record<string, string>> = {
  socket: "sockets.target",
  timer: "timers.target",
  path: "paths.target"
}

const unitLines = ({ enabled, name, text }: UnitPlan): ReadonlyArray<string> => {
  if (!enabled) return []
  if (/^\[Install\]/m.test(text)) return [`systemctl enable --quiet -- ${quote(name)}`]
  const wants = `/etc/systemd/system/${startedBy[name.split(".").at(-1) ?? ""] ?? "multi-user.target"}.wants`
  return [`mkdir -p ${wants}`, `ln -sf ${quote(`/etc/systemd/system/${name}`)} ${wants}/`]
}

/** What a message calls a command: its first line, cut where that is long. */
const firstLine = (command: string): string => {
  const line = command.trim().split("\n")[0] ?? ""
  return line.length > 60 ? `${line.slice(0, 60)}…` : line
}

/** What is done inside the tree once packages and files are there. */
export const imageScript = (plan: Pick<DebianPlan, "users" | "files" | "units" | "setup">): string =>
  [
    "set -e",
    marks.start,
    "export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "cd /root",
    ...plan.users.flatMap(userLines),
    ...plan.files.flatMap(({ mode, owner, path }) =>
      owner === undefined
        ? []
        : [
            marks.begin(quote(`giving ${path} to ${owner}`)),
            `chown ${quote(owner)} ${quote(path)}`,
            // A change of owner takes the set-id bits away.
            `chmod ${mode.toString(8)} ${quote(path)}`
          ]
    ),
    marks.begin(quote("enabling the units")),
    ...plan.units.flatMap(unitLines),
    ...plan.setup.flatMap((command, index) => [
      marks.begin(quote(`setup command ${index + 1} (${firstLine(command)})`)),
      `(set -e\n${command}\n)`
    ]),
    marks.begin(quote("cleaning up")),
    cleanScript
  ].join("\n")
