/** The three ways to a guest, each a layer of the shell of a real one, which is booted for it. */
import { accessSync, constants, existsSync } from "node:fs"
import { delimiter, join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as HostProcess from "../../src/host/HostProcess.ts"
import { quote } from "../../src/host/Quote.ts"
import { vsockPort } from "../../src/images/BootImage.ts"
import * as Image from "../../src/images/Image.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import { virtConsole, vsock } from "../../src/transport/GuestChannel.ts"
import * as Shell from "../../src/transport/Shell.ts"
import * as VirtConsole from "../../src/transport/VirtConsole.ts"
import * as Vsock from "../../src/transport/Vsock.ts"
import { boot } from "./guest.ts"

const debian = Effect.flatMap(ImageStore, (store) => store.resolve(Image.debian()))

/** The program that plays the host's side of vsock without a kernel module. */
export const vsockDevice = "vhost-device-vsock"

/** Whether a program is on the PATH. */
export const has = (program: string): boolean =>
  (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })

/** A shell over virtio ports. */
export const overPorts = Layer.unwrap(
  Effect.gen(function* () {
    const { channel, consoleTail } = yield* boot({ image: yield* debian })
    return Shell.layer({ machine: "ports", channel, consoleTail })
  })
)

/** A guest whose preparation runs over virtio ports, which are then given back. */
const prepared = Effect.fnUntraced(function* (guest: Effect.Success<ReturnType<typeof boot>>, command: string) {
  yield* Effect.scoped(
    Effect.gen(function* () {
      const shell = yield* Shell.make({ machine: "vm", channel: guest.channel, consoleTail: guest.consoleTail })
      yield* shell.execute(command)
    })
  )
})

/** A folder that goes with the scope. */
const temporary = Effect.acquireRelease(
  Effect.map(HostProcess.run({ command: "mktemp", args: ["-d"] }), ({ stdout }) => stdout.trim()),
  (folder) => Effect.ignore(HostProcess.run({ command: "rm", args: ["-rf", folder] }))
)

/** The host's side of a vsock device; needs {@link vsockDevice}. */
const vsockHost = Effect.gen(function* () {
  const folder = yield* temporary
  const [device, socket] = [join(folder, "vhost"), join(folder, "vsock")] as const
  yield* HostProcess.spawn({
    command: vsockDevice,
    args: ["--guest-cid", "3", "--socket", device, "--uds-path", socket]
  })
  yield* Effect.sync(() => existsSync(device)).pipe(
    Effect.repeat({ schedule: Schedule.spaced("50 millis"), until: (there) => there }),
    Effect.timeout("30 seconds")
  )
  return { device, socket }
})

/** A shell over vsock, by Perl in the guest, as in one whose image is not vmtest's; needs {@link vsockDevice}. */
export const overVsock = Layer.unwrap(
  Effect.gen(function* () {
    const image = yield* debian
    const { device, socket } = yield* vsockHost
    const guest = yield* boot({ image, vsock: device })
    yield* prepared(guest, `rm /usr/lib/vmtest/vsock; setsid sh -c ${quote(Vsock.bootstrap(5000))} >/dev/null 2>&1 &`)
    return Shell.layerFromTransport({ consoleTail: guest.consoleTail }).pipe(
      Layer.provide(Vsock.layer({ machine: "vsock", channel: vsock({ socket, port: 5000 }) }))
    )
  })
)

/** A shell over vsock of a guest without virtio ports, which finds that out by itself; needs {@link vsockDevice}. */
export const overVsockAlone = (which: Image.Image) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const image = yield* (yield* ImageStore).resolve(which)
      const { device, socket } = yield* vsockHost
      const guest = yield* boot({ image, vsock: device, ports: 0 })
      return Shell.layerFromTransport({ consoleTail: guest.consoleTail }).pipe(
        Layer.provide(Vsock.layer({ machine: "alone", channel: vsock({ socket, port: vsockPort }) }))
      )
    })
  )

/** The commands of the stock NixOS backdoor, on the console. */
const backdoor =
  "setsid bash -c 'stty -F /dev/hvc0 raw -echo; echo Spawning backdoor root shell...; PS1= exec bash --norc /dev/hvc0'" +
  " </dev/hvc0 >/dev/hvc0 2>/dev/null &"

/** A shell over a virtconsole that has nothing else; QEMU listens there. */
export const overConsole = Layer.unwrap(
  Effect.gen(function* () {
    const guest = yield* boot({ image: yield* debian, console: true })
    yield* prepared(guest, backdoor)
    return Shell.layerFromTransport({ consoleTail: guest.consoleTail }).pipe(
      Layer.provide(VirtConsole.layer({ machine: "console", channel: virtConsole({ socket: guest.hvc0 }) }))
    )
  })
)

/** A shell over a virtconsole with lanes on virtio ports. QEMU dials the host, as in the start scripts of NixOS. */
export const overConsoleWithPorts = Layer.unwrap(
  Effect.gen(function* () {
    const image = yield* debian
    const socket = join(yield* temporary, "hvc0")
    // The ports are known only when the guest has started, and the console must be listened on before.
    const ports: Array<string> = Array.from({ length: 30 }, () => "")
    const started = Layer.unwrap(
      Effect.gen(function* () {
        const guest = yield* boot({ image, console: socket })
        ports.splice(0, ports.length, ...guest.channel.ports)
        yield* prepared(guest, backdoor)
        return Shell.layerFromTransport({ consoleTail: guest.consoleTail })
      })
    )
    const channel = virtConsole({ socket, listen: true, ports })
    return Layer.provide(started, VirtConsole.layer({ machine: "console", channel }))
  })
)
