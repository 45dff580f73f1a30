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
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Disk from "../host/Disk.ts"
import * as HostProcess from "../host/HostProcess.ts"
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
 * The command that reaches a guest by its number, over the kernel's own vsock, which the start script must plug in. ssh tells whether
 * systemd-ssh-proxy(1) is its way there, as on NixOS since 25.05 and Debian since 13; else the way is socat's.
 */
export const commandByNumber: Effect.Effect<(number: number) => string> = HostProcess.run({
  command: "ssh",
  args: ["-G", `vsock/${firstCid}`]
}).pipe(
  Effect.map(({ stdout }) => /^proxycommand .*systemd-ssh-proxy/im.test(stdout)),
  // The settings of a user can ask a program.
  Effect.timeout("10 seconds"),
  Effect.orElseSucceed(() => false),
  Effect.map((known) => (number) => {
    const way = known ? "" : `-o ProxyCommand='socat - VSOCK-CONNECT:${number}:%p' `
    return `ssh -o User=root ${way}vsock/${number}`
  })
)

const proxy = fileURLToPath(new URL(`VsockProxy${Path.extname(import.meta.url)}`, import.meta.url))

/**
 * Settings by which any ssh reaches the machines. `ssh vsock-mux/SOCKET` would do where there is systemd-ssh-proxy, but that lets ssh speak before
 * the device has answered, which breaks half of the connections. The guest's key is new and nobody is in between, so ssh does not ask about it.
 */
const settingsOf = (pairs: Readonly<Record<string, VsockPair>>): string =>
  Object.entries(pairs)
    .map(
      ([name, { host }]) => `Host ${name}
  User root
  ProxyCommand ${[process.execPath, proxy, host].map(quote).join(" ").replaceAll("%", "%%")} %p
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
`
    )
    .join("")

/** Starts the devices of machines; they end with the scope. Fails with `ToolMissing` where there is no `vhost-device-vsock`. */
export const make = Effect.fnUntraced(function* (machines: ReadonlyArray<string>) {
  const folder = yield* (yield* RunDirectory).folder("vsock")
  const settings = Path.join(folder, "ssh_config")
  const pairs = Object.fromEntries(
    machines.map((name, index): [string, VsockPair] => {
      // Numbers, as names can be longer than the path of a socket.
      const end = (which: string) => Path.join(folder, `${index + 1}.${which}`)
      return [name, { guest: end("guest"), host: end("host"), command: `ssh -F ${quote(settings)} ${name}` }]
    })
  )
  if (machines.length === 0) return pairs
  yield* Disk.attempt(
    () => Fs.writeFileSync(settings, settingsOf(pairs), { mode: 0o600 }),
    (reason) => new VsockFailed({ reason: `could not write ${settings}: ${reason}` })
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
