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
import * as HostProcess from "../host/HostProcess.ts"
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

/** Starts the devices of machines; they end with the scope. Fails with `ToolMissing` where there is no `vhost-device-vsock`. */
export const make = Effect.fnUntraced(function* (machines: ReadonlyArray<string>) {
  const folder = yield* (yield* RunDirectory).folder("vsock")
  const pairs = Object.fromEntries(
    machines.map((name, index): [string, VsockPair] => [
      name,
      // Numbers, as names can be longer than the path of a socket.
      { guest: Path.join(folder, `${index + 1}.guest`), host: Path.join(folder, `${index + 1}.host`) }
    ])
  )
  if (machines.length === 0) return pairs
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
