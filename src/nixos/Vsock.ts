/**
 * The SSH backdoors of machines: a vsock device for each, by the program `vhost-device-vsock`, so that no kernel module and no rights are needed.
 *
 * The guest's memory must be shared (`-object memory-backend-…,share=on`), which is for its start script to say.
 *
 * **Example** (The words for QEMU)
 *
 * ```ts
 * const words = Effect.map(Vsock.make(["web"]), ({ web }) => (web === undefined ? [] : Vsock.words(web)))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Disk from "../host/Disk.ts"
import * as HostProcess from "../host/HostProcess.ts"
import * as OwnFiles from "../host/OwnFiles.ts"
import { quote } from "../host/Quote.ts"
import { RunDirectory } from "../host/RunDirectory.ts"
import type { VsockPair } from "../python/Setting.ts"

/** The program that makes vsock devices ended, or did not listen. */
export class VsockFailed extends Schema.TaggedError<VsockFailed>()("VsockFailed", {
  reason: Schema.String
}) {
  override get message() {
    return `could not make the SSH backdoors: ${this.reason}`
  }
}

/** The lowest number that a guest can have: the ones below are the host's. */
const firstCid = 3

/** The arguments of QEMU for a device. */
export const words = ({ guest }: VsockPair): ReadonlyArray<string> => [
  ...["-chardev", `socket,id=vsock_ssh,reconnect=0,path=${guest}`],
  ...["-device", "vhost-user-vsock-pci,chardev=vsock_ssh"]
]

/**
 * Whether the host's ssh reaches such a destination by itself: by systemd-ssh-proxy(1), as on NixOS since 25.05. ssh
 * prints its settings for the destination, with those of the user, who may have another proxy for all hosts. False where there is no ssh.
 */
const isReached = (destination: string): Effect.Effect<boolean> =>
  HostProcess.run({ command: "ssh", args: ["-G", destination] }).pipe(
    Effect.map(({ stdout }) => /^proxycommand .*systemd-ssh-proxy/im.test(stdout)),
    // The settings of a user can run a program.
    Effect.timeout("10 seconds"),
    Effect.orElseSucceed(() => false)
  )

/**
 * The command that reaches a guest by its number, over the kernel's own vsock, which the start script must plug in. Without systemd-ssh-proxy,
 * socat makes the connection.
 */
export const commandByNumber: Effect.Effect<(number: number) => string> = Effect.map(
  isReached(`vsock/${firstCid}`),
  (known) => (number) => {
    const way = known ? "" : `-o ProxyCommand='socat - VSOCK-CONNECT:${number}:%p' `
    return `ssh -o User=root ${way}vsock/${number}`
  }
)

const proxy = OwnFiles.module("nixos/VsockProxy")

/** Settings for an ssh that does not know the way. The guest's key is new, and nobody can listen in between, so ssh does not ask about it. */
const settingsOf = (hosts: Readonly<Record<string, string>>): string =>
  Object.entries(hosts)
    .map(
      ([name, host]) => `Host ${name}
  User root
  ProxyCommand ${[process.execPath, proxy, host].map(quote).join(" ").replaceAll("%", "%%")} %p
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
`
    )
    .join("")

/** The command that reaches each machine; with settings in a file of the folder where the host's ssh has none. */
const commandsOf = Effect.fnUntraced(function* (folder: string, hosts: Readonly<Record<string, string>>) {
  // ssh turns a destination into lower case before it passes it on.
  const known = folder === folder.toLowerCase() && (yield* isReached(`vsock-mux/${folder}/1.host`))
  const settings = Path.join(folder, "ssh_config")
  if (!known) {
    yield* Disk.attempt(
      () => Fs.writeFileSync(settings, settingsOf(hosts), { mode: 0o600 }),
      (reason) => new VsockFailed({ reason: `could not write ${settings}: ${reason}` })
    )
  }
  return (name: string): string =>
    known ? `ssh -o User=root vsock-mux/${hosts[name]}` : `ssh -F ${quote(settings)} ${name}`
})

/** Starts the devices of machines; they end with the scope. Fails with `ToolMissing` where there is no `vhost-device-vsock`. */
export const make = Effect.fnUntraced(function* (machines: ReadonlyArray<string>) {
  if (machines.length === 0) return {}
  const folder = yield* (yield* RunDirectory).folder("vsock")
  // Numbers, as names can be longer than the path of a socket.
  const ends = (end: string) =>
    Object.fromEntries(machines.map((name, index) => [name, Path.join(folder, `${index + 1}.${end}`)]))
  const guests = ends("guest")
  const hosts = ends("host")
  const commandOf = yield* commandsOf(folder, hosts)
  const pairs = Object.fromEntries(
    machines.map((name): [string, VsockPair] => [
      name,
      { guest: guests[name] ?? "", host: hosts[name] ?? "", command: commandOf(name) }
    ])
  )
  const log = Path.join(folder, "log")
  const process = yield* HostProcess.spawn({
    command: "vhost-device-vsock",
    args: Object.values(pairs).flatMap(({ guest, host }, index) => [
      ...["--vm", `guest-cid=${firstCid + index},socket=${guest},uds-path=${host}`]
    ]),
    stdout: { file: log },
    stderr: { file: log }
  })
  const failed = (reason: string) => new VsockFailed({ reason: `vhost-device-vsock ${reason}` })
  const listens = Effect.sync(() => Object.values(pairs).every(({ guest }) => Fs.existsSync(guest)))
  yield* listens.pipe(
    Effect.repeat({ schedule: Schedule.spaced("5 millis"), until: (all) => all || process.status() !== undefined }),
    Effect.timeoutOrElse({ duration: "10 seconds", orElse: () => Effect.fail(failed("did not listen in 10 seconds")) })
  )
  const ended = process.status()
  if (ended === undefined) return pairs
  const said = Fs.existsSync(log) ? Fs.readFileSync(log, "utf8").trim() : ""
  return yield* failed(`ended with ${HostProcess.describeStatus(ended)}${said === "" ? "" : `: ${said}`}`)
})
