/**
 * `vmtest doctor`: checks this host, and prints the commands that install what is missing.
 *
 * **Example** (Check this host)
 *
 * ```sh
 * vmtest doctor
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as NodePath from "node:path"
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { names } from "../backends/BackendName.ts"
import * as Backends from "../backends/Backends.ts"
import * as Cache from "../host/Cache.ts"
import * as HostProcess from "../host/HostProcess.ts"
import * as ImageStore from "../images/ImageStore.ts"
import * as Bridge from "../network/Bridge.ts"
import type { FabricUnavailable } from "../network/Vlan.ts"
import type { Invocation } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Host from "./Host.ts"
import requirements from "./requirements.json" with { type: "json" }
import { logToStderr, print, type Work } from "./Subcommand.ts"

/** The result of one check. */
export interface Finding {
  readonly what: string
  /** `limited`: works, with the drawback that `detail` names. `missing`: some or all of vmtest does not work. */
  readonly state: "ok" | "limited" | "missing"
  /** What was found, or why not. */
  readonly detail: string
  /** The Debian package that provides it. */
  readonly package?: string
  /** A command that fixes it, where installing a package does not. */
  readonly fix?: string
}

const size = (bytes: number) => ByteSize.format(ByteSize.fromInputUnsafe(Math.floor(bytes)))

const node: Effect.Effect<ReadonlyArray<Finding>> = Effect.sync(() => [
  { what: "node", state: "ok", detail: process.version },
  {
    what: "host",
    state: "ok",
    detail: `${Os.availableParallelism()} processors, ${size(Os.totalmem())} of memory, ${size(Os.freemem())} free`
  }
])

const hypervisor: Effect.Effect<ReadonlyArray<Finding>> = Host.findings({ refresh: true }).pipe(
  Effect.provide(logToStderr),
  Effect.map(
    ({ accelerator, qemu }): ReadonlyArray<Finding> => [
      { what: "hypervisor qemu", state: "ok", detail: `${qemu.version}, ${qemu.path}` },
      {
        what: "accelerator",
        state: accelerator.name === "kvm" ? "ok" : "limited",
        detail:
          accelerator.name === "kvm"
            ? `kvm: ${accelerator.reason}`
            : `tcg (emulation, several times slower than hardware): ${accelerator.reason}`,
        ...(/group kvm/.test(accelerator.reason)
          ? { fix: `sudo usermod -aG kvm ${Os.userInfo().username}   # then log in again` }
          : {})
      }
    ]
  ),
  Effect.catch((error) =>
    Effect.succeed<ReadonlyArray<Finding>>([{ what: "hypervisor qemu", state: "missing", detail: error.message }])
  )
)

/** The row of a hypervisor besides QEMU, from what running a guest on it found out. Only machines that are declared with it need it. */
export const hypervisorFinding = (
  name: string,
  probed: Result.Result<Backends.Probed, { readonly message: string }>
): Finding => {
  const what = `hypervisor ${name}`
  if (Result.isFailure(probed)) {
    return {
      what,
      state: "limited",
      detail: `${probed.failure.message}; only needed for machines with backend: "${name}"`
    }
  }
  const { hypervisor, problem, program } = probed.success
  const state = problem === undefined ? "ok" : "limited"
  return { what, state, detail: `${hypervisor}, ${program}: ${problem ?? "a guest ran on it"}` }
}

const otherHypervisors: Effect.Effect<ReadonlyArray<Finding>> = Effect.forEach(
  names.filter((name) => name !== "qemu"),
  (name) =>
    Effect.map(Effect.result(Effect.provide(Backends.probe(name), logToStderr)), (probed) =>
      hypervisorFinding(name, probed)
    )
)

const tools: Effect.Effect<ReadonlyArray<Finding>> = Effect.forEach(requirements, (item) =>
  item.program === undefined
    ? Effect.sync(
        (): Finding =>
          Fs.existsSync(item.file)
            ? { what: item.package, state: "ok", detail: item.file }
            : {
                what: item.package,
                state: "missing",
                detail: `not found; needed for ${item.why}`,
                package: item.package
              }
      )
    : HostProcess.locate(item.program).pipe(
        Effect.match({
          onSuccess: (path): Finding => ({ what: item.program, state: "ok", detail: path }),
          onFailure: (): Finding => ({
            what: item.program,
            state: item.optional === true ? "limited" : "missing",
            detail: `not found; ${item.optional === true ? "only needed" : "needed"} for ${item.why}`,
            package: item.package
          })
        })
      )
)

/** Only vsock needs this program, and no package of Debian 12 provides it. */
const optional: Effect.Effect<ReadonlyArray<Finding>> = HostProcess.locate("vhost-device-vsock").pipe(
  Effect.match({
    onSuccess: (path): Finding => ({ what: "vhost-device-vsock", state: "ok", detail: path }),
    onFailure: (): Finding => ({
      what: "vhost-device-vsock",
      state: "limited",
      detail: "not found; only needed to reach QEMU guests over vsock (tests of that are skipped)",
      fix: "cargo install vhost-device-vsock   # then put ~/.cargo/bin on the PATH"
    })
  }),
  Effect.map((finding) => [finding])
)

/** Building a Debian image needs root: the host's, or that of a user namespace. */
const namespaces: Effect.Effect<ReadonlyArray<Finding>> = Effect.gen(function* () {
  if (process.getuid?.() === 0) return [{ what: "image builds", state: "ok", detail: "as root" }]
  const tried = yield* HostProcess.run({
    command: "unshare",
    args: ["--user", "--map-auto", "--map-root-user", "true"]
  })
  if (tried.exitCode === 0) return [{ what: "image builds", state: "ok", detail: "in a user namespace" }]
  return [
    {
      what: "image builds",
      state: "limited",
      detail: `this user cannot build Debian images: ${tried.stderr.trim()}`,
      fix: `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${Os.userInfo().username}`
    }
  ]
}).pipe(
  Effect.timeoutOption("5 seconds"),
  Effect.match({
    onSuccess: (found): ReadonlyArray<Finding> =>
      found._tag === "Some" ? (found.value as ReadonlyArray<Finding>) : [],
    onFailure: (): ReadonlyArray<Finding> => []
  })
)

const cache: Effect.Effect<ReadonlyArray<Finding>> = Effect.gen(function* () {
  const folder = yield* Cache.open("images")
  const unwritable = yield* Cache.unwritable(folder)
  const images = yield* (yield* ImageStore.ImageStore).list
  const space = Fs.statfsSync(Fs.existsSync(folder) ? folder : NodePath.dirname(folder))
  const total = images.reduce((sum, image) => sum + image.bytes, 0)
  const found = `${images.length} images, ${size(total)}, in ${folder}`
  const finding: Finding =
    unwritable === undefined
      ? { what: "image cache", state: "ok", detail: `${found}; ${size(space.bavail * space.bsize)} free` }
      : { what: "image cache", state: "limited", detail: `${found}; nothing can be added: ${unwritable.reason}` }
  return [finding] as ReadonlyArray<Finding>
}).pipe(
  Effect.provide(ImageStore.ImageStore.layer),
  Effect.catch((error) =>
    Effect.succeed<ReadonlyArray<Finding>>([{ what: "image cache", state: "missing", detail: error.message }])
  )
)

const switchFinding: Finding = {
  what: "network switch",
  state: "ok",
  detail: "vmtest's own, the default, which needs no rights"
}

/** The rows of the fabrics, from what making a bridge found out. */
export const fabricFindings = (
  probed: Result.Result<Omit<Bridge.Bridges, "vlan">, FabricUnavailable>
): ReadonlyArray<Finding> => {
  if (Result.isFailure(probed)) {
    const { advice, command, reason } = probed.failure
    const detail = `networks with fabric: "bridge" do not work: ${reason}; ${advice}`
    return [
      switchFinding,
      { what: "network bridge", state: "limited", detail, ...(command === undefined ? {} : { fix: asRoot(command) }) }
    ]
  }
  const { limits, unprivileged } = probed.success
  const lacking = [limits.impair, limits.partition, limits.capture].flatMap((limit) => limit ?? [])
  const commands = lacking.flatMap(({ command }) => command ?? [])
  const made = `made a network namespace with a bridge and a TAP ${unprivileged ? "in a user namespace" : "as root"}`
  return [
    switchFinding,
    {
      what: "network bridge",
      state: lacking.length === 0 ? "ok" : "limited",
      detail: [made, ...lacking.map(({ doing, reason }) => `cannot ${doing}: ${reason}`)].join("; "),
      ...(commands.length === 0 ? {} : { fix: commands.map(asRoot).join(" && ") })
    }
  ]
}

const asRoot = (command: string) => `${process.getuid?.() === 0 ? "" : "sudo "}${command}`

/** What can be done on networks with the fabric "bridge", by making one. Networks without a fabric of their own need nothing of it. */
const fabrics: Effect.Effect<ReadonlyArray<Finding>> = Effect.map(Effect.result(Bridge.probe), fabricFindings)

/** Makes all checks. */
export const examine: Effect.Effect<ReadonlyArray<Finding>> = Effect.all(
  [node, hypervisor, otherHypervisors, tools, optional, namespaces, fabrics, cache],
  { concurrency: "unbounded" }
).pipe(Effect.map((groups) => groups.flat()))

const marks = { ok: "✔", limited: "!", missing: "✘" } as const

/** The commands that install or fix what these findings lack, apt's first. */
const commandsFor = (findings: ReadonlyArray<Finding>): ReadonlyArray<string> => {
  const packages = findings.flatMap((finding) => finding.package ?? [])
  const sudo = process.getuid?.() === 0 ? "" : "sudo "
  const apt = `${sudo}apt-get update && ${sudo}apt-get install --no-install-recommends ${packages.join(" ")}`
  return [...(packages.length > 0 ? [apt] : []), ...findings.flatMap((finding) => finding.fix ?? [])]
}

/** What to run because something is missing, and what lifts the drawbacks of what is limited, which need not be done. */
export const fixes = (findings: ReadonlyArray<Finding>) => ({
  needed: commandsFor(findings.filter(({ state }) => state === "missing")),
  optional: commandsFor(findings.filter(({ state }) => state === "limited"))
})

const listed = (title: string, commands: ReadonlyArray<string>): ReadonlyArray<string> =>
  commands.length === 0 ? [] : ["", title, ...commands.map((command) => `  ${command}`)]

/** Prints the results. Exit code 1 if something is missing. */
export const doctor = Effect.fnUntraced(function* ({
  json
}: Extract<Invocation, { readonly _tag: "Doctor" }>): Effect.fn.Return<
  ExitCode.ExitCode,
  never,
  Effect.Services<Work>
> {
  const findings = yield* examine
  const { needed, optional } = fixes(findings)
  const usable = findings.every(({ state }) => state !== "missing")
  if (json) {
    yield* print(JSON.stringify({ usable, findings, fix: needed, optional }, null, 2))
  } else {
    const width = Math.max(...findings.map(({ what }) => what.length))
    for (const { detail, state, what } of findings) yield* print(`${marks[state]} ${what.padEnd(width)}  ${detail}`)
    const advice = [
      ...listed("To fix this, run:", needed),
      ...listed("Optional, only for what is marked with !:", optional)
    ]
    if (advice.length > 0) yield* print(advice.join("\n"))
  }
  return usable ? ExitCode.passed : ExitCode.failed
})
