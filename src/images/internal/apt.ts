/**
 * A private apt: its own sources, lists, status and archives in the cache, so that the host's package manager is neither
 * asked nor changed, and no rights are needed.
 *
 * Of the host's configuration only what is about reaching mirrors counts: proxies, and passwords of /etc/apt/auth.conf.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import type { SpawnFailed } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { ToolMissing } from "../../host/HostProcess.ts"
import type * as Store from "../../host/Store.ts"
import { type BuildFailed, type DiskFull, NoMirror, UnknownPackage } from "../ImageError.ts"
import { debianMirrors, type Mirrors, readHostSources, sourcesText } from "./aptSources.ts"
import { attempt, type Building, failure, must, runTool } from "./building.ts"

/** Debian signs its archives with these. */
export const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

/** Who uses apt's folders has this reservation of the store. */
export const reservation = "apt"

/** Where lists and archives are in a store. */
export const folderOf = (store: Store.Store): string => Path.join(store.root, "apt")

/** A private apt of one suite from certain mirrors. */
export interface Apt {
  readonly suite: string
  readonly folder: string
  /** The sources, for mmdebstrap too. */
  readonly sources: string
  readonly archives: string
  readonly lists: string
}

type ToolError = BuildFailed | DiskFull | ToolMissing | SpawnFailed

/** A package as apt would install it. */
export interface Resolved {
  readonly name: string
  readonly version: string
  readonly architecture: string
}

/** What apt calls the file of a package in its archives. */
export const archiveName = ({ architecture, name, version }: Resolved): string =>
  `${name}_${version.replaceAll(":", "%3a")}_${architecture}.deb`

/** Lines such as `Inst libc6 [2.35-1] (2.36-9 Debian:12.0/stable [amd64])` of a simulated installation. */
export const parseSimulation = (text: string): Array<Resolved> =>
  [...text.matchAll(/^Inst (\S+?)(?::\S+)? (?:\[[^\]]*\] )?\((\S+) [^[\n]*\[([^\]]+)\]/gm)].map(
    ([, name = "", version = "", architecture = ""]) => ({ name, version, architecture })
  )

/** The names that apt says do not exist; with the version, where only that does not. */
export const parseUnknown = (text: string): Array<string> => [
  ...new Set(
    [
      ...text.matchAll(/^E: Unable to locate package (\S+)/gm),
      ...text.matchAll(/^E: Package '([^']+)' has no installation candidate/gm),
      ...text.matchAll(/^E: Version '(?<version>[^']*)' for '([^']+)' was not found/gm),
      ...text.matchAll(/^E: Couldn't find any package by (?:glob|regex) '([^']+)'/gm)
    ].map((found) => {
      const name = found.at(-1) ?? ""
      return found.groups?.version === undefined ? name : `${name}=${found.groups.version}`
    })
  )
]

/** The first reason why packages cannot be installed together, and all that is about it: apt's advice before it is for people at a prompt. */
export const parseConflict = (stdout: string, stderr: string) => {
  const [, unmet] = /^The following packages have unmet dependencies:\n((?: .*\n?)+)/m.exec(stdout) ?? []
  const first = unmet?.split("\n")[0]?.trim().replace(" : ", ": ").replaceAll(/ +/g, " ")
  const reason = `apt cannot install these packages together${first === undefined ? "" : `: ${first}`}`
  return { reason, said: `${(unmet ?? stdout).trimEnd()}\n${stderr.trim()}` }
}

/** The settings of a host's `apt-config dump` that say how to reach mirrors. */
export const parseHostSettings = (dump: string): Array<string> =>
  dump
    .split("\n")
    .filter((line) =>
      /^Acquire::(http|https|ftp|socks|tor|ForceIPv[46]|Retries|Check-Valid-Until|Check-Date|Max-ValidTime)\b/i.test(
        line
      )
    )
    .filter((line) => !/^Acquire::\w+ "";$/.test(line))

/** Where a suite comes from: the image's own word, then the environment's, then the host's apt configuration. */
export const mirrorsFor = (suite: string, mirror: string | undefined): Effect.Effect<Mirrors, NoMirror> =>
  Effect.suspend(() => {
    const asked = mirror ?? process.env.VMTEST_DEBIAN_MIRROR
    const host = isDebian() ? debianMirrors(readHostSources("/etc/apt")) : undefined
    if (asked !== undefined && asked !== "") {
      const security = process.env.VMTEST_DEBIAN_SECURITY_MIRROR ?? (mirror === undefined ? host?.security : undefined)
      return Effect.succeed({ main: asked, security, updates: host?.updates ?? false })
    }
    if (host !== undefined) return Effect.succeed(host)
    return new NoMirror({
      suite,
      reason: isDebian() ? "the host's apt configuration does not name a Debian archive" : "this host is not Debian"
    })
  })

const isDebian = (): boolean =>
  Fs.existsSync("/etc/os-release") && /^ID="?debian"?$/m.test(Fs.readFileSync("/etc/os-release", "utf8"))

const fresh = 24 * 60 * 60 * 1000

/** Makes a private apt with package lists, at most a day old (as new as can be where the build refreshes). Needs its folder locked. */
export const open = Effect.fnUntraced(function* (building: Building, root: string, suite: string, mirrors: Mirrors) {
  if (!Fs.existsSync(keyring)) return yield* new ToolMissing({ tool: keyring, package: "debian-archive-keyring" })
  const sources = sourcesText(mirrors, suite, keyring)
  const folder = Path.join(root, `${suite}-${Digest.of(sources).slice(0, 12)}`)
  const apt: Apt = {
    suite,
    folder,
    sources,
    archives: Path.join(folder, "archives"),
    lists: Path.join(folder, "lists")
  }
  const host = yield* HostProcess.run({ command: "apt-config", args: ["dump"] })
  const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  yield* attempt(building, "preparing apt", folder, () => {
    for (const name of ["lists/partial", "archives/partial", "sources.d", "state"]) {
      Fs.mkdirSync(Path.join(folder, name), { recursive: true, mode: 0o700 })
    }
    Fs.writeFileSync(Path.join(folder, "sources.d", "vmtest.sources"), sources)
    Fs.writeFileSync(Path.join(folder, "status"), "")
    Fs.writeFileSync(Path.join(folder, "apt.conf"), configuration(parseHostSettings(host.stdout)))
    // By its time the store knows when packages were last used.
    Fs.utimesSync(root, now / 1000, now / 1000)
  })
  yield* update(building, apt, building.refresh ? 0 : fresh)
  return apt
})

/** Where apt has what: on its command line, because the syntax of its configuration has no way to write a quote. */
const folders = (apt: Apt): ReadonlyArray<string> =>
  Object.entries({
    "Dir::Etc::sourceparts": `${apt.folder}/sources.d`,
    "Dir::State": `${apt.folder}/state`,
    "Dir::State::lists": apt.lists,
    "Dir::State::status": `${apt.folder}/status`,
    "Dir::Cache": apt.folder,
    "Dir::Cache::archives": apt.archives
  }).flatMap(([name, path]) => ["-o", `${name}=${path}`])

const configuration = (host: ReadonlyArray<string>): string =>
  [
    'Dir::Etc::main "/dev/null";',
    'Dir::Etc::parts "/dev/null";',
    'Dir::Etc::sourcelist "/dev/null";',
    'Dir::Etc::preferences "/dev/null";',
    'Dir::Etc::preferencesparts "/dev/null";',
    // Root's downloads would be made by a user who may not write here.
    'APT::Sandbox::User "";',
    'APT::Architecture "amd64";',
    'APT::Architectures { "amd64"; };',
    'APT::Install-Recommends "false";',
    'APT::Get::Assume-Yes "true";',
    'Acquire::Languages "none";',
    'Acquire::Retries "2";',
    'Acquire::http::Timeout "30";',
    ...host,
    ""
  ].join("\n")

const env = (apt: Apt) => ({ APT_CONFIG: Path.join(apt.folder, "apt.conf") })

/** Fetches the lists if they are older than `age` milliseconds. Old lists do where no mirror answers. */
const update = Effect.fnUntraced(function* (building: Building, apt: Apt, age: number) {
  const marker = Path.join(apt.folder, "updated")
  const last = Fs.statSync(marker, { throwIfNoEntry: false })?.mtimeMs
  const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  if (last !== undefined && now - last < age) return
  yield* building.progress("fetching package lists", apt.suite)
  const step = "fetching package lists"
  const said = yield* runTool(building, {
    step,
    path: apt.folder,
    command: "apt-get",
    args: [...folders(apt), "update", "--error-on=any"],
    env: env(apt)
  })
  if (said.exitCode === 0) return yield* attempt(building, step, apt.folder, () => Fs.writeFileSync(marker, ""))
  if (last === undefined || building.refresh) {
    return yield* failure(building, step, `apt-get ended with ${said.status}`, said.stderr, apt.folder)
  }
  yield* building.progress("using old package lists", "no mirror could be reached")
})

/** What apt would install for these, on top of a dpkg status file (default: of nothing). */
export const simulate: (
  building: Building,
  apt: Apt,
  what: ReadonlyArray<string>,
  status?: string
) => Effect.Effect<ReadonlyArray<Resolved>, ToolError | UnknownPackage> = Effect.fnUntraced(function* (
  building: Building,
  apt: Apt,
  what: ReadonlyArray<string>,
  status?: string
) {
  const step = "resolving packages"
  const said = yield* runTool(building, {
    step,
    path: apt.folder,
    command: "apt-get",
    args: [...folders(apt), ...statusOption(status), "--simulate", "--quiet", ...what],
    env: env(apt)
  })
  if (said.exitCode === 0) return parseSimulation(said.stdout)
  const packages = parseUnknown(said.stderr)
  const reason = said.stderr.trim()
  if (packages.length > 0) return yield* new UnknownPackage({ image: building.image, packages, reason })
  // apt explains unmet dependencies on its standard output.
  const conflict = parseConflict(said.stdout, said.stderr)
  return yield* failure(building, step, conflict.reason, conflict.said, apt.folder)
})

const statusOption = (status: string | undefined) =>
  status === undefined ? [] : ["-o", `Dir::State::status=${status}`]

/** Fetches the archives of packages that are not there yet; `what` is as for `simulate`. */
export const download: (
  building: Building,
  apt: Apt,
  packages: ReadonlyArray<Resolved>
) => Effect.Effect<void, ToolError> = Effect.fnUntraced(function* (building, apt, packages) {
  const missing = packages.filter((one) => !Fs.existsSync(Path.join(apt.archives, archiveName(one))))
  if (missing.length === 0) return
  yield* building.progress("downloading packages", `${missing.length} of ${packages.length}`)
  const names = missing.map(({ architecture, name, version }) =>
    architecture === "all" ? `${name}=${version}` : `${name}:${architecture}=${version}`
  )
  const step = "downloading packages"
  // Files arrive under their final name only after apt has checked them; `partial` keeps an interrupted one.
  const partial = Path.join(apt.archives, "partial")
  yield* must(building, {
    step,
    path: apt.archives,
    command: "apt-get",
    args: [...folders(apt), "download", "--quiet", ...names],
    cwd: partial,
    env: env(apt)
  })
  yield* attempt(building, step, apt.archives, () => {
    for (const one of missing) {
      Fs.renameSync(Path.join(partial, archiveName(one)), Path.join(apt.archives, archiveName(one)))
    }
  })
})

/** The package that a metapackage stands for and its version, by the pattern of its name. */
export const candidate = Effect.fnUntraced(function* (
  building: Building,
  apt: Apt,
  metapackage: string,
  pattern: RegExp
) {
  const resolved = yield* simulate(building, apt, ["install", metapackage])
  const found = resolved.find(({ name }) => pattern.test(name))
  if (found === undefined) {
    return yield* failure(
      building,
      "resolving packages",
      `${metapackage} does not depend on a package like ${pattern.source}`,
      "",
      apt.folder
    )
  }
  return found
})
