/** A real guest for the channel's tests: QEMU as the tests need it, without the machine layer above. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as HostProcess from "../../src/host/HostProcess.ts"
import type { BootImage } from "../../src/images/BootImage.ts"
import type { VirtioPorts } from "../../src/transport/GuestChannel.ts"
import { virtioPorts } from "../../src/transport/GuestChannel.ts"

/** What a guest has besides its virtio ports. */
export interface GuestOptions {
  readonly image: BootImage
  /** how many ports named `vmtest.<i>` there are, the bootstrap port among them; by default 31; 0 for none, and no bus for them */
  readonly ports?: number
  /** a virtconsole, `/dev/hvc0`; with a path, QEMU dials it, where the host must listen already */
  readonly console?: boolean | string
  /** whether a reboot starts the guest again; by default not */
  readonly reboot?: boolean
  /** the unix socket of a vhost-user vsock device */
  readonly vsock?: string
  /** more of the kernel's command line */
  readonly cmdline?: string
}

/** Boots a guest; it ends with the scope. */
export const boot = Effect.fnUntraced(function* (options: GuestOptions) {
  const { image } = options
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "vmtest-channel-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const ports = Array.from({ length: options.ports ?? 31 }, (_, i) => join(folder, `p${i}`))
  const socket = (id: string, path: string) => ["-chardev", `socket,id=${id},path=${path},server=on,wait=off`]
  const log = join(folder, "console.log")
  const process = yield* HostProcess.spawn({
    name: "guest",
    command: "qemu-system-x86_64",
    args: [
      ...["-nodefaults", "-no-user-config", "-display", "none", "-m", "1024M", "-smp", "2", "-cpu", "max"],
      ...["-machine", "q35,memory-backend=memory", "-accel", "tcg,thread=multi"],
      ...["-object", "memory-backend-memfd,id=memory,size=1024M,share=on"],
      ...(options.reboot === true ? [] : ["-no-reboot"]),
      ...["-kernel", image.kernel, "-initrd", image.initrd],
      ...["-append", `console=ttyS0 ${image.cmdline} ${options.cmdline ?? ""}`],
      ...["-serial", `file:${log}`, ...socket("qmp", join(folder, "qmp")), "-mon", "chardev=qmp,mode=control"],
      ...["-device", "virtio-rng-pci"],
      ...(image.root === undefined
        ? []
        : [
            ...["-drive", `if=none,id=root,read-only=on,format=raw,file=${image.root}`],
            ...["-device", "virtio-blk-pci,drive=root"]
          ]),
      // Few ports on a bus: the control queue of a bus has 32 places, and QEMU drops what does not fit.
      ...(options.ports === 0 && options.console === undefined ? [] : [0, 1, 2]).flatMap((bus) => [
        ...["-device", `virtio-serial-pci,id=ports${bus},max_ports=17`]
      ]),
      ...ports.flatMap((path, i) => [
        ...socket(`port${i}`, path),
        ...[
          "-device",
          `virtserialport,bus=ports${Math.ceil(i / 15)}.0,nr=${(i % 15) + 1},chardev=port${i},name=vmtest.${i}`
        ]
      ]),
      ...(options.console === undefined || options.console === false
        ? []
        : [
            ...(options.console === true
              ? socket("hvc", join(folder, "hvc0"))
              : ["-chardev", `socket,id=hvc,path=${options.console}`]),
            ...["-device", "virtconsole,bus=ports0.0,chardev=hvc"]
          ]),
      ...(options.vsock === undefined
        ? []
        : [
            ...["-chardev", `socket,id=vsock,path=${options.vsock}`],
            ...["-device", "vhost-user-vsock-pci,chardev=vsock"]
          ])
    ],
    stderr: { file: join(folder, "qemu.log") },
    grace: 0
  })
  const [bootstrap = "", ...rest] = ports
  return {
    folder,
    process,
    channel: virtioPorts({ bootstrap, ports: rest }) satisfies VirtioPorts,
    qmp: join(folder, "qmp"),
    hvc0: join(folder, "hvc0"),
    consoleTail: Effect.sync(() => readFileSync(log, "utf8").split("\n").slice(-20).join("\n"))
  }
})
