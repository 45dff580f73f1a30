/**
 * What a whole `vmtest run` of the smallest script costs on top of its guest: against bare QEMU booting the same kernel
 * and initramfs to the moment the guest's shell says that it is ready.
 */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Accelerator from "../src/backends/Accelerator.ts"
import * as Cache from "../src/host/Cache.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import { median, progress, report, wallTime } from "./harness.ts"

const rounds = 5
const path = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url))

const { findings, image } = await Effect.runPromise(
  Effect.gen(function* () {
    const store = yield* ImageStore
    return {
      image: yield* store.resolve(Image.tiny()),
      findings: yield* Accelerator.detect({ folder: yield* Cache.folder("host") })
    }
  }).pipe(Effect.provide(ImageStore.layer), Effect.provide(NodeServices.layer))
)

const accelerator =
  findings.accelerator.name === "kvm" ? ["-accel", "kvm", "-cpu", "host"] : ["-accel", "tcg", "-cpu", "max"]

const bareQemu = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const started = performance.now()
    const child = spawn(
      findings.qemu.path,
      [
        ...["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", ...accelerator, "-m", "1024"],
        ...["-kernel", image.kernel, "-initrd", image.initrd, "-append", `console=ttyS0 quiet ${image.cmdline}`],
        ...[
          "-device",
          "virtio-rng-pci",
          "-device",
          "virtio-serial-pci",
          "-serial",
          "null",
          "-chardev",
          "stdio,id=port"
        ],
        ...["-device", "virtserialport,chardev=port,name=vmtest.0"]
      ],
      { stdio: ["pipe", "pipe", "inherit"] }
    )
    const timer = setTimeout(() => {
      child.kill("SIGKILL")
      reject(new Error("bare QEMU: no shell within 2 minutes"))
    }, 120_000)
    let said = ""
    child.stdout.on("data", (chunk) => {
      said += chunk
      if (!said.includes("vmtest: shell ready")) return
      clearTimeout(timer)
      child.once("exit", () => resolve(performance.now() - started))
      child.kill("SIGKILL")
    })
    child.once("error", reject)
  })

const values: Array<number> = []
const baselines: Array<number> = []
for (let round = 1; round <= rounds; round++) {
  values.push(wallTime(process.execPath, [path("bin/vmtest.js"), "run", path("examples/tiny.ts")]) / 1000)
  baselines.push((await bareQemu()) / 1000)
  progress(`tiny: round ${round} of ${rounds}: ${values.at(-1)?.toFixed(2)} s, bare ${baselines.at(-1)?.toFixed(2)} s`)
}

report("tiny", [
  {
    case: "vmtest run, Image.tiny cached, against bare QEMU",
    value: median(values),
    baseline: median(baselines),
    unit: "s",
    goal: { of: "difference", atMost: 1.5 }
  }
])
