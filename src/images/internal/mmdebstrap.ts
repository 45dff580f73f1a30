/** mmdebstrap, which brings the rights: user namespaces where we are not root, mounts, and the first packages. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HostProcess from "../../host/HostProcess.ts"
import { quote } from "../../host/Quote.ts"
import type { Apt, Resolved } from "./apt.ts"
import { archiveName } from "./apt.ts"
import { attempt, type Building, failure, runTool, toolFailure } from "./building.ts"
import { causeOf } from "./buildLog.ts"
import { treeFolder } from "./scratch.ts"

/**
 * One run of mmdebstrap. Hooks are shell text with the tree in `$1`, or mmdebstrap's special ones (`tar-in a.tar /`), whose words are those of a
 * shell, too.
 */
export interface Run {
  readonly step: string
  readonly work: string
  readonly apt: Apt
  /** Packages that the run may install: there will be no network. */
  readonly archives: ReadonlyArray<Resolved>
  readonly variant: "minbase" | "custom"
  readonly include: ReadonlyArray<string>
  readonly skip: ReadonlyArray<string>
  /** Before apt looks at the tree. */
  readonly before: ReadonlyArray<string>
  /** When all is installed. */
  readonly after: ReadonlyArray<string>
  /** A tarball of the tree; undefined for none. */
  readonly tarball: string | undefined
}

/** What a guest of a test has no use for: documentation and translations, a third of a small system. */
const excluded = ["man/*", "locale/*", "doc/*", "info/*", "lintian/*"].map((path) => `/usr/share/${path}`)

/** Runs mmdebstrap to its end. */
export const run = Effect.fnUntraced(function* (building: Building, options: Run) {
  const { apt, step, work } = options
  const archives = Path.join(work, "archives")
  yield* attempt(building, step, work, () => {
    Fs.rmSync(archives, { recursive: true, force: true })
    Fs.mkdirSync(archives)
    for (const one of options.archives) {
      Fs.linkSync(Path.join(apt.archives, archiveName(one)), Path.join(archives, archiveName(one)))
    }
  })
  const before = [
    'mkdir -p "$1/var/lib/apt/lists/partial" "$1/var/cache/apt/archives/partial"',
    ...options.before,
    `sync-in ${quote(archives)} /var/cache/apt/archives`,
    `sync-in ${quote(apt.lists)} /var/lib/apt/lists`
  ]
  const mounts = yield* canMount
  const skip = ["update", "essential/unlink", ...options.skip, ...(mounts.possible ? [] : ["chroot/mount"])]
  const args = [
    "--mode=auto",
    `--variant=${options.variant}`,
    "--architectures=amd64",
    "--verbose",
    ...(options.include.length === 0 ? [] : [`--include=${options.include.join(",")}`]),
    '--aptopt=APT::Install-Recommends "false"',
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=force-unsafe-io",
    ...excluded.map((path) => `--dpkgopt=path-exclude=${path}`),
    `--skip=${skip.join(",")}`,
    ...before.map((hook) => `--setup-hook=${hook}`),
    ...options.after.map((hook) => `--customize-hook=${hook}`),
    options.tarball === undefined ? "--format=null" : "--format=tar",
    apt.suite,
    options.tarball ?? "-",
    "-"
  ]
  const command = [...mounts.prefix, "mmdebstrap", ...args]
  const said = yield* runTool(building, {
    step,
    path: work,
    command: command[0] ?? "mmdebstrap",
    args: command.slice(1),
    env: { TMPDIR: yield* treeFolder(building, work) },
    stdin: { text: apt.sources },
    onLine: yield* counter(building, step, options.archives.length)
  })
  if (said.exitCode === 0) return
  if (/unable to pick chroot mode automatically|subuid|unprivileged user namespaces/i.test(said.stderr)) {
    const reason =
      "needs root rights, or user namespaces (the package uidmap, and lines for this user in /etc/subuid and /etc/subgid)"
    return yield* failure(building, step, reason, said.stderr, work)
  }
  const output = said.stderr
  const cause = causeOf(output) ?? { reason: `mmdebstrap ended with ${said.status}`, said: "" }
  return yield* yield* toolFailure(building, { step, path: work }, { output, ...cause })
})

/** How often the progress of an installation is reported. */
const progressEvery = Duration.seconds(3)

/** Reports how many packages are set up. */
const counter = Effect.fnUntraced(function* (building: Building, step: string, total: number) {
  let count = 0
  let reported = yield* Clock.currentTimeMillis
  return Effect.fnUntraced(function* (line: string) {
    if (!line.startsWith("Setting up ")) return
    count++
    const now = yield* Clock.currentTimeMillis
    if (now - reported < Duration.toMillis(progressEvery)) return
    reported = now
    yield* building.progress(step, `${count} of ${total} packages set up`)
  })
})

/**
 * Root gets a mount namespace of the run's own, so that nothing stays mounted below a tree that is to be removed; root
 * in a container may have no right to mount at all, and builds without.
 */
const canMount = Effect.gen(function* () {
  if (process.getuid?.() !== 0) return { possible: true, prefix: [] }
  const probe = yield* HostProcess.run({ command: "unshare", args: ["--mount", "true"] })
  return probe.exitCode === 0
    ? { possible: true, prefix: ["unshare", "--mount", "--propagation", "private"] }
    : { possible: false, prefix: [] }
})
