/** One Cloud Hypervisor: what it is asked to do until its guest runs, and what it tells of itself from then on. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import { panicIn } from "../../host/Evidence.ts"
import type { Request } from "../../transport/RestApi.ts"
import type { Hypervisor, MachineShape, SavedMachine } from "../Backend.ts"
import { type BackendError, LoadFailed } from "../BackendError.ts"
import * as Hosted from "../internal/hosted.ts"
import { initrdIn } from "../internal/initrd.ts"
import * as LastWords from "../internal/lastWords.ts"
import { makeTurn } from "../internal/runState.ts"
import * as Vmm from "../internal/vmm.ts"
import type { VmmSettings } from "../internal/vmmBackend.ts"
import { diskLinks, prepare, rootLink } from "../internal/vmmFiles.ts"
import { cardsOf, type VmmCard } from "../internal/vmmNetwork.ts"
import * as Saved from "../internal/vmmSaved.ts"
import { findRefused } from "../internal/vmmShape.ts"
import { guestCid, longestSocketOf } from "../internal/vsockShell.ts"
import * as Api from "./api.ts"
import { capabilities } from "./capabilities.ts"
import * as Control from "./control.ts"
import * as Events from "./events.ts"
import * as Restore from "./restore.ts"
import * as Serial from "./serial.ts"
import * as Shares from "./shares.ts"

const sockets = { api: "api.sock", vsock: "v.sock" } as const
const serialSocket = "serial.sock"

/** Before the image's own parameters, so that an image can override them. As for QEMU, but that a panic is a reset, which is what ends the machine. */
const kernelArguments = "console=ttyS0 panic=-1 no_timer_check cryptomgr.notests"

const mebibyte = 1024 * 1024

/** What Cloud Hypervisor says of what it was given to restore, and not of this host. */
const damage = /deseriali[sz]|EOF while parsing|expected value|invalid type|missing field|snapshot.*(version|mismatch)/i

/** The machine. The first disk is /dev/vda. */
export const configurationOf = (shape: MachineShape, cards: ReadonlyArray<VmmCard>): typeof Api.VmConfig.Type => ({
  cpus: { boot_vcpus: shape.cpus, max_vcpus: shape.cpus },
  memory: {
    size: Saved.mebibytesOf(shape) * mebibyte,
    ...(shape.hypervisor?.hugePages === true ? { hugepages: true, hugepage_size: 2 * mebibyte } : {}),
    // What serves the folders reads and writes it.
    ...(Shares.of(shape).length === 0 ? {} : { shared: true })
  },
  payload: {
    kernel: shape.image.kernel,
    ...(shape.image.initrd === "" ? {} : { initramfs: initrdIn(shape) ?? shape.image.initrd }),
    cmdline: `${kernelArguments} ${shape.image.cmdline}`.trim()
  },
  disks: [
    ...(shape.image.root === undefined
      ? []
      : [{ id: "root", path: rootLink, readonly: true, image_type: "Raw" } as const]),
    ...diskLinks(shape).map(
      ({ name }) => ({ id: name, path: name, readonly: false, image_type: "Raw", serial: name }) as const
    )
  ],
  net: cards.map(({ device, mac, mtu, tapName }) => ({
    ...{ id: device, tap: tapName, mac },
    ...(mtu === undefined ? {} : { mtu })
  })),
  rng: { src: "/dev/urandom" },
  vsock: { cid: guestCid, socket: sockets.vsock },
  serial: { mode: "Socket", socket: serialSocket },
  ...(shape.hypervisor?.balloon === undefined
    ? {}
    : { balloon: { size: shape.hypervisor.balloon, deflate_on_oom: true } }),
  ...(Shares.of(shape).length === 0
    ? {}
    : { fs: Shares.of(shape).map(({ socket, tag }) => ({ tag, socket, num_queues: 1, queue_size: 1024 })) }),
  console: shape.hypervisor?.hvc0 === true ? { mode: "File", file: "hvc0.log" } : { mode: "Off" }
})

/** It tells of a guest that cannot run on as of one that has powered off; its own log knows better. */
const failedProcessor = (said: string): string | undefined => {
  const [, error] = /VCPU generated error: ([\s\S]*?)(?:\n\s*\n?Stack backtrace|$)/.exec(said) ?? []
  return error === undefined
    ? undefined
    : `its hypervisor could not run the guest: ${error.replace(/\s*Caused by:\s*/g, ": ").trim()}`
}

const restoreRequests = (folder: string): ReadonlyArray<Request> => [
  {
    ...Api.restore({ source_url: Api.urlOf(folder), memory_restore_mode: "Copy" }),
    timeout: "2 minutes"
  },
  Api.resume
]

/** How long what the console printed before an event may be under way. */
const consoleGrace = "20 millis"

/** Ends a machine that may not reboot when its guest does, and one whose kernel has panicked. Others hear of the reset. */
const onReset = (
  { console, note, process }: Vmm.Running,
  { allowReboot }: MachineShape,
  standing: Control.Standing,
  resets: PubSub.PubSub<void>
) =>
  Effect.gen(function* () {
    const end = Vmm.signal(process, "SIGKILL")
    if (!allowReboot) {
      note("reset")
      return yield* end
    }
    if (standing.asked > 0) {
      standing.asked--
      return
    }
    const tail = yield* Effect.delay(console.tail(Hosted.evidenceLines), consoleGrace)
    if (panicIn(tail) === undefined) return yield* Effect.asVoid(PubSub.publish(resets, undefined))
    note("panic")
    return yield* end
  })

/** Boots it, or resumes a saved one. */
export const start: (
  shape: MachineShape,
  settings: VmmSettings,
  from: SavedMachine | undefined
) => Effect.Effect<Hypervisor, BackendError, Scope.Scope> = Effect.fnUntraced(function* (shape, settings, from) {
  const { program, timeScale } = settings
  const within = (name: string) => Path.join(shape.directory, name)
  const paths = [within(sockets.api), longestSocketOf(within(sockets.vsock)), within(serialSocket)]
  const refused = findRefused(shape, "cloud-hypervisor", capabilities, paths)
  if (refused !== undefined) return yield* refused
  if (from !== undefined) yield* Saved.check("cloud-hypervisor", shape, from)
  const failed = Vmm.failures("cloud-hypervisor", shape, from, damage)
  yield* Effect.mapError(prepare(shape, from), (reason) => failed({ reason, output: "" }))
  const cards = yield* Effect.mapError(cardsOf(shape), ({ message }) => failed({ reason: message, output: "" }))
  const requests =
    from === undefined
      ? [Api.create(configurationOf(shape, cards)), Api.boot]
      : yield* Effect.mapBoth(Restore.prepare(shape, from, cards), {
          onFailure: ({ damaged, reason }) =>
            new LoadFailed({ machine: shape.name, directory: from.directory, reason, output: "", damaged }),
          onSuccess: restoreRequests
        })
  const companions = yield* Effect.mapError(Shares.serve(shape), failed)
  const standing: Control.Standing = { running: true, asked: 0 }
  const [turn, resets] = [makeTurn(), yield* PubSub.unbounded<void>()]
  const serial = Serial.make(shape.name, within(serialSocket))
  const args = ["--api-socket", `path=${sockets.api}`, "--event-monitor", "fd=4"]
  return yield* Vmm.run({
    ...{ shape, timeScale, sockets, failed, called: "Cloud Hypervisor" },
    spawn: { ...settings.inNamespace(shape, { command: program, args }), channel: true },
    stale: [serialSocket, `${sockets.api}.lock`],
    companions,
    logs: { stderr: "cloud-hypervisor.log", stdout: "cloud-hypervisor-stdout.log" },
    messages: [],
    explain: Api.explain,
    hello: Api.ping,
    serial: serial.open,
    before: from === undefined ? undefined : Saved.consoleOf(from),
    begin: ({ api }) => Effect.forEach(requests, api.request, { discard: true }),
    watch: (running) =>
      Effect.gen(function* () {
        const { console, note, process } = running
        const run = Effect.runForkWith(yield* Effect.context())
        const { channel } = process.streams
        if (channel !== null) {
          Events.listen(channel, (event) => {
            if (event === "vm shutdown") note("power-off")
            if (event === "vm rebooting") run(onReset(running, shape, standing, resets))
          })
        }
        const end = Vmm.signal(process, "SIGKILL")
        yield* Effect.forkScoped(LastWords.watch({ console: console.stream, halts: false, note, end }))
      }),
    control: (running) =>
      Control.layer({
        ...{ backend: "cloud-hypervisor", shape, running, cards, standing, turn, resets },
        ended: Effect.map(
          running.process.exited,
          (status) => `Cloud Hypervisor ended with ${Hosted.describeExit({ ...status, consoleTail: "", stderr: "" })}`
        )
      }),
    write: () => serial.write,
    because: failedProcessor,
    // It tells why it ends, but for a signal.
    causeOf: ({ signal }) => (signal === undefined ? undefined : "host")
  })
})
