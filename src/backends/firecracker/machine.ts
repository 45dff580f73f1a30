/** One Firecracker: what it is asked to do until its guest runs. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Request } from "../../transport/RestApi.ts"
import { TransportError } from "../../transport/ShellError.ts"
import type { Hypervisor, MachineShape, SavedMachine } from "../Backend.ts"
import type { BackendError } from "../BackendError.ts"
import * as Hosted from "../internal/hosted.ts"
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
import * as Jail from "./jail.ts"
import { fileNames, logs, onHost, type Quarters, sockets } from "./quarters.ts"

/**
 * Before the image's own parameters, so that an image can override them. `reboot=k` makes a reboot end Firecracker, which has no other way to notice it; the
 * rest is as for QEMU. Without any, Firecracker takes its own, which keep the kernel from loading modules.
 */
const kernelArguments = "console=ttyS0 reboot=k panic=-1 no_timer_check cryptomgr.notests"

const mebibyte = 1024 * 1024

/** What Firecracker says of what it was given to load, and not of this host. */
const damage = /snapshot state|deseriali[sz]|CRC|checksum|magic|snapshot.*version|memory (file|size)|microVM state/i

/** The requests that boot it, in their order. The first disk is /dev/vda. */
const bootRequests = (
  shape: MachineShape,
  cards: ReadonlyArray<VmmCard>,
  { initrd, kernel }: Quarters
): ReadonlyArray<Request> => [
  Api.machineConfig({
    ...{ vcpu_count: shape.cpus, mem_size_mib: Saved.mebibytesOf(shape) },
    ...(shape.hypervisor?.hugePages === true ? { huge_pages: "2M" } : {})
  }),
  Api.bootSource({
    kernel_image_path: kernel,
    ...(shape.image.initrd === "" ? {} : { initrd_path: initrd }),
    boot_args: `${kernelArguments} ${shape.image.cmdline}`.trim()
  }),
  ...(shape.image.root === undefined
    ? []
    : [Api.drive({ drive_id: "root", path_on_host: rootLink, is_root_device: false, is_read_only: true })]),
  ...diskLinks(shape).map(({ name }) =>
    Api.drive({ drive_id: name, path_on_host: name, is_root_device: false, is_read_only: false })
  ),
  ...cards.map(({ device, mac, mtu, tapName }) =>
    Api.networkInterface({
      ...{ iface_id: device, host_dev_name: tapName, guest_mac: mac },
      ...(mtu === undefined ? {} : { mtu })
    })
  ),
  Api.vsock({ guest_cid: guestCid, uds_path: sockets.vsock }),
  Api.entropy,
  ...(shape.hypervisor?.balloon === undefined
    ? []
    : [Api.balloon({ amount_mib: shape.hypervisor.balloon / mebibyte, deflate_on_oom: true })]),
  Api.action("InstanceStart")
]

/** The request that resumes a saved one. Its vsock socket and its disks have relative names, which lead to those of this machine. */
const loadRequest = ({ directory }: SavedMachine, cards: ReadonlyArray<VmmCard>, { saved }: Quarters): Request => ({
  ...Api.loadSnapshot({
    snapshot_path: saved(directory, fileNames.state),
    mem_backend: { backend_type: "File", backend_path: saved(directory, fileNames.memory) },
    network_overrides: cards.map(({ device, tapName }) => ({ iface_id: device, host_dev_name: tapName })),
    resume_vm: true
  }),
  timeout: "2 minutes"
})

/** What is found of this host. */
interface Settings extends VmmSettings {
  /** A path, or a name to look for on the PATH. */
  readonly jailer: string
}

/** Its sockets, the longest of them last, whether it has a jail or not. */
const socketsOf = (shape: MachineShape): ReadonlyArray<string> => {
  const { api, vsock } = Jail.ownerOf(shape.hypervisor) === undefined ? sockets : Jail.sockets
  return [Path.join(shape.directory, api), longestSocketOf(Path.join(shape.directory, vsock))]
}

/** Boots it, or resumes a saved one. */
export const start: (
  shape: MachineShape,
  settings: Settings,
  from: SavedMachine | undefined
) => Effect.Effect<Hypervisor, BackendError, Scope.Scope> = Effect.fnUntraced(function* (shape, settings, from) {
  const { timeScale, version } = settings
  const paths = socketsOf(shape)
  const refused = findRefused(shape, "firecracker", capabilities, paths)
  if (refused !== undefined) return yield* refused
  if (from !== undefined) yield* Saved.check("firecracker", shape, from)
  const owner = Jail.ownerOf(shape.hypervisor)
  const jailer = owner === undefined ? "" : yield* Jail.find(settings.jailer, version)
  const failed = Vmm.failures("firecracker", shape, from, damage)
  yield* Effect.mapError(prepare(shape, from), (reason) => failed({ reason, output: "" }))
  const cards = yield* Effect.mapError(cardsOf(shape), ({ message }) => failed({ reason: message, output: "" }))
  const standing: Control.Standing = { mode: "running", saved: false }
  const turn = makeTurn()
  const args = [
    ...["--api-sock", sockets.api, "--enable-pci"],
    ...["--log-path", logs.log, "--level", "Info", "--metrics-path", logs.metrics]
  ]
  const quarters =
    owner === undefined
      ? onHost(shape, settings, args)
      : yield* Effect.mapError(Jail.make({ shape, settings, jailer, owner, from, cards, args }), (reason) =>
          failed({ reason: `could not make its jail: ${reason}`, output: "" })
        )
  return yield* Vmm.run({
    ...{ shape, timeScale, failed, called: "Firecracker" },
    sockets: quarters.sockets,
    others: quarters.others,
    spawn: { ...quarters.spawn, stdin: "pipe" },
    stale: [],
    logs: { stderr: logs.stderr, stdout: "" },
    messages: [logs.log],
    explain: Api.explain,
    hello: Api.version,
    before: from === undefined ? undefined : Saved.consoleOf(from),
    begin: ({ api }) =>
      Effect.forEach(
        from === undefined ? bootRequests(shape, cards, quarters) : [loadRequest(from, cards, quarters)],
        api.request,
        { discard: true }
      ),
    // Firecracker stays when its guest powers off: it has no ACPI that would tell.
    watch: ({ console, note, process }) =>
      Effect.asVoid(
        Effect.forkScoped(
          LastWords.watch({ console: console.stream, halts: true, note, end: Vmm.signal(process, "SIGKILL") })
        )
      ),
    control: (running) =>
      Control.layer({
        ...{ backend: "firecracker", shape, version, running, cards, standing, turn, quarters },
        ended: Effect.map(
          running.process.exited,
          (status) => `Firecracker ended with ${Hosted.describeExit({ ...status, consoleTail: "", stderr: "" })}`
        )
      }),
    write:
      ({ process }) =>
      (text) =>
        Effect.mapError(
          process.write(text),
          ({ reason }) => new TransportError({ machine: shape.name, socket: "console", reason })
        ),
    // It ends in peace when its guest resets itself, and never otherwise.
    causeOf: ({ exitCode, signal }) => (exitCode === 0 ? "reset" : signal === undefined ? undefined : "host")
  })
})
