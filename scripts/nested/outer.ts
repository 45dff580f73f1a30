/**
 * The guest that has KVM: a Debian guest on QEMU whose processor is an AMD that virtualises, with vmtest, Node and the hypervisors inside.
 *
 * Without KVM on this host QEMU emulates that processor, so KVM inside is about ten times slower than on hardware. On a host whose KVM nests, its
 * own processor virtualises, and nothing is emulated.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { desk } from "../../integration-tests/nested/desk.ts"
import * as Accelerator from "../../src/backends/Accelerator.ts"
import { Backend } from "../../src/backends/Backend.ts"
import * as Qemu from "../../src/backends/qemu/Qemu.ts"
import { Driver } from "../../src/driver/Driver.ts"
import * as DriverLayer from "../../src/driver/DriverLayer.ts"
import * as Cache from "../../src/host/Cache.ts"
import * as RunDirectory from "../../src/host/RunDirectory.ts"
import * as Image from "../../src/images/Image.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import * as Payload from "./payload.ts"

/** What the guest needs besides Debian's base: QEMU for the third backend, and what vmtest calls for networks, shared folders and reading screens. */
const image = Image.debian({
  packages: [
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libstdc++6",
    "nftables",
    "procps",
    "qemu-system-x86",
    "tesseract-ocr",
    "vde2"
  ]
})

/** The images that the suite boots, as its scripts declare them. */
const inner = [Image.tiny(), Image.debian({}), Image.debian(desk)]

/** An AMD whose guests can be virtualised. A later `-cpu` wins. */
const emulatedCpu = ["-cpu", "EPYC,+svm,+npt"]

const modules = "kvm_amd tun bridge veth vhost_net vhost_vsock"

/** Where everything is in the guest. What the guest writes is on a disk: its root is a tmpfs of half the memory. */
export const places = { payload: "/payload", scratch: "/scratch" } as const

/** Makes the guest ready: KVM, the two disks, the image store. */
const prepare = `set -e
modprobe -a ${modules} 2>/dev/null || modprobe -a ${modules.replace("kvm_amd", "kvm_intel")}
test -c /dev/kvm
mkdir -p ${places.payload} ${places.scratch}
mount -o ro /dev/disk/by-id/virtio-payload ${places.payload}
mkfs.ext4 -q -E lazy_itable_init=1,lazy_journal_init=1 /dev/disk/by-id/virtio-disk1
mount /dev/disk/by-id/virtio-disk1 ${places.scratch}
cd ${places.scratch}
mkdir -m 700 -p run tmp out cache/vmtest/images/entries
cp -a ${places.payload}/images/. cache/vmtest/images/entries/
touch cache/vmtest/images/entries/*/checked`

/** The environment of vmtest inside. */
export const environment = (programs: Readonly<Record<string, string>>): Readonly<Record<string, string>> => ({
  PATH: `${places.payload}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
  HOME: "/root",
  NO_COLOR: "1",
  // The probe gives a guest two seconds, which this KVM may not have.
  VMTEST_ACCEL: "kvm",
  TMPDIR: `${places.scratch}/tmp`,
  XDG_RUNTIME_DIR: `${places.scratch}/run`,
  XDG_CACHE_HOME: `${places.scratch}/cache`,
  ...programs
})

/** The folders of the stored images, built first where they are missing. */
const storedImages = Effect.gen(function* () {
  const store = yield* ImageStore
  return yield* Effect.forEach(inner, (one) => Effect.map(store.resolve(one), ({ kernel }) => dirname(kernel)))
})

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vmtest-nested-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** The backend of this host, with a processor that virtualises and the disk with everything. */
const backend = (disk: string) =>
  Layer.effect(
    Backend,
    Effect.gen(function* () {
      const findings = yield* Accelerator.detect({ folder: yield* Cache.open("host") })
      const payload = [
        ...["-blockdev", `driver=raw,node-name=payload,read-only=on,file.driver=file,file.filename=${disk}`],
        ...["-device", "virtio-blk-pci,drive=payload,serial=payload"]
      ]
      const cpu = findings.accelerator.name === "tcg" ? emulatedCpu : []
      return Qemu.make({ findings, extraArguments: [...cpu, ...payload] })
    })
  )

export interface Options {
  /** The programs of hypervisors, by the names of their backends. */
  readonly programs: Readonly<Record<string, string>>
  readonly output: string
  readonly progress: (text: string) => void
}

/** Boots it, and gives it when `vmtest` can run inside. */
export const start = Effect.fnUntraced(function* ({ output, programs, progress }: Options) {
  progress("collecting Node, vmtest, images and hypervisors")
  const images = yield* storedImages.pipe(Effect.provide(ImageStore.layer))
  const [place, began] = [yield* folder, performance.now()]
  const disk = Payload.make(place, { images, programs })
  const seconds = () => `${((performance.now() - began) / 1000).toFixed(0)} s`
  progress(`collected after ${seconds()}; booting the guest`)
  const services = Layer.mergeAll(backend(disk), ImageStore.layer, RunDirectory.layer(), NodeServices.layer)
  const driver = yield* Layer.build(
    Layer.provide(DriverLayer.make({ name: "nested", output, snapshots: false }), services)
  ).pipe(
    Effect.map((context) => Driver.pipe(Effect.provide(context))),
    Effect.flatten
  )
  const guest = yield* driver.machine("outer", { image, memory: "4 GiB", cpus: 2, disks: ["8 GiB"], vlans: [] })
  yield* guest.start()
  yield* guest.succeed(prepare, { timeout: "5 minutes" })
  progress(`the guest is ready after ${seconds()}`)
  return guest
})
