/** Where a Firecracker lives: how it is started, and by which paths it finds the files of its machine. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import type { MachineShape } from "../Backend.ts"
import { initrdIn } from "../internal/initrd.ts"
import type { VmmSettings } from "../internal/vmmBackend.ts"

/** The unix sockets, as Firecracker names them. */
export const sockets = { api: "api.sock", vsock: "v.sock" } as const

/** Its own log; its metrics, a line of JSON each minute; and what it says where it has no log. */
export const logs = {
  log: "firecracker.log",
  metrics: "firecracker-metrics.log",
  stderr: "firecracker-stderr.log"
} as const

/** The files that Firecracker writes of a saved machine. */
export const fileNames = { memory: "memory", state: "state" } as const

type FileName = (typeof fileNames)[keyof typeof fileNames]

export interface Quarters {
  readonly spawn: { readonly command: string; readonly args: ReadonlyArray<string> }
  /** The unix sockets, by their names in the machine's folder. */
  readonly sockets: { readonly api: string; readonly vsock: string }
  /** The kernel and the initramfs, as Firecracker finds them. Disks have names in its working folder everywhere. */
  readonly kernel: string
  readonly initrd: string
  /** A file of the saved machine that it continues from, as it finds it. */
  readonly saved: (directory: string, name: FileName) => string
  /** A file that it writes when it is saved to a folder, as it finds it. */
  readonly saving: (directory: string, name: FileName) => string
  /** Gets what it wrote into that folder. Fails with the reason. */
  readonly collect: (directory: string) => Effect.Effect<void, string>
  /** Whether it is another user than this process, who needs permission for sockets of this process. */
  readonly others: boolean
}

/** On the host, with the machine's folder as its working folder. */
export const onHost = (shape: MachineShape, settings: VmmSettings, args: ReadonlyArray<string>): Quarters => ({
  spawn: settings.inNamespace(shape, { command: settings.program, args: [...args, "--id", "vmtest"] }),
  sockets,
  kernel: shape.image.kernel,
  initrd: initrdIn(shape) ?? shape.image.initrd,
  saved: (directory, name) => Path.join(directory, name),
  saving: (directory, name) => Path.join(directory, name),
  collect: () => Effect.void,
  others: false
})
