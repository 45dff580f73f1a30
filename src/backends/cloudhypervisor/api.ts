/**
 * Cloud Hypervisor's HTTP interface: the requests that vmtest makes, as its published description (`vmm/src/api/openapi/cloud-hypervisor.yaml`) has them.
 *
 * Cloud Hypervisor ignores fields that it does not know.
 */
import * as Schema from "effect/Schema"
import type { Request } from "../../transport/RestApi.ts"

export { words as explain } from "../../transport/RestApi.ts"

export const CpusConfig = Schema.Struct({ boot_vcpus: Schema.Int, max_vcpus: Schema.Int })

/** Bytes. */
export const MemoryConfig = Schema.Struct({
  size: Schema.Int,
  hugepages: Schema.optionalKey(Schema.Boolean),
  /** Bytes. Without it, Cloud Hypervisor needs a hugetlbfs at /dev/hugepages to find out. */
  hugepage_size: Schema.optionalKey(Schema.Int),
  shared: Schema.optionalKey(Schema.Boolean)
})

/** Bytes. */
export const BalloonConfig = Schema.Struct({ size: Schema.Int, deflate_on_oom: Schema.Boolean })

export const FsConfig = Schema.Struct({
  tag: Schema.String,
  socket: Schema.String,
  num_queues: Schema.Int,
  queue_size: Schema.Int
})

export const PayloadConfig = Schema.Struct({
  kernel: Schema.String,
  initramfs: Schema.optionalKey(Schema.String),
  cmdline: Schema.String
})

export const DiskConfig = Schema.Struct({
  id: Schema.String,
  path: Schema.String,
  readonly: Schema.Boolean,
  image_type: Schema.Literal("Raw"),
  serial: Schema.optionalKey(Schema.String)
})

export const NetConfig = Schema.Struct({
  id: Schema.String,
  tap: Schema.String,
  mac: Schema.String,
  mtu: Schema.optionalKey(Schema.Int)
})

export const RngConfig = Schema.Struct({ src: Schema.String })

export const VsockConfig = Schema.Struct({ cid: Schema.Int, socket: Schema.String })

export const SerialConfig = Schema.Struct({ mode: Schema.Literal("Socket"), socket: Schema.String })

export const ConsoleConfig = Schema.Struct({
  mode: Schema.Literals(["Off", "File"]),
  file: Schema.optionalKey(Schema.String)
})

export const VmConfig = Schema.Struct({
  cpus: CpusConfig,
  memory: MemoryConfig,
  payload: PayloadConfig,
  disks: Schema.Array(DiskConfig),
  net: Schema.Array(NetConfig),
  rng: RngConfig,
  balloon: Schema.optionalKey(BalloonConfig),
  fs: Schema.optionalKey(Schema.Array(FsConfig)),
  vsock: VsockConfig,
  serial: SerialConfig,
  console: ConsoleConfig
})

export const VmSnapshotConfig = Schema.Struct({ destination_url: Schema.String })

export const RestoreConfig = Schema.Struct({
  source_url: Schema.String,
  memory_restore_mode: Schema.Literals(["Copy", "OnDemand"])
})

export const VmmPingResponse = Schema.Struct({ version: Schema.String })

/** A folder, as Cloud Hypervisor takes it: it removes `file://`, and decodes nothing. */
export const urlOf = (folder: string): string => `file://${folder}`

const put = (name: string, body?: object): Request => ({
  method: "PUT",
  path: `/api/v1/${name}`,
  ...(body === undefined ? {} : { body })
})

export const ping: Request<typeof VmmPingResponse.Type> = {
  method: "GET",
  path: "/api/v1/vmm.ping",
  answer: VmmPingResponse
}

export const create = (body: typeof VmConfig.Type): Request => put("vm.create", body)
export const boot: Request = put("vm.boot")
export const pause: Request = put("vm.pause")
export const resume: Request = put("vm.resume")
export const reboot: Request = put("vm.reboot")
export const powerButton: Request = put("vm.power-button")
/** The folder must exist. */
export const snapshot = (body: typeof VmSnapshotConfig.Type): Request => put("vm.snapshot", body)
/** The guest is paused afterwards. */
export const restore = (body: typeof RestoreConfig.Type): Request => put("vm.restore", body)
