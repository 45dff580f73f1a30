/**
 * A network namespace of the test's own, and a shell in it that takes commands.
 *
 * It has no name, so nothing has to be swept: it is gone with the last process in it and the last TAP that is open. The shell ends when its
 * standard input does, which is when this process ends, however it ends.
 *
 * It has a mount namespace beside it, in which `/etc` has nothing but the permission that QEMU's bridge helper asks for. Only the helper enters that.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as HostProcess from "../../host/HostProcess.ts"
import * as Machineless from "./machineless.ts"

/** A command in the namespace failed, with what it printed. */
export interface CommandFailed {
  readonly _tag: "CommandFailed"
  readonly output: string
}

/** Why something cannot be done, and what to do. */
export interface Refused {
  readonly reason: string
  readonly advice: string
  /** The command that root runs to do it, where one does. */
  readonly command?: string
}

/** What a command mends. */
const mendedBy = (reason: string, command: string): Refused => ({ reason, advice: `run ${command}`, command })

/** Why a program cannot be used. */
export const missing = ({ package: from, tool }: HostProcess.ToolMissing): Refused =>
  mendedBy(`${tool} is not installed`, `apt-get install ${from}`)

/** What to start. */
export interface Command {
  readonly command: string
  readonly args: ReadonlyArray<string>
}

/** A namespace that is there. */
export interface Namespace {
  /** Runs a script in it, one at a time, and gives what it printed. */
  readonly run: (script: string) => Effect.Effect<string, CommandFailed>
  /** The same command, run in the namespace. */
  readonly inside: (command: Command) => Command
  /** A command that opens a TAP on a bridge and hands it over to QEMU, for `-netdev tap,helper=`. */
  readonly helper: (bridge: string) => string
  /** Whether it belongs to a user namespace, not to root. */
  readonly unprivileged: boolean
  /** Why something cannot be done in it; undefined for what can. */
  readonly lacks: { readonly netem: Refused | undefined; readonly nft: Refused | undefined }
  /** Whether its `tc` takes a seed for netem. */
  readonly seeds: boolean
  /** Resolves with the reason when its shell has ended. */
  readonly ended: Effect.Effect<string>
}

/** Where QEMU's packages put the helper, beside `<prefix>/bin/qemu-system-x86_64`. */
const helperPlaces = ["libexec/qemu-bridge-helper", "lib/qemu/qemu-bridge-helper", "lib/qemu-bridge-helper"]

const findHelper = (qemu: string): string | undefined =>
  [qemu, Fs.realpathSync(qemu)]
    .flatMap((path) => helperPlaces.map((place) => Path.join(Path.dirname(path), "..", place)))
    .find((path) => Fs.existsSync(path))

/**
 * What fails ends the shell, with an exit status that tells what it was. The devices are never used, and stay, because to delete one takes longer than all
 * of this. `ip` makes them in one process, and says at which line it failed.
 */
const setUp = [
  // The IPv6 of the host's kernel would speak on the VLANs.
  "{ echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; } 2>/dev/null",
  "mount -t tmpfs -o mode=755 tmpfs /etc && mkdir /etc/qemu && echo allow all >/etc/qemu/bridge.conf || exit 3",
  // Without the test, the shell would make a file there.
  "[ -c /dev/net/tun ] || { echo it is not there; exit 4; }",
  "(: <>/dev/net/tun) || exit 4",
  "ip -batch - <<'.' || exit 5",
  "link add probe1 type bridge",
  "link add probe2 type veth peer name probe3",
  "tuntap add probe4 mode tap",
  ".",
  "tc qdisc add dev probe2 root netem limit 10 2>&1; echo --",
  "command -v nft >/dev/null || echo missing",
  "nft add table bridge probe 2>&1; echo --",
  // iproute2 6.7 and later.
  "tc qdisc replace dev probe2 root netem limit 10 seed 1 >/dev/null 2>&1 && echo seeds; :"
].join("\n")

const asRoot = "run vmtest as root"

/** What the devices of {@link setUp} are, line by line. */
const devices = ["bridge", "veth", "tun"]

/** The module that is missing, from what `ip` says: "Command failed -:2". */
const moduleOf = (why: string) => devices[Number(/Command failed -:(\d)/.exec(why)?.[1]) - 1]

/** What the exit status of {@link setUp} means. */
const meanings: Readonly<Record<number, Refused>> = {
  3: { reason: "could not mount a tmpfs in a mount namespace", advice: asRoot },
  4: {
    reason: "could not open /dev/net/tun",
    advice: `${asRoot}, run modprobe tun, or let this user read and write /dev/net/tun`
  }
}

/** Ends each answer, before the exit status. */
const mark = "\u001e"

/** A shell that takes one script at a time. */
const makeShell = Effect.fnUntraced(function* (shell: HostProcess.HostProcess) {
  const turn = Semaphore.makeUnsafe(1)
  const ended = Deferred.makeUnsafe<string>()
  let printed = ""
  let answered: Deferred.Deferred<string, CommandFailed> | undefined
  const { stdout } = shell.streams
  stdout?.setEncoding("utf8")
  stdout?.on("data", (chunk: string) => {
    printed += chunk
    const [, output, status] = new RegExp(`^([^]*)${mark}(\\d+)\\n$`).exec(printed) ?? []
    if (output === undefined || answered === undefined) return
    printed = ""
    const result =
      status === "0"
        ? Effect.succeed(output)
        : Effect.fail<CommandFailed>({ _tag: "CommandFailed", output: output.trim() })
    Deferred.doneUnsafe(answered, result)
  })
  yield* Effect.forkScoped(
    Effect.flatMap(shell.exited, (status) => {
      const reason = `its network namespace ended with ${HostProcess.describeStatus(status)}`
      return Effect.andThen(
        Deferred.succeed(ended, reason),
        answered === undefined
          ? Effect.void
          : Deferred.fail(answered, { _tag: "CommandFailed" as const, output: printed.trim() || reason })
      )
    }),
    { startImmediately: true }
  )
  const run = (script: string): Effect.Effect<string, CommandFailed> =>
    Effect.suspend(() => {
      const status = shell.status()
      if (status !== undefined) {
        const output = printed.trim() || `its network namespace ended with ${HostProcess.describeStatus(status)}`
        return Effect.fail<CommandFailed>({ _tag: "CommandFailed", output })
      }
      const answer = Deferred.makeUnsafe<string, CommandFailed>()
      answered = answer
      const text = `{\n${script}\n} </dev/null 2>&1\nprintf '${mark}%s\\n' $?\n`
      return Effect.andThen(Effect.ignore(shell.write(text)), Deferred.await(answer))
    }).pipe(Effect.uninterruptible, turn.withPermits(1))
  return { run, ended: Deferred.await(ended) }
})

const toolsOf = Effect.fnUntraced(function* () {
  const locate = (tool: string) => Effect.mapError(HostProcess.locate(tool), missing)
  const [, , unshare, nsenter, qemu] = yield* Effect.all(
    [locate("ip"), locate("tc"), locate("unshare"), locate("nsenter"), locate(Machineless.program)],
    { concurrency: "unbounded" }
  )
  const helper = findHelper(qemu)
  if (helper === undefined) {
    return yield* Effect.fail(
      mendedBy(`qemu-bridge-helper was not found beside ${qemu}`, "apt-get install qemu-system-common")
    )
  }
  return { unshare, nsenter, helper }
})

/** A namespace that ends with the scope. */
export const make: Effect.Effect<Namespace, Refused, Scope.Scope> = Effect.gen(function* () {
  const { helper, nsenter, unshare } = yield* toolsOf()
  const unprivileged = process.getuid?.() !== 0
  const shell = yield* HostProcess.spawn({
    name: "the network namespace",
    command: unshare,
    args: [
      ...(unprivileged ? ["--user", "--map-root-user"] : []),
      ...["--net", "--mount", "--propagation", "private", "/bin/sh"]
    ],
    // The folders that an ordinary user's PATH leaves out.
    env: { PATH: `${process.env.PATH ?? "/usr/bin:/bin"}:/usr/local/sbin:/usr/sbin:/sbin`, LC_ALL: "C" },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    // Some kernels take the death signal from a program that enters a user namespace.
    wholeGroup: true,
    grace: 0
  }).pipe(Effect.mapError(({ message }): Refused => ({ reason: message, advice: asRoot })))
  let complaint = ""
  shell.streams.stderr?.on("data", (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-1000)
  })
  const { ended, run } = yield* makeShell(shell)
  const refused = ({ output }: CommandFailed): Refused => {
    const why = complaint.trim() || output
    const device = moduleOf(why)
    const known =
      device === undefined
        ? meanings[shell.status()?.exitCode ?? 0]
        : mendedBy(`the kernel could not make a device of the type ${device}`, `modprobe ${device}`)
    return known === undefined
      ? { reason: `could not make a network namespace: ${why}`, advice: asRoot }
      : { ...known, reason: `${known.reason}: ${why}` }
  }
  const probed = yield* Effect.mapError(run(setUp), refused)
  const enter = ["--target", `${shell.pid}`, ...(unprivileged ? ["--user", "--preserve-credentials"] : []), "--net"]
  return {
    run,
    ended,
    unprivileged,
    lacks: lacksIn(probed),
    seeds: probed.endsWith("--\nseeds\n"),
    inside: ({ args, command }) => ({ command: nsenter, args: [...enter, "--", command, ...args] }),
    helper: (bridge) => [nsenter, ...enter, "--mount", helper, `--br=${bridge}`].join(" ")
  }
})

/** What the kernel or a tool said of what is not needed by everybody. */
const lacksIn = (probed: string): Namespace["lacks"] => {
  const [netem = "", nft = ""] = probed.split("--\n").map((part) => part.trim())
  return {
    netem:
      netem === "" ? undefined : mendedBy(`the kernel has no netem (${netem.split("\n")[0]})`, "modprobe sch_netem"),
    nft:
      nft === ""
        ? undefined
        : nft.startsWith("missing")
          ? missing(new HostProcess.ToolMissing({ tool: "nft", package: "nftables" }))
          : mendedBy(`the kernel has no nftables for bridges (${nft.split("\n")[0]})`, "modprobe nf_tables")
  }
}
